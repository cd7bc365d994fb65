// Where the pages of an Ogg file are, whatever is in them and between them.
#pragma once

#include <ogg/ogg.h>

#include <cstdint>
#include <optional>
#include <string_view>

#include "dsp/media/input_view.h"

namespace earmark {

constexpr std::string_view kOggMagic = "OggS";

// What to do about a recording without a last page, for messages: a live capture may be all there.
constexpr char kHowToEndOgg[] = "if all of it is there, `ffmpeg -i IN -c copy OUT` makes a file with an end";

// Pages of an Ogg file with their places; those whose checksum is wrong are left out. A few hundred kilobytes of the file are in memory. Not thread-safe.
class OggPages {
 public:
  explicit OggPages(PeekBytes peek);
  OggPages(const OggPages&) = delete;
  OggPages& operator=(const OggPages&) = delete;
  ~OggPages();

  // Where the next page begins; nothing at the end, and where there was too much damage.
  std::optional<std::int64_t> Next();
  bool is_hopeless() const;
  // The page that Next found.
  bool begins_stream() const { return ogg_page_bos(&page_) != 0; }
  bool ends_stream() const { return ogg_page_eos(&page_) != 0; }
  int serial() const { return ogg_page_serialno(&page_); }  // of its stream

 private:
  bool Feed();

  const PeekBytes peek_;
  ogg_sync_state sync_{};
  ogg_page page_{};
  std::int64_t position_ = 0;  // of what is looked at next
  std::int64_t fed_ = 0;
  int num_false_ = 0;
};

}  // namespace earmark
