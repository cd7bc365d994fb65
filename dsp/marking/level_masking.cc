#include "dsp/marking/level_masking.h"

#include <algorithm>

namespace earmark {

const BandMovesDb& LevelMasking::Update(const CeltFront& front, std::span<const std::uint8_t> frame) noexcept {
  levels_.Advance(front, frame);
  moves_.fill(0);
  float peak_db = -200;
  for (int b = front.layout.first_band; b < front.layout.end_band; ++b) peak_db = std::max(peak_db, levels_.LevelDb(b));
  const float least_db = std::max(options_.floor_db, peak_db - options_.below_peak_db);
  for (int b = front.layout.first_band; b < front.layout.end_band; ++b) {
    if (levels_.LevelDb(b) >= least_db) moves_[static_cast<std::size_t>(b)] = options_.move_db;
  }
  return moves_;
}

}  // namespace earmark
