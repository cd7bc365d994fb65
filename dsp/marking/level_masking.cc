#include "dsp/marking/level_masking.h"

#include <algorithm>
#include <cmath>

namespace earmark {

const BandMovesDb& LevelMasking::Update(const CeltFront& front, std::span<const std::uint8_t> frame) noexcept {
  levels_.Advance(front, frame);
  moves_.fill(0);
  const auto first = static_cast<std::size_t>(front.layout.first_band);
  const auto end = static_cast<std::size_t>(front.layout.end_band);
  float peak_db = -200;
  for (std::size_t b = first; b < end; ++b) peak_db = std::max(peak_db, levels_.LevelDb(static_cast<int>(b)));
  const std::size_t used = std::size_t{1} << front.layout.frame_size_log2;  // of the history: a fixed time would be unequal numbers of frames
  for (std::size_t b = first; b < end; ++b) {
    const float level_db = levels_.LevelDb(static_cast<int>(b));
    changes_db_[next_][b] = std::abs(level_db - last_db_[b]);
    last_db_[b] = level_db;
    float unsteadiness_db = 0;
    for (std::size_t i = 0; i < kHistory / 2; ++i) unsteadiness_db += changes_db_[(next_ + kHistory - i) % kHistory][b] / (kHistory / 2);
    (void)used;
    if (level_db < options_.floor_db || level_db < peak_db - options_.below_peak_db) continue;
    const float freedom = std::clamp((unsteadiness_db - options_.steady_db) / (options_.unsteady_db - options_.steady_db), 0.0F, 1.0F);
    moves_[b] = options_.move_db * (options_.steady_share + (1 - options_.steady_share) * freedom);
  }
  next_ = (next_ + 1) % kHistory;
  return moves_;
}

}  // namespace earmark
