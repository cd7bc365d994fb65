#include "dsp/marking/in_packet_marker.h"

#include <algorithm>
#include <cmath>

namespace earmark {
namespace {

constexpr float kCoarseStepDb = 6.0206F;
constexpr std::size_t kMaxFineBytes = 2 * celt::kNumBands + 2;  // 21 bands of 8 bits in two channels

CeltLayout LayoutOf(const OpusFrames& packet) noexcept {
  constexpr std::array<int, 5> kEndBands = {13, 17, 17, 19, 21};
  int size_log2 = 0;
  while ((120 << size_log2) < packet.samples_per_frame) ++size_log2;
  return {.num_channels = packet.num_channels,
          .frame_size_log2 = size_log2,
          .first_band = packet.mode == OpusMode::kHybrid ? 17 : 0,
          .end_band = kEndBands[static_cast<std::size_t>(packet.bandwidth)]};
}

// A whole number of steps whose square is on average that of `wanted`.
int StepsFor(float wanted, int draw) noexcept {
  const auto whole = static_cast<int>(wanted);
  const auto below = static_cast<float>(whole * whole);
  const auto above = static_cast<float>((whole + 1) * (whole + 1));
  return whole + (static_cast<float>(draw) + 0.5F < 256 * (wanted * wanted - below) / (above - below) ? 1 : 0);
}

}  // namespace

InPacketMarker::Options InPacketMarker::OptionsFor(const StreamFormat&) { return {}; }

InPacketMarker::InPacketMarker(const StreamFormat& format, const Key& carrier_key, const Options& options)
    : format_(format), options_(options), signs_(carrier_key, 2), masking_(options.masking), patches_(static_cast<std::size_t>(format.num_variants)) {}

PatchedPacket InPacketMarker::Mark(std::int64_t packet, std::span<const std::uint8_t> opus) noexcept {
  for (Patch& patch : patches_) patch.Clear();
  const auto split = SplitOpusPacket(opus);
  if (split && split->mode == OpusMode::kCelt) {
    const SymbolSigns& signs = signs_.At(packet / format_.packets_per_symbol);
    for (std::size_t i = 0; i < static_cast<std::size_t>(split->num_frames); ++i) {
      const auto frame = split->frames[i];
      if (frame.size() > 1) MarkCelt(*split, frame, static_cast<std::size_t>(frame.data() - opus.data()), signs);  // one byte or none is a loss that was signalled
    }
  }
  PatchedPacket patched{.patches = patches_};
  for (const Patch& patch : patches_) patched.erased = patched.erased && patch.empty();
  return patched;
}

void InPacketMarker::MarkCelt(const OpusFrames& packet, std::span<const std::uint8_t> frame, std::size_t offset, const SymbolSigns& signs) noexcept {
  RangeDecoder decoder(frame);
  const auto front = ParseCeltFront(LayoutOf(packet), decoder);
  if (!front) return;
  const BandMovesDb& moves = masking_.Update(*front, frame);
  if (front->silence) return;
  std::array<int, celt::kNumBands> steps{};
  for (auto b = static_cast<std::size_t>(options_.first_band); b < static_cast<std::size_t>(options_.end_band); ++b) {
    const float step_db = kCoarseStepDb / static_cast<float>(1 << front->num_fine_bits[b]);
    if (front->num_fine_bits[b] > 0 && step_db <= options_.max_step_db) steps[b] = StepsFor(moves[b] / step_db, signs_.draws()[b]);
  }
  const std::size_t tail = std::min(kMaxFineBytes + static_cast<std::size_t>(decoder.num_raw_bits()) / 8, frame.size());
  std::array<std::uint8_t, kMaxFineBytes + 8> changed{};
  for (std::size_t v = 0; v < patches_.size(); ++v) {
    const auto bytes = std::span(changed).first(std::min(tail, changed.size()));
    const auto original = frame.last(bytes.size());
    std::copy(original.begin(), original.end(), bytes.begin());
    for (std::size_t b = 0; b < steps.size(); ++b) {
      if (steps[b] == 0) continue;
      const int move = static_cast<int>(signs[v / 2][b]) * (v % 2 == 0 ? steps[b] : -steps[b]);
      const int bits = front->num_fine_bits[b];
      for (int c = 0; c < front->layout.num_channels; ++c) {
        const int at = front->first_fine_bit[b] + c * bits;
        WriteRawBits(bytes, at, bits, std::clamp(ReadRawBits(bytes, at, bits) + move, 0, (1 << bits) - 1));
      }
    }
    (void)patches_[v].Add(offset + frame.size() - bytes.size(), original, bytes);
  }
}

}  // namespace earmark
