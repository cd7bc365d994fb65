#include "dsp/marking/splice_guard.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "dsp/opus/opus_frames.h"
#include "dsp/opus/range_decoder.h"

namespace earmark {
namespace {

constexpr float kMaxApartDb = 6.0F;    // levels of a band …
constexpr float kBelowPeakDb = 30.0F;  // … of those that are heard: beside the strongest, …
constexpr float kFloorDb = -95.0F;     // … and at all
constexpr int kMaxGainApart = 2;       // of the pitch filter, in its steps of 0.094
constexpr int kPeriodShare = 50;       // periods may be a fiftieth apart

bool PitchAgrees(const CeltFront& a, const CeltFront& b) noexcept {
  if (std::abs(a.pitch_gain - b.pitch_gain) > kMaxGainApart) return false;
  if (std::max(a.pitch_gain, b.pitch_gain) <= kMaxGainApart || std::min(a.pitch_gain, b.pitch_gain) == 0) return true;
  return kPeriodShare * std::abs(a.pitch_period - b.pitch_period) <= std::max(a.pitch_period, b.pitch_period) + kPeriodShare;
}

}  // namespace

std::optional<SpliceGuard::Coded> SpliceGuard::Parse(std::span<const std::uint8_t> opus) noexcept {
  const auto packet = SplitOpusPacket(opus);
  if (!packet || packet->mode != OpusMode::kCelt || packet->num_frames != 1) return std::nullopt;
  RangeDecoder decoder(packet->frames[0]);
  const auto front = ParseCeltFront(CeltLayoutOf(*packet), decoder);
  if (!front) return std::nullopt;
  return Coded{.front = *front, .frame = packet->frames[0]};
}

bool SpliceGuard::LevelsAgree(std::size_t variant) const noexcept {
  float peak_db = kFloorDb + kBelowPeakDb;
  for (int b = 0; b < celt::kNumBands; ++b) peak_db = std::max(peak_db, levels_[0].LevelDb(b));
  for (int b = 0; b < celt::kNumBands; ++b) {
    const float a = levels_[0].LevelDb(b);
    const float c = levels_[variant].LevelDb(b);
    if (std::max(a, c) > peak_db - kBelowPeakDb && std::abs(a - c) > kMaxApartDb) return false;
  }
  return true;
}

bool SpliceGuard::Alike(std::span<const std::span<const std::uint8_t>> packets) noexcept {
  std::optional<Coded> first;
  bool alike = true;
  for (std::size_t v = 0; v < packets.size(); ++v) {
    const auto coded = Parse(packets[v]);
    if (!coded) {
      levels_[v] = {};
      continue;
    }
    levels_[v].Advance(coded->front, coded->frame);
    if (!first) first = coded;
    alike =
        alike && coded->front.transient == first->front.transient && PitchAgrees(coded->front, first->front) && LevelsAgree(v);
  }
  if (!alike) std::fill(levels_.begin() + 1, levels_.end(), levels_[0]);
  return alike;
}

}  // namespace earmark
