// From one source's RTP packets, as the network brings them, to packets in order on the room's clock.
//
// Order: by sequence number, with up to kReorderPackets or kReorderUs of patience. What is missing after that is lost, and what comes after
// that is late. Without `wait_for_order` there is no patience: each packet goes on at once, late ones marked as such, but that those more than 64 sequence
// numbers late, or from before a new start, are dropped.
//
// Place: the first packet lies where it arrived on the room's clock; from there on the RTP timestamps (48 kHz) count. They are left for what
// sequence numbers and arrival say where they do not make sense:
//
//   timestamp jumps though sound goes on          sequence numbers count
//   it stood still over a pause, or jumps anywhere  arrival
//   sequence restarts, SSRC changes                 arrival
//   arrives kStaleUs late, in a burst               a stall: dropped;  evenly: arrival
//   is more than kStaleUs ahead                     arrival
//   arrives kMostDriftUs late or early for kDriftWindowUs (the most punctual packet of them)
//                                                 the clocks run apart: arrival; packets are left out or numbers skipped
//
// Numbers never go back. SSRC: another one takes over when it has kept sending for kTakeoverUs, unless it is one that was taken over from and the current
// one is still sending.
//
// Nothing here knows a socket or a clock: all time comes with the calls and must not go back. One object serves one thread at a time. No call allocates, locks
// or does I/O, and the work of each is bounded whatever comes.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "dsp/rtp/rtp_packet.h"

namespace earmark {

struct SourcePacket {
  // the number, on the room's clock, of the slot (20 ms) in which it starts; grows strictly, but that packets shorter than 20 ms
  // may share one
  std::int64_t packet = 0;
  int offset_samples = 0;  // 0 … 959: how far into that slot it starts
  // how many slots right before this one were sent by the source and lost, as far as the sequence numbers say
  int num_lost = 0;
  // Its own sequence number, but that numbers go on by one where the source starts anew and over packets without sound. What did not come leaves a gap. The
  // first one is how many packets like it fit before it on the room's clock, so that after a restart of ours numbers go on and not back.
  std::int64_t number = 0;
  bool after_pause = false;  // the first, or there was time before it in which the source sent nothing
  // its successors have been given out; `packet` and `number` go back for this one. Only without `wait_for_order`
  bool late = false;
  std::span<const std::uint8_t> payload;  // valid during the call of the sink
};
using SourcePacketSink = std::function<void(const SourcePacket&)>;

class SourceClock {
 public:
  static constexpr std::int64_t kReorderUs = 60'000;
  static constexpr int kReorderPackets = 3;
  static constexpr std::int64_t kTakeoverUs = 500'000;
  static constexpr std::int64_t kMaxDriftUs = 100'000;
  static constexpr std::int64_t kDriftWindowUs = 2'000'000;
  static constexpr std::int64_t kStaleUs = 1'000'000;
  static constexpr std::size_t kMaxPayloadBytes = 7680;  // 120 ms of Opus at its most

  struct Counts {
    std::int64_t given_out = 0;
    std::int64_t lost = 0;  // sequence numbers that never came in time
    // came after they were given up, or too late for their place; those given out all the same are not among `lost`
    std::int64_t late = 0;
    std::int64_t duplicate = 0;
    std::int64_t other_ssrc = 0;  // of a source that has not taken over
    std::int64_t restarts = 0;    // of sequence or SSRC, after the first start
    std::int64_t reanchored = 0;  // times that arrival had to say the place of a running sequence
    std::int64_t unusable = 0;    // too large, or of a sequence that nothing came of
  };

  struct Options {
    bool wait_for_order = true;
    std::int64_t first_packet = 0;  // on the room's clock: nothing is placed before it, since it was given out earlier
  };

  SourceClock() : SourceClock(Options{}) {}
  explicit SourceClock(const Options& options);

