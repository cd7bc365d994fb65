// How much of two channels' sound their mean loses.
#pragma once

#include <cstddef>
#include <span>

namespace earmark {

// Watches the two channels of a recording, which is searched for and read by their mean (MixToMono): where one is the other inverted, nothing of either is
// left in it. A sound on one side alone keeps half its level. For one thread; real-time safe.
class MeanLoss {
 public:
  // `rate_hz`: samples in a second, above 0.
  explicit MeanLoss(int rate_hz) : samples_per_second_(static_cast<std::size_t>(rate_hz)) {}

  // Left, right, left, … within ±1; any length.
  void Add(std::span<const float> interleaved) noexcept;

  // Of all that was added, the mean holds less than a thousandth (-30 dB) of what the channels do on average. False for silence.
  bool is_lost() const noexcept;
  // The share of seconds where that is so among those with sound (-70 dBFS or more), 0 to 1; 0 where there is no sound.
  double lost_share() const noexcept;

 private:
  struct Energies {
    double channels = 0;  // average of the two
    double mean = 0;
  };
  static bool IsLost(const Energies& energies) noexcept;
  bool HasSound() const noexcept;

  std::size_t samples_per_second_;
  Energies whole_;  // but for the present second
  Energies second_;
  std::size_t num_in_second_ = 0;
  std::size_t num_seconds_ = 0;  // with sound
  std::size_t num_lost_ = 0;
};

}  // namespace earmark
