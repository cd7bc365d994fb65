#include "dsp/media/file_parts.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "dsp/media/matroska.h"
#include "dsp/media/ogg_pages.h"

namespace earmark {
namespace {

constexpr std::size_t kMaxParts = 4096;
constexpr std::size_t kChunkBytes = 1 << 18;

// Where links of an Ogg chain begin: at a page that begins a stream, after pages that do not.
std::vector<std::int64_t> OggStarts(const PeekBytes& peek) {
  std::vector<std::int64_t> starts;
  OggPages pages(peek);
  bool has_content = false;  // pages of the present link that begin no stream
  while (const std::optional<std::int64_t> begin = pages.Next()) {
    if (pages.begins_stream() && has_content) starts.push_back(*begin);
    if (starts.size() + 1 == kMaxParts) break;
    has_content = !pages.begins_stream();
  }
  if (pages.is_hopeless()) starts.clear();
  return starts;
}

// Whether the first segment says that it ends where the file does, as those of finished recordings do.
bool IsOneSegment(const PeekBytes& peek, std::int64_t file_bytes) {
  const std::optional<EbmlElement> segment = ReadElement(peek, MatroskaHeaderBytes(peek, 0));
  return segment && segment->id == kSegmentId && segment->end() == file_bytes;
}

std::vector<std::int64_t> MatroskaStarts(const PeekBytes& peek, std::int64_t file_bytes) {
  std::vector<std::int64_t> starts;
  if (IsOneSegment(peek, file_bytes)) return starts;
  std::int64_t offset = 1;  // the first header is the file's
  for (;;) {
    const std::string bytes = peek(offset, kChunkBytes);
    if (bytes.size() < kEbmlMagic.size()) return starts;
    for (std::size_t at = bytes.find(kEbmlMagic); at != std::string::npos; at = bytes.find(kEbmlMagic, at + 1)) {
      const std::int64_t begin = offset + static_cast<std::int64_t>(at);
      if (MatroskaHeaderBytes(peek, begin) > 0) starts.push_back(begin);
      if (starts.size() + 1 == kMaxParts) return starts;
    }
    offset += static_cast<std::int64_t>(bytes.size() - kEbmlMagic.size() + 1);  // one may lie across the border
  }
}

}  // namespace

std::vector<ByteRange> FindParts(const InputFile& file) {
  const PeekBytes peek = PeekInto(file.handle);
  const std::string magic = peek(0, kOggMagic.size());
  std::vector<std::int64_t> starts;
  if (magic == kOggMagic) starts = OggStarts(peek);
  if (magic == kEbmlMagic) starts = MatroskaStarts(peek, file.status.st_size);
  std::vector<ByteRange> parts{{0, file.status.st_size}};
  for (const std::int64_t start : starts) {
    parts.back().end = start;
    parts.push_back({start, file.status.st_size});
  }
  return parts;
}

}  // namespace earmark
