// Resampling at any ratio, for arrays in memory.
#pragma once

#include <span>
#include <vector>

namespace earmark {

inline constexpr int kDetectRateHz = 24000;  // all reading works at this rate; carriers end at 12 kHz
inline constexpr int kDetectPacketSamples = 480;

// Halves the rate of 48 kHz audio (soxr, high quality, linear phase; no delay).
std::vector<float> HalveRate(std::span<const float> at_48khz);

// out[n] = in at time start + n·speed (in input samples), by a windowed sinc of 32 taps; 0 outside. For speeds near 1: content above
// about 0.9 of the Nyquist frequency is lost, and there is no extra low-pass for speed > 1.
void SampleAt(std::span<const float> in, double start, double speed, std::span<float> out) noexcept;

}  // namespace earmark
