// One speaker of a live room: a UDP port that takes RTP, and all that happens to a packet from there to the listeners.
//
// In rooms of kind kVariantPackets packets are put in order, decoded, marked and encoded again. In rooms of kind kSourcePackets each packet goes on the moment
// it comes: as a copy with a listener's bytes changed, at its own place, with its own sequence number and timestamp but for constants, whatever its duration.
// What no byte of can be changed goes on as it came, also what is no Opus, and what comes behind its successors: the detector has the packets as they were
// marked, in order, so that it knows what the marker knew.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "dsp/core/published.h"
#include "dsp/core/result.h"
#include "dsp/core/stream_keys.h"
#include "dsp/marking/in_packet_marker.h"
#include "dsp/marking/packet_marker.h"
#include "dsp/rtp/output_projection.h"
#include "dsp/rtp/source_clock.h"
#include "dsp/tracing/audience.h"
#include "services/sidecar/fanout.h"
#include "services/sidecar/slot_queue.h"
#include "services/sidecar/udp_socket.h"

namespace earmark {

// Stream time. Immutable; any thread.
class RoomClock {
 public:
  // `now_us`: stream time at this moment.
  explicit RoomClock(std::int64_t now_us) : origin_(std::chrono::steady_clock::now() - std::chrono::microseconds(now_us)) {}
  std::int64_t NowUs() const {
    return std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - origin_).count();
  }

 private:
  std::chrono::steady_clock::time_point origin_;
};

// Where one source's slots go, by the family of the address.
struct SourceTargets {
  FanoutTargets v4;
  FanoutTargets v6;
};

// What has come and gone since the source was added.
struct SourceCounts {
  std::int64_t received = 0;  // RTP packets that were taken
  std::int64_t lost = 0;
  std::int64_t late = 0;
  std::int64_t duplicate = 0;
  std::int64_t rejected = 0;   // not RTP; not Opus, where it is to be decoded
  std::int64_t marked = 0;     // slots; of source packets, packets
  std::int64_t erased = 0;     // … that all listeners got alike
  std::int64_t malformed = 0;  // … among those: source packets that are not Opus
  std::int64_t sent = 0;       // packets to listeners
  std::int64_t send_drops = 0;
  std::int64_t not_recorded = 0;  // slots that the recorder's queue had no room for
};

// What listeners' packets leave through. One media thread's.
struct Outlet {
  int v4_socket = -1;
  int v6_socket = -1;
  Fanout fanout = {};
};

class LiveSource {
 public:
  struct Options {
    StreamFormat format;
    int payload_type = 111;
    int red_payload_type = 63;
    std::int64_t recording = 0;  // for the recorder
  };
  // All references must outlive it. kInvalidArgument: the format is not valid, or of kind kHostPackets; kInternal: as ReencodeMarker::Create.
  static Result<std::shared_ptr<LiveSource>> Create(const Options& options, const StreamKeys& keys, UdpSocket socket,
                                                    const RoomClock& clock, const Audience& audience, SlotQueue& recorder);

  // ---- the media thread; no allocation, locks or waiting
  int receiving_socket() const { return socket_.fd(); }
  // Takes what the socket has, at most so many packets that other sources get their turn.
  void Receive(Outlet& outlet) noexcept;
  // To be called every 20 ms or so.
  void Tick(Outlet& outlet) noexcept;

  // ---- control threads
  void SetTargets(std::shared_ptr<const SourceTargets> targets) { targets_.Publish(std::move(targets)); }
  SourceCounts counts() const;

 private:
  static constexpr std::size_t kMaxDatagramBytes = 2048;

  // One of the two.
  struct Marker {
    std::unique_ptr<PacketMarker> reencoding;
    std::optional<InPacketMarker> in_packet;
  };
  LiveSource(const Options& options, UdpSocket socket, Marker marker, const RoomClock& clock, const Audience& audience,
             SlotQueue& recorder);

  void Take(std::span<const std::uint8_t> datagram, std::int64_t now_us, const SourcePacketSink& sink) noexcept;
  void TellClock() noexcept;
  void Mark(const SourcePacket& packet, Outlet& outlet) noexcept;
  void Reencode(const SourcePacket& packet, Outlet& outlet) noexcept;
  void PassOn(const SourcePacket& packet, Outlet& outlet) noexcept;
  Slot Patched(const SourcePacket& packet) noexcept;
  void Send(const Slot& slot, const OutputPlace& place, Outlet& outlet) noexcept;

  struct AtomicCounts {
    std::atomic<std::int64_t> received = 0, lost = 0, late = 0, duplicate = 0, rejected = 0, marked = 0, erased = 0,
                              malformed = 0, sent = 0, send_drops = 0, not_recorded = 0;
  };

  Options options_;
  UdpSocket socket_;
  Marker marker_;
  const RoomClock& clock_;
  SlotQueue& recorder_;
  SourceClock source_clock_;
  OutputSequence sequence_;
  AudienceReader audience_;
  Published<SourceTargets> targets_;
  Published<SourceTargets>::Reader targets_reader_;
  std::vector<std::uint8_t> buffer_;
  std::vector<std::vector<std::uint8_t>> copies_;  // [variant] of a source's packet
  AtomicCounts counts_;
};

}  // namespace earmark
