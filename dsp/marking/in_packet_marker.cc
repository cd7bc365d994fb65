#include "dsp/marking/in_packet_marker.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "dsp/opus/celt_frame.h"
#include "dsp/opus/silk_frame.h"
#include "dsp/opus/symbol_exchange.h"

namespace earmark {
namespace {

constexpr float kCoarseStepDb = 6.0206F;
// of a hybrid frame: 4 bands of up to 8 bits in two channels, and those that are read before
constexpr std::size_t kMaxFineBytes = 12;

// A whole number of steps whose square is on average that of `wanted`.
int StepsFor(float wanted, int draw) noexcept {
  const auto whole = static_cast<int>(wanted);
  const auto below = static_cast<float>(whole * whole);
  const auto above = static_cast<float>((whole + 1) * (whole + 1));
  return whole + (static_cast<float>(draw) + 0.5F < 256 * (wanted * wanted - below) / (above - below) ? 1 : 0);
}

// A frame's bytes as a variant has them.
struct ChangedFrame {
  std::array<std::uint8_t, 1276> bytes;
  std::size_t size = 0;

  explicit ChangedFrame(std::span<const std::uint8_t> frame) : size(std::min(frame.size(), bytes.size())) {
    std::copy_n(frame.begin(), size, bytes.begin());
  }
  std::span<std::uint8_t> view() { return std::span(bytes).first(size); }
};

SilkOptions SilkOptionsOf(const OpusFrames& packet) noexcept {
  SilkOptions options{.num_channels = packet.num_channels,
                      .duration_ms = packet.samples_per_frame / 48,
                      .hybrid = packet.mode == OpusMode::kHybrid};
  options.bandwidth = packet.bandwidth == OpusBandwidth::kNarrow   ? SilkBandwidth::kNarrow
                      : packet.bandwidth == OpusBandwidth::kMedium ? SilkBandwidth::kMedium
                                                                   : SilkBandwidth::kWide;
  return options;
}

}  // namespace

InPacketMarker::Options InPacketMarker::OptionsFor(const StreamFormat& format) {
  constexpr int kUsual = 50;
  const auto from_usual = static_cast<float>(format.strength - kUsual);
  Options options;
  options.masking.move_db *= std::exp2(from_usual / 40);
  options.gain_share = std::min(1.0F, options.gain_share * std::exp2(from_usual / 25));
  return options;
}

InPacketMarker::InPacketMarker(const StreamFormat& format, const Key& carrier_key, const Options& options)
    : format_(format),
      options_(options),
      carrier_(carrier_key, 2),
      masking_(options.masking),
      patches_(static_cast<std::size_t>(format.num_variants)) {}

PatchedPacket InPacketMarker::Mark(std::int64_t packet, std::span<const std::uint8_t> opus) noexcept {
  for (Patch& patch : patches_) patch.Clear();
  const auto split = opus.size() <= Patch::kMaxPacketBytes ? SplitOpusPacket(opus) : std::nullopt;
  if (split) {
    const bool first_of_slot = packet != slot_.packet;
    if (first_of_slot) slot_before_ = std::exchange(slot_, Slot{.packet = packet});
    signs_ = &carrier_.At(packet / format_.packets_per_symbol);
    for (std::size_t i = 0; i < static_cast<std::size_t>(split->num_frames); ++i) {
      if (split->frames[i].size() <= 1) continue;  // a loss that was signalled
      MarkFrame(*split, i, static_cast<std::size_t>(split->frames[i].data() - opus.data()), first_of_slot);
    }
  }
  PatchedPacket patched{.patches = patches_, .num_samples = split ? split->num_samples() : 0};
  for (const Patch& patch : patches_) patched.erased = patched.erased && patch.empty();
  return patched;
}

void InPacketMarker::MarkFrame(const OpusFrames& packet, std::size_t index, std::size_t offset, bool first_of_slot) noexcept {
  const auto frame = packet.frames[index];
  RangeDecoder decoder(frame);
  if (packet.mode != OpusMode::kCelt) MarkSilk(packet, frame, offset, decoder);
  // In a hybrid frame there may be a redundant CELT frame at a change of mode (RFC 6716, section 4.5.1), which moves the end of this one; such a frame is rare.
  if (packet.mode == OpusMode::kSilk ||
      (packet.mode == OpusMode::kHybrid && (decoder.Tell() + 37 > 8 * decoder.num_bytes() || decoder.BitLogp(12))))
    return;
  // A change of level goes on into the frames that follow. So shorter frames are moved once in 20 ms, and in longer packets up and down in turn.
  const int start = static_cast<int>(index) * packet.samples_per_frame;
  const bool moved = start % kPacketSamples == 0 && first_of_slot;
  MarkCelt(packet, frame, offset, decoder, !moved ? 0 : start / kPacketSamples % 2 == 0 ? 1 : -1);
}

template <typename Change>
void InPacketMarker::AddToPatches(std::span<const std::uint8_t> frame, std::size_t offset, const Change& change) noexcept {
  std::array<std::size_t, kMaxVariants> sizes{};
  bool has_room = true;
  for (std::size_t v = 0; v < patches_.size(); ++v) {
    ChangedFrame changed(frame);
    change(v, changed.view());
    sizes[v] = patches_[v].size();
    has_room = patches_[v].Add(offset, frame.first(changed.size), changed.view()) && has_room;
  }
  if (has_room) return;
  for (std::size_t v = 0; v < patches_.size(); ++v) patches_[v].CutTo(sizes[v]);
}

void InPacketMarker::MarkSilk(const OpusFrames& packet, std::span<const std::uint8_t> frame, std::size_t offset,
                              RangeDecoder& decoder) noexcept {
  const auto layer = ParseSilk(decoder, SilkOptionsOf(packet));
  if (!layer || layer->num_gains == 0) return;
  // The decoder goes on from what it has: by long-term prediction in voiced frames, by the synthesis filter's memory in all. Where a frame's own part is
  // coded against that, only one of the two moved (or the two in opposite directions) leaves something of what should have cancelled: 3 to 7 dB. So voiced frames move
  // only where little is predicted, and not next to a moved one before; frames without pitch may follow each other.
  const SilkGain& main = layer->gains[0];
  const bool voiced = main.signal == SilkSignal::kVoiced;
  slot_.voiced = slot_.voiced || voiced;
  const bool follows_unvoiced = slot_before_.packet == slot_.packet - 1 && !slot_before_.voiced;
  if (slot_.packet % 2 != 0 && (voiced || !follows_unvoiced)) return;
  if (voiced && main.ltp_gain > options_.max_ltp_gain) return;
  const SymbolDraws& keyed = carrier_.draws();
  if (static_cast<float>(keyed.draws[kGainField]) + 0.5F >= 256 * options_.gain_share) return;
  if (main.index() < options_.min_gain || main.signal == SilkSignal::kInactive) return;
  AddToPatches(frame, offset, [&](std::size_t v, std::span<std::uint8_t> changed) {
    const int move = static_cast<int>(keyed.gain_signs[v / 2]) * (v % 2 == 0 ? 1 : -1);
    for (std::size_t i = 0; i < static_cast<std::size_t>(layer->num_gains); ++i) {
      const SilkGain& gain = layer->gains[i];
      const auto exchanged = ExchangeSymbol(changed, {gain.range, gain.num_front_bytes}, gain.lsb, gain.lsb + move);
      // The bytes that both layers of a hybrid frame could want are not touched.
      if (!exchanged || (packet.mode == OpusMode::kHybrid &&
                         static_cast<std::size_t>(exchanged->first + exchanged->count) + kMaxFineBytes > frame.size()))
        continue;
      std::copy_n(exchanged->bytes.begin(), exchanged->count, changed.begin() + exchanged->first);
    }
  });
}

void InPacketMarker::MarkCelt(const OpusFrames& packet, std::span<const std::uint8_t> frame, std::size_t offset,
                              RangeDecoder& decoder, int direction) noexcept {
  const auto front = ParseCeltFront(CeltLayoutOf(packet), decoder);
  if (!front) return;
  const BandMovesDb& moves = masking_.Update(*front, frame, packet.samples_per_frame);
  if (front->silence || direction == 0) return;
  std::array<int, celt::kNumBands> steps{};
  bool any = false;
  const int end_band = packet.mode == OpusMode::kHybrid ? options_.hybrid_end_band : options_.end_band;
  for (auto b = static_cast<std::size_t>(options_.first_band); b < static_cast<std::size_t>(end_band); ++b) {
    const float step_db = kCoarseStepDb / static_cast<float>(1 << front->num_fine_bits[b]);
    if (front->num_fine_bits[b] > 0 && step_db <= options_.max_step_db)
      steps[b] = direction * StepsFor(moves[b] / step_db, carrier_.draws().draws[b]);
    any = any || steps[b] != 0;
  }
  if (!any) return;
  AddToPatches(frame, offset, [&](std::size_t v, std::span<std::uint8_t> changed) {
    for (std::size_t b = 0; b < steps.size(); ++b) {
      if (steps[b] == 0) continue;
      const int move = static_cast<int>((*signs_)[v / 2][b]) * (v % 2 == 0 ? steps[b] : -steps[b]);
      const int bits = front->num_fine_bits[b];
      for (int c = 0; c < front->layout.num_channels; ++c) {
        const int at = front->first_fine_bit[b] + c * bits;
        WriteRawBits(changed, at, bits, std::clamp(ReadRawBits(frame, at, bits) + move, 0, (1 << bits) - 1));
      }
    }
  });
}

}  // namespace earmark
