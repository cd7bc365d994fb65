// One speaker of a live room whose packets come by a call, from a relay that keeps its own way of sending: it gets back what each
// variant of a packet differs by, and nothing is sent here.
//
// For rooms of kind kSourcePackets. What happens to a packet is what happens in LiveSource: its place on the room's clock, its
// mark, and the detector's copy. Thread-safe; calls may wait for each other, and for room in memory.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "dsp/core/result.h"
#include "dsp/core/stream_keys.h"
#include "dsp/marking/in_packet_marker.h"
#include "dsp/rtp/source_clock.h"
#include "services/sidecar/live_source.h"
#include "services/sidecar/recorder.h"

namespace earmark {

// Whether what a call was made for is still there.
enum class Presence { kHere, kEnded, kElsewhere };  // kElsewhere: this sidecar does not have the room any more

class CalledSource {
 public:
  struct Options {
    StreamFormat format;
    std::int64_t recording = 0;     // for the recorder
    std::int64_t first_packet = 0;  // where an earlier call's source of this name ended: what overlaps cannot be stored
  };
  // `recorder` must outlive it. kInvalidArgument: the format is not valid, or of another kind.
  static Result<std::shared_ptr<CalledSource>> Create(const Options& options, const StreamKeys& keys, const RoomClock& clock,
                                                      Recorder& recorder);

  struct Packet {
    std::uint16_t sequence = 0;
    std::uint32_t timestamp = 0;  // 48 kHz
    std::span<const std::uint8_t> opus;
  };
  struct Answer {
    std::int64_t symbol = 0;
    std::vector<std::vector<Patch::Change>> patches;  // [variant]; none: erased, the packet is the same for all
  };
  // What is known of the packet: a packet that comes once more gets the first answer again, as far as the last kNumRemembered go
  // back; one that has no place, or comes behind its successors, is erased. After Stop: erased.
  Answer Take(const Packet& packet);

  // When it returns, nothing is recorded any more.
  void Stop(Presence why);
  Presence presence() const;
  SourceCounts counts() const;
  // Where another of this name may begin: the first slot behind all that was recorded in which a chunk of reference can.
  std::int64_t end_packet() const;

 private:
  static constexpr std::size_t kNumRemembered = 64;  // as far back as SourceClock knows duplicates

  // An answer and what it was given to.
  struct Remembered {
    std::uint16_t sequence = 0;
    std::uint32_t timestamp = 0;
    std::vector<std::uint8_t> opus;  // empty: none yet
    Answer answer;
  };

  CalledSource(const Options& options, const StreamKeys& keys, const RoomClock& clock, Recorder& recorder);

  Answer Mark(const SourcePacket& packet);
  void Record(const SourcePacket& packet, const PatchedPacket& patched);

  const Options options_;
  const RoomClock clock_;
  Recorder& recorder_;
  mutable std::mutex mutex_;  // of all that follows
  Presence presence_ = Presence::kHere;
  InPacketMarker marker_;
  SourceClock source_clock_;
  SourceCounts counts_;
  std::int64_t end_packet_;
  std::array<Remembered, kNumRemembered> remembered_;  // by sequence number
};

}  // namespace earmark
