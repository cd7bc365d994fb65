#include "dsp/marking/level_masking.h"

#include <algorithm>

#include "dsp/core/stream_format.h"

namespace earmark {

const BandMovesDb& LevelMasking::Update(const CeltFront& front, std::span<const std::uint8_t> frame, int frame_samples) noexcept {
  levels_.Advance(front, frame);
  const float bytes = static_cast<float>(frame.size()) * kPacketSamples / static_cast<float>(frame_samples);
  mean_bytes_ += mean_bytes_ < 0 ? bytes - mean_bytes_ : (bytes - mean_bytes_) / 8;
  const float lowness =
      std::clamp((options_.high_rate_bytes - mean_bytes_) / (options_.high_rate_bytes - options_.low_rate_bytes), 0.0F, 1.0F);
  const float move_db = options_.move_db * (1 + (options_.low_rate_share - 1) * lowness);
  moves_.fill(0);
  float peak_db = -200;
  for (int b = front.layout.first_band; b < front.layout.end_band; ++b) peak_db = std::max(peak_db, levels_.LevelDb(b));
  const float min_db = std::max(options_.floor_db, peak_db - options_.below_peak_db);
  for (int b = front.layout.first_band; b < front.layout.end_band; ++b) {
    if (levels_.LevelDb(b) >= min_db) moves_[static_cast<std::size_t>(b)] = move_db;
  }
  return moves_;
}

}  // namespace earmark
