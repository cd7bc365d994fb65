#include "dsp/media/pcm_chunks.h"

#include <algorithm>
#include <limits>
#include <string>

namespace earmark {
namespace {

struct Layout {
  std::int64_t first_chunk = 12;  // bytes
  int num_kind_bytes = 4;
  int num_size_bytes = 4;
  bool size_has_header = false;
  int alignment = 2;
  ByteOrder order = ByteOrder::kLittle;

  std::int64_t header_bytes() const { return num_kind_bytes + num_size_bytes; }
};

std::optional<Layout> LayoutOf(const PeekBytes& peek) {
  const std::string magic = peek(0, 4);
  if (magic == "RIFF" || magic == "RF64") return Layout{};
  if (magic == "RIFX" || magic == "FORM") return Layout{.order = ByteOrder::kBig};
  if (magic == "caff") return Layout{.first_chunk = 8, .num_size_bytes = 8, .alignment = 1, .order = ByteOrder::kBig};
  if (magic == "riff")  // W64: kinds are GUIDs that begin with WAV's names
    return Layout{.first_chunk = 40, .num_kind_bytes = 16, .num_size_bytes = 8, .size_has_header = true, .alignment = 8};
  return std::nullopt;
}

// Sizes close to 2³¹ and 2³² stand for "unknown"; of 64 bits, -1.
bool IsUnknown(std::int64_t size, int num_bytes) {
  constexpr std::int64_t kUnknown = 0x7FFF0000;
  return num_bytes == 4 ? size >= kUnknown : size == std::numeric_limits<std::int64_t>::max();
}

std::optional<std::int64_t> PromisedEndOfAu(const PeekBytes& peek) {
  const auto begin = NumberAt(peek, 4, 4, ByteOrder::kBig);
  const auto size = NumberAt(peek, 8, 4, ByteOrder::kBig);
  if (!begin || !size || IsUnknown(*size, 4)) return std::nullopt;
  return *begin + *size;
}

}  // namespace

std::optional<std::int64_t> NumberAt(const PeekBytes& peek, std::int64_t offset, int num_bytes, ByteOrder order) {
  std::string bytes = peek(offset, static_cast<std::size_t>(num_bytes));
  if (bytes.size() < static_cast<std::size_t>(num_bytes)) return std::nullopt;
  if (order == ByteOrder::kLittle) std::reverse(bytes.begin(), bytes.end());
  std::uint64_t number = 0;
  for (const char byte : bytes) number = number << 8 | static_cast<unsigned char>(byte);
  return static_cast<std::int64_t>(std::min<std::uint64_t>(number, std::numeric_limits<std::int64_t>::max()));
}

std::optional<PcmChunk> FindPcmChunk(const PeekBytes& peek, std::string_view kind) {
  constexpr int kMaxChunks = 100;
  const auto layout = LayoutOf(peek);
  if (!layout) return std::nullopt;
  std::int64_t at = layout->first_chunk;
  for (int chunk = 0; chunk < kMaxChunks; ++chunk) {
    auto size = NumberAt(peek, at + layout->num_kind_bytes, layout->num_size_bytes, layout->order);
    if (!size) return std::nullopt;
    const std::int64_t begin = at + layout->header_bytes();
    if (layout->size_has_header && !IsUnknown(*size, layout->num_size_bytes))
      *size = std::max<std::int64_t>(0, *size - layout->header_bytes());
    if (peek(at, kind.size()) == kind) return PcmChunk{.begin = begin, .size = *size};
    constexpr std::int64_t kFar = std::int64_t{1} << 60;
    if (*size > kFar - begin) return std::nullopt;
    at = (begin + *size + layout->alignment - 1) / layout->alignment * layout->alignment;
  }
  return std::nullopt;
}

std::optional<std::int64_t> PromisedEnd(const PeekBytes& peek) {
  const std::string magic = peek(0, 4);
  if (magic == ".snd") return PromisedEndOfAu(peek);
  const auto layout = LayoutOf(peek);
  auto samples = FindPcmChunk(peek, magic == "FORM" ? "SSND" : "data");
  if (!layout || !samples) return std::nullopt;
  if (magic == "RF64" && samples->size == 0xFFFFFFFF) {  // the size proper stands in a chunk of its own, after the file's
    const auto sizes = FindPcmChunk(peek, "ds64");
    const auto size = sizes ? NumberAt(peek, sizes->begin + 8, 8, ByteOrder::kLittle) : std::nullopt;
    if (!size || *size == 0 || IsUnknown(*size, 8)) return std::nullopt;
    return samples->begin + std::min(*size, std::numeric_limits<std::int64_t>::max() - samples->begin);
  }
  if (IsUnknown(samples->size, layout->num_size_bytes)) return std::nullopt;
  return samples->begin + samples->size;
}

}  // namespace earmark
