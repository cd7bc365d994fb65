// Whether two channels hold more than one sound.
#pragma once

#include <cstddef>
#include <span>

namespace earmark {

// Watches the mean and half the difference of two channels, a second at a time. What is a multiple of the other, or below -70 dBFS, tells nothing of its
// own; a sound on one side, or anywhere between the two, is in the mean as well, and one that is inverted on the other side in the difference alone.
// For one thread; real-time safe.
class ChannelLikeness {
 public:
  // Pieces of any, and both of the same, length at kDetectRateHz.
  void Add(std::span<const float> mean, std::span<const float> difference) noexcept;
  // Of what was added so far. In some second the difference holds what the mean does not, or is the stronger by more than 6 dB.
  bool needs_difference() const noexcept;
  // In some second the two channels hold unlike sounds: one is no multiple of the other, up to a rest of -40 dB.
  bool needs_sides() const noexcept;

 private:
  struct Second {
    std::size_t num_samples = 0;
    double mean = 0;  // energies
    double difference = 0;
    double both = 0;  // sum of their products
  };
  static bool IsInverted(const Second& second) noexcept;
  static bool IsUnlike(const Second& second) noexcept;

  Second second_;  // the present one
  bool was_inverted_ = false;
  bool was_unlike_ = false;
};

}  // namespace earmark
