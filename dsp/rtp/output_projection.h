// What slots look like on the wire: sequence numbers, timestamps and SSRCs of the packets that listeners get.
//
// Per source, OutputSequence counts: a slot that was lost on the way in stays missing, so that receivers conceal it; a slot after a pause, a restart or a
// jump goes on by one, with the marker bit. The first sequence number is that of the slot, so that after a restart of ours numbers go on and not back. Timestamps are the room's clock, 960 a slot. Per listener and source, OutputProjection adds random offsets and
// a random SSRC, so that nothing on the wire can be derived from another listener's packets, or from the source's.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "dsp/core/secret.h"
#include "dsp/rtp/rtp_packet.h"

namespace earmark {

// Before the listener's offsets.
struct OutputPlace {
  std::uint16_t sequence = 0;
  std::uint32_t timestamp = 0;
  bool marker = false;
};

// One source's slots, in order. Real-time safe; one thread at a time.
class OutputSequence {
 public:
  // The source sent `num_slots` slots before the next one which cannot be passed on: lost on the way in, or refused by the decoder.
  void Lose(int num_slots) noexcept { num_lost_ += num_slots > 0 ? num_slots : 0; }
  // The place of the next slot. `packet`: Slot::packet; grows.
  OutputPlace Next(std::int64_t packet) noexcept;

 private:
  bool started_ = false;
  std::uint16_t sequence_ = 0;
  std::int64_t last_packet_ = 0;
  int num_lost_ = 0;
};

class OutputProjection {
 public:
  // SSRC and offsets, random to whoever lacks the seed, which is one listener's own; the same again for the same seed and source. Control thread.
  static OutputProjection Derive(const Key& seed, std::string_view source, std::uint8_t payload_type);

  // Real-time and thread safe.
  void WriteHeader(const OutputPlace& place, std::span<std::uint8_t, kRtpHeaderBytes> out) const noexcept;

  std::uint32_t ssrc() const { return ssrc_; }
  // The RTP timestamp of the start of a slot, for sender reports.
  std::uint32_t TimestampOf(std::int64_t packet) const noexcept;

 private:
  OutputProjection() = default;

  std::uint32_t ssrc_ = 0;
  std::uint32_t timestamp_offset_ = 0;
  std::uint16_t sequence_offset_ = 0;
  std::uint8_t payload_type_ = 0;
};

}  // namespace earmark
