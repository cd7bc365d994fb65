#include "dsp/media/recording_end.h"

#include <optional>

#include "dsp/media/matroska.h"
#include "dsp/media/ogg_pages.h"

namespace earmark {
namespace {

// Of live recordings alone, in which each block is looked at: a day's. What is longer is taken for whole.
constexpr int kMaxElements = 5'000'000;

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
    if (!element || element->id == kEbmlId) return false;  // padding, or another file
    const bool is_open = element->size < 0;
    if (is_open && element->id != kSegmentId && element->id != kClusterId) return false;
    if (!is_open && element->end() > num_bytes) return true;
    if (!is_open && element->id == kSegmentId) return false;
    offset = is_open ? element->begin : element->end();
  }
  return false;
}

}  // namespace earmark
