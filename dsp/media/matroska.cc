#include "dsp/media/matroska.h"

#include <string>

namespace earmark {
namespace {

constexpr std::string_view kDocTypeId = "\x42\x82";
constexpr std::int64_t kMaxEbmlHeaderBytes = 256;  // it is about 40 bytes long
constexpr std::size_t kMaxIdBytes = 4;
constexpr std::size_t kMaxSizeBytes = 8;

struct Vint {
  std::int64_t value = -1;  // -1: "unknown"
  std::size_t num_bytes = 0;
};

// An EBML number with a length of its own; nothing if `bytes` do not begin with a whole one.
std::optional<Vint> ReadVint(std::string_view bytes) {
  if (bytes.empty() || bytes.front() == 0) return std::nullopt;
  std::size_t num_bytes = 1;
  while ((static_cast<unsigned char>(bytes.front()) & (0x80U >> (num_bytes - 1))) == 0) ++num_bytes;
  if (bytes.size() < num_bytes) return std::nullopt;
  std::int64_t value = 0;
  for (const char byte : bytes.substr(0, num_bytes)) value = value << 8 | static_cast<unsigned char>(byte);
  const std::int64_t all_ones = (std::int64_t{1} << (7 * num_bytes)) - 1;
  value &= all_ones;
  return Vint{value == all_ones ? -1 : value, num_bytes};
}

}  // namespace

std::optional<EbmlElement> ReadElement(const PeekBytes& peek, std::int64_t offset) {
  const std::string bytes = peek(offset, kMaxIdBytes + kMaxSizeBytes);
  const std::optional<Vint> id = ReadVint(bytes);
  if (!id || id->num_bytes > kMaxIdBytes) return std::nullopt;
  const std::optional<Vint> size = ReadVint(std::string_view(bytes).substr(id->num_bytes));
  if (!size) return std::nullopt;
  EbmlElement element;
  for (std::size_t i = 0; i < id->num_bytes; ++i) element.id = element.id << 8 | static_cast<unsigned char>(bytes[i]);
  element.begin = offset + static_cast<std::int64_t>(id->num_bytes + size->num_bytes);
  element.size = size->value;  // below 2^56, as offsets are
  return element;
}

std::int64_t MatroskaHeaderBytes(const PeekBytes& peek, std::int64_t offset) {
  const std::string bytes = peek(offset, kMaxEbmlHeaderBytes);
  const std::string_view view = bytes;
  if (view.substr(0, kEbmlMagic.size()) != kEbmlMagic) return 0;
  const std::optional<Vint> size = ReadVint(view.substr(kEbmlMagic.size()));
  if (!size || size->value < 0) return 0;
  const std::size_t body_at = kEbmlMagic.size() + size->num_bytes;
  const std::size_t end = body_at + static_cast<std::size_t>(size->value);
  if (end > bytes.size()) return 0;
  const std::string_view body = view.substr(body_at, end - body_at);
  const std::size_t type_at = body.find(kDocTypeId);
  if (type_at == std::string_view::npos) return 0;
  const std::string_view type = body.substr(type_at);
  const bool is_known = type.find("webm") != std::string_view::npos || type.find("matroska") != std::string_view::npos;
  return is_known ? static_cast<std::int64_t>(end) : 0;
}

}  // namespace earmark
