// What a scan has of a clip: its audio tracks, and of each the sounds that its channels may hold apart.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <vector>

#include "dsp/core/result.h"
#include "dsp/media/decoded_clip.h"

namespace earmark {

struct ClipSignals {
  std::vector<DecodedClip::Signal> signals;  // the best track first, and of each its mean first; at least one
  // Samples of signals[i]: mono at kDetectRateHz, all of one track as many, valid as long as the clip.
  std::function<Result<std::span<const float>>(std::size_t i)> samples;
  std::function<void()> release_memory;  // now and then, when much was read; may be empty

  // The signal of the same track and this channel, or -1.
  int Find(int track, DecodedClip::Channel channel) const;
};

ClipSignals SignalsOf(DecodedClip& clip);               // kept by reference
ClipSignals OneSignal(std::span<const float> samples);  // kept by reference; mono at kDetectRateHz

const char* ChannelName(DecodedClip::Channel channel);  // mean, difference, left, right

}  // namespace earmark
