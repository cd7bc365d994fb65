// A clip laid on the stream's clock, and the spectra that both readers work on.
#pragma once

#include <cstdint>
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
  int num_phases = 1;  // see VariantAudio
  std::vector<std::uint8_t> present;
  Spectrogram clip;
  Spectrogram mean;
  std::vector<Spectrogram> deviations;  // [phase · num_variants + variant]

  int num_frames() const { return clip.num_frames(); }
  int num_variants() const { return static_cast<int>(deviations.size()) / num_phases; }
  const Spectrogram& Deviation(int phase, int variant) const {
    return deviations[static_cast<std::size_t>(phase) * num_variants() + variant];
  }
  // The symbol of this phase whose deviations are heard in a frame, counted as SymbolOf counts; -1: one before these packets.
  int SymbolInPhase(int frame, int phase) const {
    const int symbol = SymbolOf(frame);
    const auto behind = static_cast<int>((first_symbol() + symbol - phase + num_phases) % num_phases);
    return symbol >= behind ? symbol - behind : -1;
  }
  // The symbol of a frame, counted from the first symbol that overlaps these packets; and that symbol's index in the stream.
  int SymbolOf(int frame) const {
    return static_cast<int>((first_packet + frame / kFramesPerPacket) / format.packets_per_symbol - first_symbol());
  }
  std::int64_t first_symbol() const { return first_packet / format.packets_per_symbol; }
  int num_symbols() const { return num_frames() == 0 ? 0 : SymbolOf(num_frames() - 1) + 1; }
};

// `clip` and `variants` are cut to the packets that both have.
ReadingSpectra MakeReadingSpectra(const StreamFormat& format, const AlignedClip& clip, const VariantAudio& variants);

// [symbol counted from first_symbol()][variant], natural log, up to a constant per symbol; 0 for all variants where nothing was read.
using LogLikelihoodTable = std::vector<std::array<float, kMaxVariants>>;

}  // namespace earmark
