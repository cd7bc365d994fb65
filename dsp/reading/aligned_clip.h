// A clip laid on the stream's clock, and the spectra that both readers work on.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "dsp/core/stream_format.h"
#include "dsp/reading/spectrogram.h"
#include "dsp/reference/variant_decoder.h"

namespace earmark {

// The clip resampled to stream time, where alignments say it lies; silence and present = 0 where they say nothing.
struct AlignedClip {
  std::int64_t first_packet = 0;
  std::vector<float> samples;         // at kDetectRateHz; a whole number of packets
  std::vector<std::uint8_t> present;  // [frame of the spectrogram]: 1 where the frame lies wholly in one piece of the clip
};

// Spectra of the clip, of the host (the variants' mean, or the source) and of each variant's deviation from it, over the same packets.
struct ReadingSpectra {
  StreamFormat format;
  std::int64_t first_packet = 0;
  std::size_t num_phases = 1;  // see VariantAudio
  std::vector<std::uint8_t> present;
  Spectrogram clip;
  Spectrogram mean;
  std::vector<Spectrogram> deviations;  // [phase · num_variants + variant]

  std::size_t num_frames() const { return clip.num_frames(); }
  std::size_t num_variants() const { return deviations.size() / num_phases; }
  // The symbol of this phase whose deviations are heard in a frame, counted as SymbolOf counts; none: one before these packets.
  std::optional<std::size_t> SymbolInPhase(std::size_t frame, std::size_t phase) const {
    const std::size_t symbol = SymbolOf(frame);
    const std::size_t behind = (static_cast<std::size_t>(first_symbol()) + symbol + num_phases - phase) % num_phases;
    return symbol >= behind ? std::optional(symbol - behind) : std::nullopt;
  }
  // The symbol of a frame, counted from the first symbol that overlaps these packets; and that symbol's index in the stream.
  std::size_t SymbolOf(std::size_t frame) const {
    const std::int64_t packet = first_packet + static_cast<std::int64_t>(frame / kFramesPerPacket);
    return static_cast<std::size_t>(packet / format.packets_per_symbol - first_symbol());
  }
  std::int64_t first_symbol() const { return first_packet / format.packets_per_symbol; }
  std::size_t num_symbols() const { return num_frames() == 0 ? 0 : SymbolOf(num_frames() - 1) + 1; }
};

// `clip` and `variants` are cut to the packets that both have.
ReadingSpectra MakeReadingSpectra(const StreamFormat& format, const AlignedClip& clip, const VariantAudio& variants);

// [symbol counted from first_symbol()][variant], natural log, up to a constant per symbol; 0 for all variants where nothing was read.
using LogLikelihoodTable = std::vector<std::array<float, kMaxVariants>>;

}  // namespace earmark
