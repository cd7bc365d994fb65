// Short-time spectra on the stream's clock, laid out for reading: one time series per bin.
//
// 20 ms square-root Hann windows, 10 ms hop, at kDetectRateHz. Two frames to a packet, centred 5 and 15 ms into it, so a symbol's frames lie
// evenly in it. Bins of 50 Hz from 200 Hz to just below 12 kHz.
#pragma once

#include <cstddef>
#include <span>

#include "dsp/core/fft.h"
#include "dsp/reading/complex_rows.h"

namespace earmark {

inline constexpr std::size_t kFramesPerPacket = 2;
inline constexpr std::size_t kReadBins = 236;
inline constexpr std::size_t kFirstReadBin = 4;  // of the 480-sample transform: 200 Hz

class Spectrogram {
 public:
  Spectrogram() = default;
  // `audio` starts at a packet boundary; there are kFramesPerPacket frames for every whole packet. Outside `audio` is silence.
  Spectrogram(std::span<const float> audio, RealFft& fft_of_480);

  std::size_t num_frames() const { return num_frames_; }
  // The time series of one bin: [frame], num_frames() of them.
  ConstRow Bin(std::size_t bin) const { return bins_[bin]; }
  const ComplexRows& bins() const { return bins_; }
  ComplexRows& bins() { return bins_; }

  static constexpr int kWindowSamples = 480;
  static constexpr int kHopSamples = 240;

 private:
  std::size_t num_frames_ = 0;
  ComplexRows bins_;
};

}  // namespace earmark
