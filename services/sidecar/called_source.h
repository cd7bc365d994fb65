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
  // `recorder` must outlive it. kInvalidArgument: the format is not valid, or of another kind.
  static Result<std::shared_ptr<CalledSource>> Create(const StreamFormat& format, const StreamKeys& keys, const RoomClock& clock,
                                                      Recorder& recorder, std::int64_t recording);

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

 private:
  static constexpr std::size_t kNumRemembered = 64;  // as far back as SourceClock knows duplicates

  // An answer and what it was given to.
  struct Remembered {
    std::uint16_t sequence = 0;
    std::uint32_t timestamp = 0;
    std::vector<std::uint8_t> opus;  // empty: none yet
    Answer answer;
  };

  CalledSource(const StreamFormat& format, const StreamKeys& keys, const RoomClock& clock, Recorder& recorder,
               std::int64_t recording);

  Answer Mark(const SourcePacket& packet);

  const StreamFormat format_;
  const RoomClock clock_;
  Recorder& recorder_;
  const std::int64_t recording_;
  mutable std::mutex mutex_;  // of all that follows
  Presence presence_ = Presence::kHere;
  InPacketMarker marker_;
  SourceClock source_clock_{{.wait_for_order = false}};
  SourceCounts counts_;
  std::array<Remembered, kNumRemembered> remembered_;  // by sequence number
};

}  // namespace earmark
