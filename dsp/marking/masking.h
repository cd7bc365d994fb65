// How strongly each band may be marked just now.
//
// A change of band energy is heard first where the ear has a steady level to compare with: in tonal or stationary bands. Where the level
// of the band itself moves by several dB from frame to frame (noise, transients, speech), ±0.2 dB is far below notice. So the
// strength of a band follows its own recent unsteadiness: the mean absolute change of its level between frames 20 ms apart. Nothing is marked where
// the frame is nearly silent.
#pragma once

#include <array>
#include <complex>
#include <span>

#include "dsp/marking/carrier.h"

namespace earmark {

// Amplitude gain change per band, 0 … about 0.023 (0.2 dB), before the signs.
using BandStrengths = std::array<float, kNumBands>;

// Causal, one frame in, one set of strengths out; no allocation. Its memory fades within about 200 ms, so a reader that starts anywhere
// agrees with one that ran from the start after half a second.
class MaskingModel {
 public:
  explicit MaskingModel(int fft_samples);
  // `band_power`: power of each band of this frame, summed over channels, full-scale sine = 1.
  const BandStrengths& Update(const std::array<float, kNumBands>& band_power) noexcept;

 private:
  float powers_per_full_scale_;
  std::array<std::array<float, kNumBands>, 2> last_level_db_;
  std::array<float, kNumBands> unsteadiness_db_;
  BandStrengths strengths_{};
};

}  // namespace earmark
