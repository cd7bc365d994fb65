// How far each band's level may be moved in a frame, from the levels that the frame itself codes: nothing is decoded.
//
// A move that stays below what the ear tells apart costs next to nothing in any band that is heard at all. So the same move is allowed in all of them, and none in
// bands near silence or far below the strongest, which the move could bring up. (Moving unsteady bands further, as masking.h does, was measured and costs more
// than it brings: docs/decisions/0011.)
#pragma once

#include <array>
#include <span>

#include "dsp/opus/celt_frame.h"

namespace earmark {

using BandMovesDb = std::array<float, celt::kNumBands>;

// Causal and real-time safe. What it remembers, the levels that the next ones are predicted from, fades by at least a half in 20 ms, and the rate of the packets by an
// eighth: after a late start it agrees within a second.
class LevelMasking {
 public:
  struct Options {
    float move_db = 0.49F;         // root mean square, in packets of high rates …
    float low_rate_share = 1.41F;  // … and so many times that in those of low ones, whose own coarseness hides more: …
    float low_rate_bytes = 80;     // … up to so many bytes in 20 ms (32 kb/s) in full …
    float high_rate_bytes = 110;   // … and from here on (44 kb/s) not at all
    float floor_db = -95.0F;       // no band below this is moved (CeltLevels::LevelDb) …
    float below_peak_db = 60.0F;   // … nor one this far below the strongest
  };
  explicit LevelMasking(const Options& options) : options_(options) {}

  // Goes on by one frame, of `frame_samples` at 48 kHz, and says how far, up or down, each of its bands may move (root mean square); 0 for bands that the frame does not code.
  const BandMovesDb& Update(const CeltFront& front, std::span<const std::uint8_t> frame, int frame_samples) noexcept;

 private:
  Options options_;
  CeltLevels levels_;
  BandMovesDb moves_{};
  float mean_bytes_ = -1;  // in 20 ms, over about eight frames
};

}  // namespace earmark
