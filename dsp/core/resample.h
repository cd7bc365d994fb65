// Resampling: by half, whole or as a stream, and at any ratio for arrays in memory.
#pragma once

#include <memory>
#include <span>
#include <vector>

namespace earmark {

inline constexpr int kDetectRateHz = 24000;  // all reading works at this rate; carriers end at 12 kHz
inline constexpr int kDetectPacketSamples = 480;

// Halves the rate of 48 kHz audio (soxr, high quality, linear phase; no delay).
std::vector<float> HalveRate(std::span<const float> at_48khz);

// The same, bit for bit, of audio that comes in pieces. For one thread; allocates.
class RateHalver {
 public:
  RateHalver();  // without memory it gives no samples, as HalveRate does then
  // What can be told of the output after these samples; valid until the next call. The first pieces may give none.
  std::span<const float> Process(std::span<const float> at_48khz);
  // The rest. Nothing may follow.
  std::span<const float> Finish();

 private:
  struct Closer {
    void operator()(void* resampler) const;
  };
  std::span<const float> Run(std::span<const float> at_48khz);

  std::unique_ptr<void, Closer> resampler_;
  std::vector<float> out_;
};

// out[n] = in at time start + n·speed (in input samples), by a windowed sinc of 32 taps; 0 outside. For speeds near 1: content above
// about 0.9 of the Nyquist frequency is lost, and there is no extra low-pass for speed > 1.
void SampleAt(std::span<const float> in, double start, double speed, std::span<float> out) noexcept;

}  // namespace earmark
