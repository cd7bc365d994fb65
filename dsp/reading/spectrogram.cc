#include "dsp/reading/spectrogram.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

#include "dsp/core/resample.h"

namespace earmark {
namespace {

const std::array<float, Spectrogram::kWindowSamples>& Window() {
  static const auto window = [] {
    std::array<float, Spectrogram::kWindowSamples> w{};
    for (std::size_t n = 0; n < w.size(); ++n) {
      w[n] =
          static_cast<float>(std::sqrt(0.5 - 0.5 * std::cos(2 * std::numbers::pi * (static_cast<double>(n) + 0.5) / w.size())));
    }
    return w;
  }();
  return window;
}

}  // namespace

Spectrogram::Spectrogram(std::span<const float> audio, RealFft& fft_of_480) {
  const auto& window = Window();
  num_frames_ = audio.size() / kDetectPacketSamples * kFramesPerPacket;
  bins_ = ComplexRows(kReadBins, num_frames_);
  // Frames go to memory in tiles of several, so that a bin's time series is written in whole cache lines.
  constexpr std::size_t kTile = 16;
  std::array<std::array<std::complex<float>, kTile>, kReadBins> tile;
  for (std::size_t first = 0; first < num_frames_; first += kTile) {
    const std::size_t count = std::min(kTile, num_frames_ - first);
    for (std::size_t i = 0; i < count; ++i) {
      const std::ptrdiff_t start = static_cast<std::ptrdiff_t>((first + i) * kHopSamples) - kHopSamples / 2;
      // Outside `audio` is silence.
      const auto skipped = static_cast<std::size_t>(std::max<std::ptrdiff_t>(0, -start));
      const std::size_t at = static_cast<std::size_t>(start + static_cast<std::ptrdiff_t>(skipped));
      const std::size_t heard = std::min(window.size() - skipped, audio.size() - at);
      const auto time = fft_of_480.time();
      std::fill(time.begin(), time.end(), 0.0F);
      for (std::size_t n = 0; n < heard; ++n) time[skipped + n] = audio[at + n] * window[skipped + n];
      fft_of_480.Forward();
      for (std::size_t bin = 0; bin < kReadBins; ++bin) tile[bin][i] = fft_of_480.bins()[bin + kFirstReadBin];
    }
    for (std::size_t bin = 0; bin < kReadBins; ++bin) {
      const Row row = bins_[bin].From(first);
      for (std::size_t i = 0; i < count; ++i) {
        row.re[i] = tile[bin][i].real();
        row.im[i] = tile[bin][i].imag();
      }
    }
  }
}

}  // namespace earmark
