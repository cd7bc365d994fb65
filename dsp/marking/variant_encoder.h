// q Opus encoders in step: one packet per variant and 20 ms slot, all of the same length, mode, bandwidth and channel count.
//
// Constant bitrate, or a length given for each slot, makes lengths equal. Bandwidth, channel count and mode are pinned: CELT from 24 kb/s on, SILK below
// (libopus's force-mode request). A slot is *erased*, every listener gets variant 0's packet, where first bytes (TOC) or lengths differ all the same, or where
// encoders' memories have come apart (splice_guard.h). All of them then go on from the state of the one that was heard.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "dsp/core/result.h"
#include "dsp/core/stream_format.h"
#include "dsp/marking/splice_guard.h"

struct OpusEncoder;

namespace earmark {

inline constexpr int kMaxPacketBytes = 1275;
inline constexpr int kOpusLookaheadSamples = 312;  // at 48 kHz; checked by Create

// The packets of one 20 ms slot. The spans are valid until the next Encode. A slot at whose time nothing was sent has empty packets.
struct Slot {
  // the first num_encoders are set; an erased slot's are all the same
  std::array<std::span<const std::uint8_t>, kMaxVariants> packets;
  bool erased = false;
  std::int64_t packet = 0;  // its number on the room's clock: 20 ms each
};

class VariantEncoder {
 public:
  struct Options {
    int num_encoders = 4;  // 1 to kMaxVariants
    int num_channels = 1;
    int bitrate_bps = 32000;  // 0: each slot's packets are as long as it is told
    // packets are all as long; otherwise, with one encoder, as long as the sound wants, bitrate_bps on average
    bool constant = true;
  };
  // kInternal if libopus refuses a setting.
  static Result<VariantEncoder> Create(const Options& options);

  // `block(v)` is 20 ms of variant v, interleaved. Does not allocate, lock or do I/O. Samples beyond ±1 are clipped softly by libopus.
  // `num_bytes`, 3 to kMaxPacketBytes: of the slot's packets, with a bit rate of 0.
  template <typename BlockOfVariant>
  Result<Slot> Encode(const BlockOfVariant& block, int num_bytes = kMaxPacketBytes) noexcept {
    for (int v = 0; v < num_encoders_; ++v) {
      if (!EncodeOne(v, block(v), num_bytes)) return Fail(ErrorCode::kInternal, "libopus failed to encode a packet");
    }
    return FinishSlot();
  }

  // Back to the state after Create: what comes next has nothing to do with what came before. Real-time safe.
  void Reset() noexcept;

 private:
  struct EncoderDeleter {
    void operator()(OpusEncoder* encoder) const;
  };
  VariantEncoder() = default;
  // SILK packets that fall short of the constant length are padded, which shows in their first byte; so all of them are encoded two bytes short, and padded.
  static constexpr int kPaddingBytes = 2;

  bool EncodeOne(int variant, std::span<const float> block, int num_bytes) noexcept;
  Slot FinishSlot() noexcept;
  bool Alike() noexcept;
  void GoOnFromFirst() noexcept;

  int num_encoders_ = 0;
  std::size_t encoder_bytes_ = 0;
  bool as_told_ = false;  // about the packets' length
  int padded_bytes_ = 0;  // length to pad to; 0 where packets are not padded
  std::vector<std::unique_ptr<OpusEncoder, EncoderDeleter>> encoders_;
  std::vector<std::array<std::uint8_t, kMaxPacketBytes>> packets_;
  std::array<int, kMaxVariants> lengths_{};
  SpliceGuard splices_;
};

}  // namespace earmark
