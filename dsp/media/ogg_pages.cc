#include "dsp/media/ogg_pages.h"

#include <algorithm>
#include <string>
#include <utility>

namespace earmark {
namespace {

constexpr std::size_t kChunkBytes = 1 << 18;
// Each costs a checksum of up to 64 KiB, and hostile files may hold one every few bytes.
constexpr int kMaxFalsePages = 1000;

}  // namespace

OggPages::OggPages(PeekBytes peek) : peek_(std::move(peek)) { ogg_sync_init(&sync_); }

OggPages::~OggPages() { ogg_sync_clear(&sync_); }

bool OggPages::is_hopeless() const { return num_false_ > kMaxFalsePages; }

std::optional<std::int64_t> OggPages::Next() {
  while (!is_hopeless()) {
    const long step = ogg_sync_pageseek(&sync_, &page_);
    if (step > 0) return std::exchange(position_, position_ + step);
    if (step == 0 && !Feed()) break;
    if (step < 0 && peek_(position_, kOggMagic.size()) == kOggMagic) ++num_false_;
    position_ += -step;
  }
  return std::nullopt;
}

bool OggPages::Feed() {
  const std::string bytes = peek_(fed_, kChunkBytes);
  char* const room = ogg_sync_buffer(&sync_, static_cast<long>(kChunkBytes));
  if (bytes.empty() || room == nullptr) return false;
  std::copy(bytes.begin(), bytes.end(), room);
  fed_ += static_cast<std::int64_t>(bytes.size());
  return ogg_sync_wrote(&sync_, static_cast<long>(bytes.size())) == 0;
}

}  // namespace earmark
