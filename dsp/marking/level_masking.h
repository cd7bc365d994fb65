// How far each band's level may be moved in a frame, from the levels that the frame itself codes.
//
// As in masking.h, a change of level is heard first where the ear has a steady level to compare with. Here the levels are those of the packet, so nothing is
// decoded.
#pragma once

#include <array>
#include <span>

#include "dsp/opus/celt_frame.h"

namespace earmark {

using BandMovesDb = std::array<float, celt::kNumBands>;

// Causal and real-time safe. What it remembers fades by at least a half in each 20 ms, and what it does not know after a late start is nothing after half a second.
class LevelMasking {
 public:
  struct Options {
    float move_db = 0.6F;       // in an unsteady band
    float steady_share = 0.4F;  // of it in a steady one
    float steady_db = 1.0F;     // unsteadiness up to which a band is steady …
    float unsteady_db = 4.0F;   // … and from which on it is not
    float floor_db = -75.0F;    // no band below this is moved
    float below_peak_db = 60.0F;  // nor one this far below the strongest
  };
  explicit LevelMasking(const Options& options) : options_(options) {}

  // Goes on by one frame and says how far, up or down, each of its bands may move on average (root mean square); 0 for bands that the frame does not code.
  const BandMovesDb& Update(const CeltFront& front, std::span<const std::uint8_t> frame) noexcept;

 private:
  static constexpr std::size_t kHistory = 8;

  Options options_;
  CeltLevels levels_;
  std::array<std::array<float, celt::kNumBands>, kHistory> changes_db_{};  // a ring, of what levels changed by a frame
  std::array<float, celt::kNumBands> last_db_{};
  std::size_t next_ = 0;
  BandMovesDb moves_{};
};

}  // namespace earmark
