#include "dsp/reading/aligned_clip.h"

#include <algorithm>
#include <utility>

#include "dsp/core/resample.h"

namespace earmark {
namespace {

Spectrogram MeanOf(const std::vector<Spectrogram>& spectrograms) {
  const auto scale = 1.0F / static_cast<float>(spectrograms.size());
  Spectrogram mean = spectrograms[0];
  const auto sum = mean.bins().all();
  for (std::size_t v = 1; v < spectrograms.size(); ++v) {
    const auto variant = spectrograms[v].bins().all();
    for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += variant[i];
  }
  for (float& x : sum) x *= scale;
  return mean;
}

}  // namespace

ReadingSpectra MakeReadingSpectra(const StreamFormat& format, const AlignedClip& clip, const VariantAudio& variants) {
  ReadingSpectra spectra;
  spectra.format = format;
  const std::int64_t clip_packets = static_cast<std::int64_t>(clip.samples.size()) / kDetectPacketSamples;
  const std::int64_t first = std::max(clip.first_packet, variants.first_packet);
  const std::int64_t end = std::min(clip.first_packet + clip_packets, variants.first_packet + variants.num_packets);
  spectra.first_packet = first;
  const auto packets = static_cast<std::size_t>(std::max<std::int64_t>(0, end - first));
  const auto cut = [&](const std::vector<float>& samples, std::int64_t samples_first_packet) {
    return std::span(samples).subspan(
        static_cast<std::size_t>(packets == 0 ? 0 : (first - samples_first_packet) * kDetectPacketSamples),
        packets * kDetectPacketSamples);
  };
  RealFft fft(Spectrogram::kWindowSamples);
  spectra.clip = Spectrogram(cut(clip.samples, clip.first_packet), fft);
  const auto skipped =
      static_cast<std::ptrdiff_t>(packets == 0 ? 0 : (first - clip.first_packet) * std::int64_t{kFramesPerPacket});
  spectra.present.assign(clip.present.begin() + skipped,
                         clip.present.begin() + skipped + static_cast<std::ptrdiff_t>(packets * kFramesPerPacket));
  for (const auto& variant : variants.variants) spectra.deviations.emplace_back(cut(variant, variants.first_packet), fft);

  spectra.num_phases = static_cast<std::size_t>(variants.num_phases);
  spectra.mean = variants.host.empty() ? MeanOf(spectra.deviations) : Spectrogram(cut(variants.host, variants.first_packet), fft);
  const auto mean = std::as_const(spectra.mean).bins().all();
  for (auto& deviation : spectra.deviations) {
    const auto numbers = deviation.bins().all();
    for (std::size_t i = 0; i < mean.size(); ++i) numbers[i] -= mean[i];
  }
  return spectra;
}

}  // namespace earmark
