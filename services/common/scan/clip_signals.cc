#include "services/common/scan/clip_signals.h"

namespace earmark {

int ClipSignals::Find(int track, DecodedClip::Channel channel) const {
  for (std::size_t i = 0; i < signals.size(); ++i) {
    if (signals[i].track == track && signals[i].channel == channel) return static_cast<int>(i);
  }
  return -1;
}

ClipSignals SignalsOf(DecodedClip& clip) {
  return {.signals = clip.signals(),
          .samples = [&clip](std::size_t i) { return clip.Samples(i); },
          .release_memory = [&clip] { clip.ReleaseMemory(); }};
}

ClipSignals OneSignal(std::span<const float> samples) {
  return {.signals = {{}},
          .samples = [samples](std::size_t) -> Result<std::span<const float>> { return samples; },
          .release_memory = {}};
}

const char* ChannelName(DecodedClip::Channel channel) {
  switch (channel) {
    case DecodedClip::Channel::kMean:
      return "mean";
    case DecodedClip::Channel::kDifference:
      return "difference";
    case DecodedClip::Channel::kLeft:
      return "left";
    case DecodedClip::Channel::kRight:
      return "right";
  }
  return "mean";
}

}  // namespace earmark
