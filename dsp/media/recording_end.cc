#include "dsp/media/recording_end.h"

#include <algorithm>
#include <iterator>
#include <optional>

#include "dsp/media/matroska.h"
#include "dsp/media/ogg_pages.h"
#include "dsp/media/pcm_chunks.h"

namespace earmark {
namespace {

// Of live recordings alone, in which each block is looked at: a day's. What is longer is taken for whole.
constexpr int kMaxElements = 5'000'000;

// Whether it is of the kinds that a segment or a cluster consists of (RFC 9559). What is behind a live recording's end is none.
bool IsKnown(std::uint32_t id) {
  constexpr std::uint32_t kOfSegments[] = {kSegmentId, kClusterId, 0x114D9B74, 0x1549A966, 0x1654AE6B,
                                           0x1C53BB6B, 0x1254C367, 0x1043A770, 0x1941A469};
  constexpr std::uint32_t kOfClusters[] = {0xE7, 0xA3, 0xA0, 0xAB, 0xA7, 0x5854, 0xAF};
  constexpr std::uint32_t kAnywhere[] = {0xEC, 0xBF};
  const auto holds = [id](const auto& ids) { return std::find(std::begin(ids), std::end(ids), id) != std::end(ids); };
  return holds(kOfSegments) || holds(kOfClusters) || holds(kAnywhere);
}

}  // namespace

bool LacksOggEnd(const PeekBytes& peek, int index) {
  OggPages pages(peek);
  int num_begun = 0;
  std::optional<int> serial;
  while (pages.Next()) {
    if (pages.begins_stream() && num_begun++ == index) serial = pages.serial();
    // Another stream may have the same number afterwards.
    if (serial && pages.serial() == *serial && pages.ends_stream()) return false;
  }
  return serial.has_value() && !pages.is_hopeless();
}

bool LacksMatroskaEnd(const PeekBytes& peek, std::int64_t num_bytes) {
  std::int64_t offset = MatroskaHeaderBytes(peek, 0);
  for (int i = 0; i < kMaxElements && offset < num_bytes; ++i) {
    const std::optional<EbmlElement> element = ReadElement(peek, offset);
    if (!element || !IsKnown(element->id)) return false;  // padding, a tag, or another file
    const bool is_open = element->size < 0;
    if (is_open && element->id != kSegmentId && element->id != kClusterId) return false;
    if (!is_open && element->end() > num_bytes) return true;
    if (!is_open && element->id == kSegmentId) return false;
    offset = is_open ? element->begin : element->end();
  }
  return false;
}

bool LacksPcmEnd(const PeekBytes& peek, std::int64_t num_bytes) {
  // Nobody misses a few hundredths of a second.
  constexpr std::int64_t kSlackBytes = 4096;
  const auto promised = PromisedEnd(peek);
  return promised && *promised - kSlackBytes > num_bytes;
}

}  // namespace earmark
