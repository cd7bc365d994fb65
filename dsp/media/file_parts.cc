#include "dsp/media/file_parts.h"

#include <ogg/ogg.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace earmark {
namespace {

using namespace std::string_view_literals;

constexpr std::string_view kOggMagic = "OggS";
constexpr std::string_view kEbmlMagic = "\x1A\x45\xDF\xA3"sv;
constexpr std::string_view kSegmentMagic = "\x18\x53\x80\x67"sv;
constexpr std::string_view kDocTypeId = "\x42\x82"sv;
constexpr std::size_t kMaxParts = 4096;
constexpr std::size_t kChunkBytes = 1 << 18;
// Each costs a checksum of up to 64 KiB, and hostile files may hold one every few bytes.
constexpr int kMaxFalsePages = 1000;
constexpr std::int64_t kMaxEbmlHeaderBytes = 256;  // it is about 40 bytes long

// Pages of an Ogg file with their places; those whose checksum is wrong are left out.
class OggPages {
 public:
  explicit OggPages(const FileHandle& file) : file_(file) { ogg_sync_init(&sync_); }
  OggPages(const OggPages&) = delete;
  OggPages& operator=(const OggPages&) = delete;
  ~OggPages() { ogg_sync_clear(&sync_); }

  // Where the next page begins; nothing at the end, and where there was too much damage.
  std::optional<std::int64_t> Next() {
    while (!is_hopeless()) {
      const long step = ogg_sync_pageseek(&sync_, &page_);
      if (step > 0) return std::exchange(position_, position_ + step);
      if (step == 0 && !Feed()) break;
      if (step < 0 && PeekFile(file_, position_, kOggMagic.size()) == kOggMagic) ++num_false_;
      position_ += -step;
    }
    return std::nullopt;
  }
  bool is_hopeless() const { return num_false_ > kMaxFalsePages; }
  // The page that Next found.
  bool begins_stream() const { return ogg_page_bos(&page_) != 0; }

 private:
  bool Feed() {
    const std::string bytes = PeekFile(file_, fed_, kChunkBytes);
    char* const room = ogg_sync_buffer(&sync_, static_cast<long>(kChunkBytes));
    if (bytes.empty() || room == nullptr) return false;
    std::copy(bytes.begin(), bytes.end(), room);
    fed_ += static_cast<std::int64_t>(bytes.size());
    return ogg_sync_wrote(&sync_, static_cast<long>(bytes.size())) == 0;
  }

  const FileHandle& file_;
  ogg_sync_state sync_{};
  ogg_page page_{};
  std::int64_t position_ = 0;  // of what is looked at next
  std::int64_t fed_ = 0;
  int num_false_ = 0;
};

// Where links of an Ogg chain begin: at a page that begins a stream, after pages that do not.
std::vector<std::int64_t> OggStarts(const FileHandle& file) {
  std::vector<std::int64_t> starts;
  OggPages pages(file);
  bool has_content = false;  // pages of the present link that begin no stream
  while (const std::optional<std::int64_t> begin = pages.Next()) {
    if (pages.begins_stream() && has_content) starts.push_back(*begin);
    if (starts.size() + 1 == kMaxParts) break;
    has_content = !pages.begins_stream();
  }
  if (pages.is_hopeless()) starts.clear();
  return starts;
}

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

// The length of the EBML header of a Matroska file at `offset`; 0 if there is none.
std::int64_t MatroskaHeaderBytes(const FileHandle& file, std::int64_t offset) {
  const std::string bytes = PeekFile(file, offset, kMaxEbmlHeaderBytes);
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

// Whether the first segment says that it ends where the file does, as those of finished recordings do.
bool IsOneSegment(const InputFile& file) {
  const std::int64_t segment_at = MatroskaHeaderBytes(file.handle, 0);
  const std::string bytes = PeekFile(file.handle, segment_at, kSegmentMagic.size() + 8);
  if (std::string_view(bytes).substr(0, kSegmentMagic.size()) != kSegmentMagic) return false;
  const std::optional<Vint> size = ReadVint(std::string_view(bytes).substr(kSegmentMagic.size()));
  if (!size || size->value < 0) return false;
  const auto head_bytes = static_cast<std::int64_t>(kSegmentMagic.size() + size->num_bytes);
  return segment_at + head_bytes + size->value == file.status.st_size;
}

std::vector<std::int64_t> MatroskaStarts(const InputFile& file) {
  std::vector<std::int64_t> starts;
  if (IsOneSegment(file)) return starts;
  std::int64_t offset = 1;  // the first header is the file's
  for (;;) {
    const std::string bytes = PeekFile(file.handle, offset, kChunkBytes);
    if (bytes.size() < kEbmlMagic.size()) return starts;
    for (std::size_t at = bytes.find(kEbmlMagic); at != std::string::npos; at = bytes.find(kEbmlMagic, at + 1)) {
      const std::int64_t begin = offset + static_cast<std::int64_t>(at);
      if (MatroskaHeaderBytes(file.handle, begin) > 0) starts.push_back(begin);
      if (starts.size() + 1 == kMaxParts) return starts;
    }
    offset += static_cast<std::int64_t>(bytes.size() - kEbmlMagic.size() + 1);  // one may lie across the border
  }
}

}  // namespace

std::vector<ByteRange> FindParts(const InputFile& file) {
  const std::string magic = PeekFile(file.handle, 0, kOggMagic.size());
  std::vector<std::int64_t> starts;
  if (magic == kOggMagic) starts = OggStarts(file.handle);
  if (magic == kEbmlMagic) starts = MatroskaStarts(file);
  std::vector<ByteRange> parts{{0, file.status.st_size}};
  for (const std::int64_t start : starts) {
    parts.back().end = start;
    parts.push_back({start, file.status.st_size});
  }
  return parts;
}

}  // namespace earmark
