// Short-time spectra on the stream's clock, laid out for reading: one time series per bin.
//
// 20 ms square-root Hann windows, 10 ms hop, at kDetectRateHz. Two frames to a packet, centred 5 and 15 ms into it, so a symbol's frames lie
// evenly in it. Bins of 50 Hz from 200 Hz to just below 12 kHz.
#pragma once

#include <complex>
#include <cstddef>
#include <span>
#include <vector>

#include "dsp/core/fft.h"

namespace earmark {

inline constexpr int kFramesPerPacket = 2;
inline constexpr int kReadBins = 236;
inline constexpr int kFirstReadBin = 4;  // of the 480-sample transform: 200 Hz

class Spectrogram {
 public:
  Spectrogram() = default;
  // `audio` starts at a packet boundary; there are kFramesPerPacket frames for every whole packet. Outside `audio` is silence.
  Spectrogram(std::span<const float> audio, RealFft& fft_of_480);

  int num_frames() const { return num_frames_; }
  // The time series of one bin: [frame].
  std::span<const std::complex<float>> Bin(int bin) const { return {data_.data() + Offset(bin), static_cast<std::size_t>(num_frames_)}; }
  std::span<std::complex<float>> Bin(int bin) { return {data_.data() + Offset(bin), static_cast<std::size_t>(num_frames_)}; }

  static constexpr int kWindowSamples = 480;
  static constexpr int kHopSamples = 240;

 private:
  std::size_t Offset(int bin) const { return static_cast<std::size_t>(bin) * static_cast<std::size_t>(num_frames_); }

  int num_frames_ = 0;
  std::vector<std::complex<float>> data_;
};

}  // namespace earmark
