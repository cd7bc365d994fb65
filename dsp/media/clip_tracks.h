// The audio tracks of a clip, wherever they are decoded.
#pragma once

#include <memory>
#include <optional>

#include "dsp/core/result.h"
#include "dsp/media/audio_file.h"

namespace earmark {

struct ClipTrack {
  int number = 0;  // counted from 0 in the order of the file
  // kInvalidArgument, kDataLoss: this track cannot be decoded; others may be. Other errors end it all.
  Result<std::unique_ptr<AudioReader>> reader;
};

// One track after the other: the best (AudioOptions), then the others in the file's order. For one thread.
class ClipTracks {
 public:
  virtual ~ClipTracks() = default;
  // None after the last one, and where the best one cannot be opened. The reader of the track before must not be used any more.
  virtual std::optional<ClipTrack> Next() = 0;
};

}  // namespace earmark