  // `room_now_us`: time since packet 0 of the room.
  void Push(const RtpPacket& packet, std::int64_t room_now_us, const SourcePacketSink& sink) noexcept;
  // Gives out what has waited for its predecessors too long; to be called every 20 ms or so.
  void Tick(std::int64_t room_now_us, const SourcePacketSink& sink) noexcept;

  const Counts& counts() const { return counts_; }
  std::uint32_t ssrc() const { return ssrc_; }

 private:
  struct Held {
    bool used = false;
    std::int64_t sequence = 0;
    std::uint32_t timestamp = 0;
    std::int64_t arrival_us = 0;
    std::size_t num_bytes = 0;
    std::vector<std::uint8_t> bytes;
  };
  struct Media {
    std::uint32_t timestamp;
    std::int64_t arrival_us;
    std::span<const std::uint8_t> payload;
  };
  static constexpr int kNumRetired = 8;

  bool IsOurs(std::uint32_t ssrc, std::int64_t now_us) noexcept;
  void StartSequence(std::uint16_t sequence) noexcept;
  bool Restarts(std::uint16_t sequence, int run_needed) noexcept;
  bool CountOld(std::int64_t sequence) noexcept;
  void GiveLate(std::int64_t sequence, const Media& media, const SourcePacketSink& sink) noexcept;
  bool Hold(std::int64_t sequence, const RtpPacket& packet, std::int64_t now_us) noexcept;
  Held* FirstHeld() noexcept;
  void ReleaseHeld(std::int64_t now_us, const SourcePacketSink& sink) noexcept;
  void Advance(std::int64_t sequence, const Media& media, const SourcePacketSink& sink) noexcept;
  void Place(const Media& media, const SourcePacketSink& sink) noexcept;
  std::int64_t SamplesOf(std::span<const std::uint8_t> payload) const noexcept;
  std::int64_t OnGrid(std::int64_t position, std::int64_t samples) const noexcept;
  std::int64_t MinPosition() const noexcept;
  void Number(std::int64_t position, std::int64_t samples) noexcept;
  std::int64_t PositionOf(const Media& media) noexcept;
  bool IsStale(std::int64_t position, const Media& media) noexcept;
  void WatchDrift(std::int64_t position, std::int64_t arrival) noexcept;

  Options options_;
  Counts counts_;
  // Who sends.
  bool started_ = false;
  std::uint32_t ssrc_ = 0;
  std::int64_t last_arrival_us_ = 0;  // of ours
  std::uint32_t candidate_ssrc_ = 0;
  std::int64_t candidate_since_us_ = -1;
  std::int64_t candidate_last_us_ = 0;
  std::array<std::uint32_t, kNumRetired> retired_{};
  int num_retired_ = 0;
  // Order. Sequence numbers are counted on beyond 16 bits.
  std::int64_t expected_ = 0;
  std::uint64_t seen_ = 0;  // bit i: expected_ - 1 - i came
  std::uint16_t suspect_next_ = 0;
  int suspect_run_ = 0;
  std::array<Held, kReorderPackets + 1> held_;
  // Place, in samples on the room's clock.
  bool anchored_ = false;
  std::int64_t lost_ = 0;     // packets since the last one that was given out
  std::int64_t missing_ = 0;  // sequence numbers that did not come since the last packet with sound
  std::uint32_t last_timestamp_ = 0;
  std::int64_t last_position_ = 0;
  std::int64_t last_samples_ = 0;
  std::int64_t last_media_us_ = 0;
  std::int64_t next_packet_ = 0;
  std::int64_t next_position_ = 0;  // the end of what was given out
  bool last_was_stale_ = false;
  std::int64_t window_start_us_ = 0;
  std::int64_t min_lag_ = 0;
  bool window_empty_ = true;
  // SourcePacket::number.
  bool numbered_ = false;
  std::int64_t number_offset_ = 0;  // to a sequence number
  std::int64_t numbered_from_ = 0;  // the first sequence number for which that, and last_position_, hold
  std::int64_t last_number_ = 0;
};

}  // namespace earmark
