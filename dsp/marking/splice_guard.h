// Tells where packets of encoders in step cannot follow one another.
//
// A listener's decoder hears now one encoder's packets, now another's. Both remember: levels of bands are predicted from those of the frame before, and the pitch
// filter goes over from the last frame's to its own. Mostly the encoders remember nearly the same. Where they do not (one codes a frame in short blocks or with
// another pitch, or their levels lie apart at the onset behind a silence), a splice errs by 10 to 20 dB more than either for 20 to 40 ms (docs/decisions/0012).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>

#include "dsp/core/stream_format.h"
#include "dsp/opus/celt_frame.h"

namespace earmark {

// Real-time safe. One object follows the packets of one slot after the other.
class SpliceGuard {
 public:
  // One slot's packets, each of one CELT frame; what is not is taken as alike. Whether any may follow any of the slot before, and be followed by any of the next.
  // If not, all listeners are to get packet 0, and the encoders to go on from its encoder's state.
  bool Alike(std::span<const std::span<const std::uint8_t>> packets) noexcept;
  void Reset() noexcept { levels_.fill({}); }

 private:
  struct Coded {
    CeltFront front;
    std::span<const std::uint8_t> frame;
  };
  static std::optional<Coded> Parse(std::span<const std::uint8_t> opus) noexcept;
  bool LevelsAgree(std::size_t variant) const noexcept;

  std::array<CeltLevels, kMaxVariants> levels_{};
};

}  // namespace earmark
