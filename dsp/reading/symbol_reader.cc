#include "dsp/reading/symbol_reader.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include "dsp/core/resample.h"
#include "dsp/reading/coherent_reader.h"
#include "dsp/reading/envelope_reader.h"

namespace earmark {
namespace {

constexpr std::int64_t kMaxPackets = 30 * kPacketsPerSecond;  // read at once
constexpr std::int64_t kLargestGap = 2 * kPacketsPerSecond;   // in stream time, within one reading
// a room's decay: read back this far so that filters have their past
constexpr std::int64_t kTailPackets = 16;

struct PacketRange {
  std::int64_t first = 0;
  std::int64_t end = 0;
};

PacketRange RangeOf(const Alignment& piece) {
  return {.first = static_cast<std::int64_t>(std::floor(piece.stream_start_s * kPacketsPerSecond)),
          .end = static_cast<std::int64_t>(std::ceil(piece.stream_end_s() * kPacketsPerSecond))};
}

// The stretches of stream time to read: pieces that lie close together make one, long ones are cut.
std::vector<PacketRange> Stretches(std::span<const Alignment> pieces) {
  std::vector<PacketRange> ranges;
  for (const Alignment& piece : pieces) ranges.push_back(RangeOf(piece));
  std::sort(ranges.begin(), ranges.end(), [](const PacketRange& a, const PacketRange& b) { return a.first < b.first; });
  std::vector<PacketRange> joined;
  for (const PacketRange& range : ranges) {
    if (!joined.empty() && range.first <= joined.back().end + kLargestGap) {
      joined.back().end = std::max(joined.back().end, range.end);
    } else {
      joined.push_back(range);
    }
  }
  std::vector<PacketRange> cut;
  for (const PacketRange& range : joined) {
    const std::int64_t parts = (range.end - range.first + kMaxPackets - 1) / kMaxPackets;
    for (std::int64_t i = 0; i < parts; ++i) {
      cut.push_back({.first = range.first + (range.end - range.first) * i / parts,
                     .end = range.first + (range.end - range.first) * (i + 1) / parts});
    }
  }
  return cut;
}

// Lays the clip on `range`; frames before packet `read_from` are there for the filters' past only, and not present.
AlignedClip Lay(std::span<const float> clip, std::span<const Alignment> pieces, const PacketRange& range,
                std::int64_t read_from) {
  AlignedClip aligned;
  aligned.first_packet = range.first;
  const std::int64_t read_from_sample = (read_from - range.first) * kDetectPacketSamples;
  const std::int64_t first_sample = range.first * kDetectPacketSamples;
  const std::int64_t num_samples = (range.end - range.first) * kDetectPacketSamples;
  aligned.samples.assign(static_cast<std::size_t>(num_samples), 0.0F);
  aligned.present.assign(static_cast<std::size_t>(range.end - range.first) * kFramesPerPacket, 0);
  for (const Alignment& piece : pieces) {
    const std::int64_t from =
        std::max<std::int64_t>(0, static_cast<std::int64_t>(std::ceil(piece.stream_start_s * kDetectRateHz)) - first_sample);
    const std::int64_t to =
        std::min(num_samples, static_cast<std::int64_t>(std::floor(piece.stream_end_s() * kDetectRateHz)) - first_sample);
    if (to <= from) continue;
    const double stream_s = static_cast<double>(first_sample + from) / kDetectRateHz;
    const double clip_s = piece.clip_start_s + (stream_s - piece.stream_start_s) / piece.speed;
    SampleAt(clip, clip_s * kDetectRateHz, 1 / piece.speed,
             std::span(aligned.samples).subspan(static_cast<std::size_t>(from), static_cast<std::size_t>(to - from)));
    for (std::size_t frame = 0; frame < aligned.present.size(); ++frame) {
      const std::int64_t start = static_cast<std::int64_t>(frame) * Spectrogram::kHopSamples - Spectrogram::kHopSamples / 2;
      if (start >= std::max(from, read_from_sample - Spectrogram::kHopSamples) && start + Spectrogram::kWindowSamples <= to)
        aligned.present[frame] = 1;
    }
  }
  return aligned;
}

}  // namespace

Result<SymbolLikelihoods> ReadSymbols(const StreamFormat& format, std::span<const float> clip, std::span<const Alignment> pieces,
                                      const VariantLoader& load) {
  std::map<std::int64_t, std::array<float, kMaxVariants>> sums;
  for (PacketRange range : Stretches(pieces)) {
    const std::int64_t read_from = range.first;
    range.first = std::max<std::int64_t>(0, range.first - kTailPackets);
    auto variants = load(range.first, range.end);
    if (!variants) return Pass(variants);
    if (variants->num_packets == 0) continue;
    const AlignedClip aligned = Lay(clip, pieces, range, read_from);
    const ReadingSpectra spectra = MakeReadingSpectra(format, aligned, *variants);
    const LogLikelihoodTable coherent = ReadCoherent(spectra, CoherentOptions{});
    const LogLikelihoodTable envelope = ReadEnvelope(spectra);
    for (std::size_t s = 0; s < coherent.size(); ++s) {
      auto& sum = sums[spectra.first_symbol() + static_cast<std::int64_t>(s)];
      for (std::size_t k = 0; k < sum.size(); ++k) sum[k] += coherent[s][k] + envelope[s][k];
    }
  }
  SymbolLikelihoods likelihoods;
  likelihoods.num_variants = format.num_variants;
  for (const auto& [symbol, sum] : sums) likelihoods.symbols.push_back({.symbol = symbol, .log_likelihood = sum});
  return likelihoods;
}

}  // namespace earmark
