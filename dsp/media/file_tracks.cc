#include "dsp/media/file_tracks.h"

namespace earmark {

std::optional<ClipTrack> FileTracks::Next() {
  if (!best_) {
    auto reader = AudioReader::Open(name_, file_);
    best_ = reader ? (*reader)->info().track : 0;
    num_tracks_ = reader ? (*reader)->info().num_tracks : 0;
    return ClipTrack{.number = *best_, .reader = std::move(reader)};
  }
  if (next_ == *best_) ++next_;
  if (next_ >= num_tracks_) return std::nullopt;
  const int track = next_++;
  return ClipTrack{.number = track, .reader = AudioReader::Open(name_, file_, {.track = track})};
}

}  // namespace earmark
