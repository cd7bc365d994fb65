#include "services/sidecar/live_source.h"

#include <sys/socket.h>

#include <algorithm>
#include <utility>

#include "dsp/opus/opus_frames.h"
#include "dsp/rtp/red.h"
#include "dsp/rtp/rtp_packet.h"

namespace earmark {
namespace {

constexpr int kMaxDatagramsAtOnce = 64;

// Only one thread writes the counters, so that adding needs no atomic addition.
void Add(std::atomic<std::int64_t>& counter, std::int64_t count) {
  counter.store(counter.load(std::memory_order_relaxed) + count, std::memory_order_relaxed);
}

// RTCP on the same port (RFC 5761): its packet types stand where RTP has the marker bit and the payload types 64 to 95.
bool IsRtcp(std::span<const std::uint8_t> datagram) { return datagram.size() >= 2 && datagram[1] >= 192 && datagram[1] <= 223; }

}  // namespace

Result<std::shared_ptr<LiveSource>> LiveSource::Create(const Options& options, const StreamKeys& keys, UdpSocket socket,
                                                       const RoomClock& clock, const Audience& audience, SlotQueue& recorder) {
  Marker marker;
  if (options.format.kind == ReferenceKind::kSourcePackets) {
    if (auto valid = Validate(options.format); !valid) return Pass(valid);
    marker.in_packet.emplace(options.format, keys.carrier);
  } else {
    auto reencoding = ReencodeMarker::Create(options.format, keys);
    if (!reencoding) return Pass(reencoding);
    marker.reencoding = std::move(*reencoding);
  }
  return std::shared_ptr<LiveSource>(new LiveSource(options, std::move(socket), std::move(marker), clock, audience, recorder));
}

LiveSource::LiveSource(const Options& options, UdpSocket socket, Marker marker, const RoomClock& clock, const Audience& audience,
                       SlotQueue& recorder)
    : options_(options),
      socket_(std::move(socket)),
      marker_(std::move(marker)),
      clock_(clock),
      recorder_(recorder),
      source_clock_({.wait_for_order = marker_.reencoding != nullptr}),
      audience_(audience),
      targets_(std::make_shared<const SourceTargets>()),
      targets_reader_(targets_),
      buffer_(kMaxDatagramBytes),
      copies_(static_cast<std::size_t>(options.format.num_variants), std::vector<std::uint8_t>(kMaxDatagramBytes)) {}

void LiveSource::Receive(Outlet& outlet) noexcept {
  // two pointers fit into a function without allocating
  const SourcePacketSink sink = [this, &outlet](const SourcePacket& packet) { Mark(packet, outlet); };
  for (int i = 0; i < kMaxDatagramsAtOnce; ++i) {
    const ssize_t got = ::recv(socket_.fd(), buffer_.data(), buffer_.size(), MSG_DONTWAIT | MSG_TRUNC);
    if (got < 0) return;
    const auto num_bytes = static_cast<std::size_t>(got);
    if (num_bytes > buffer_.size()) {
      Add(counts_.rejected, 1);
    } else {
      Take(std::span(buffer_).first(num_bytes), clock_.NowUs(), sink);
    }
  }
}

void LiveSource::Take(std::span<const std::uint8_t> datagram, std::int64_t now_us, const SourcePacketSink& sink) noexcept {
  if (IsRtcp(datagram)) return;
  auto packet = ParseRtp(datagram);
  if (packet && packet->header.payload_type == options_.red_payload_type) {
    const auto primary = RedPrimary(packet->payload);
    if (primary) {
      packet->payload = *primary;
    } else {
      packet = Pass(primary);
    }
  }
  if (!packet) {
    Add(counts_.rejected, 1);
    return;
  }
  Add(counts_.received, 1);
  source_clock_.Push(*packet, now_us, sink);
  TellClock();
}

// What the clock counts, for others to read.
void LiveSource::TellClock() noexcept {
  const SourceClock::Counts& counted = source_clock_.counts();
  counts_.lost.store(counted.lost, std::memory_order_relaxed);
  counts_.late.store(counted.late, std::memory_order_relaxed);
  counts_.duplicate.store(counted.duplicate, std::memory_order_relaxed);
}

void LiveSource::Tick(Outlet& outlet) noexcept {
  const std::int64_t now_us = clock_.NowUs();
  source_clock_.Tick(now_us, [this, &outlet](const SourcePacket& packet) { Mark(packet, outlet); });
  // Also in silence, so that codes are there when it ends.
  (void)audience_.VariantsAt(now_us / (1'000'000 / kPacketsPerSecond) / options_.format.packets_per_symbol);
}

void LiveSource::Mark(const SourcePacket& packet, Outlet& outlet) noexcept {
  if (marker_.in_packet) {
    PassOn(packet, outlet);
  } else {
    Reencode(packet, outlet);
  }
}

void LiveSource::PassOn(const SourcePacket& packet, Outlet& outlet) noexcept {
  const Slot slot = Patched(packet);
  const std::int64_t position = packet.packet * kPacketSamples + packet.offset_samples;
  Send(slot,
       {.sequence = static_cast<std::uint16_t>(packet.number),
        .timestamp = static_cast<std::uint32_t>(position),
        .marker = packet.after_pause},
       outlet);
  Add(slot.erased ? counts_.erased : counts_.marked, 1);
  if (!SplitOpusPacket(packet.payload)) {
    Add(counts_.malformed, 1);
    return;
  }
  if (packet.late) return;
  if (!recorder_.PushSourcePacket(options_.recording, packet.packet, packet.offset_samples, packet.payload, slot.erased))
    Add(counts_.not_recorded, 1);
}

// The source's packet as each variant has it. Valid until the next call.
Slot LiveSource::Patched(const SourcePacket& packet) noexcept {
  Slot slot{.packets = {}, .erased = true, .packet = packet.packet};
  const PatchedPacket patched = packet.late ? PatchedPacket{} : marker_.in_packet->Mark(packet.packet, packet.payload);
  slot.erased = patched.erased;
  for (std::size_t v = 0; v < copies_.size(); ++v) {
    slot.packets[v] = packet.payload;
    if (slot.erased || patched.patches[v].empty()) continue;
    const auto copy = std::span(copies_[v]).first(packet.payload.size());
    std::copy(packet.payload.begin(), packet.payload.end(), copy.begin());
    patched.patches[v].Apply(copy);
    slot.packets[v] = copy;
  }
  return slot;
}

void LiveSource::Reencode(const SourcePacket& packet, Outlet& outlet) noexcept {
  sequence_.Lose(packet.num_lost);
  const auto marked =
      marker_.reencoding->Process(packet.packet, packet.payload, [this, &outlet](const Slot& slot, std::span<const float> host) {
        Send(slot, sequence_.Next(slot.packet), outlet);
        Add(slot.erased ? counts_.erased : counts_.marked, 1);
        if (!recorder_.Push(options_.recording, options_.format.num_variants, slot, host, options_.format.num_channels))
          Add(counts_.not_recorded, 1);
      });
  if (marked) return;
  sequence_.Lose(1);
  Add(counts_.rejected, 1);
}

void LiveSource::Send(const Slot& slot, const OutputPlace& place, Outlet& outlet) noexcept {
  const auto audience = audience_.VariantsAt(slot.packet / options_.format.packets_per_symbol);
  const SourceTargets& targets = targets_reader_.Look();
  for (const auto& [socket, of_family] : {std::pair(outlet.v4_socket, &targets.v4), std::pair(outlet.v6_socket, &targets.v6)}) {
    if (of_family->empty()) continue;
    const FanoutCounts done = outlet.fanout.Send(socket, *of_family, audience, slot, place);
    Add(counts_.sent, done.sent);
    Add(counts_.send_drops, done.dropped);
  }
}

SourceCounts LiveSource::counts() const {
  const auto read = [](const std::atomic<std::int64_t>& counter) { return counter.load(std::memory_order_relaxed); };
  return {.received = read(counts_.received),
          .lost = read(counts_.lost),
          .late = read(counts_.late),
          .duplicate = read(counts_.duplicate),
          .rejected = read(counts_.rejected),
          .marked = read(counts_.marked),
          .erased = read(counts_.erased),
          .malformed = read(counts_.malformed),
          .sent = read(counts_.sent),
          .send_drops = read(counts_.send_drops),
          .not_recorded = read(counts_.not_recorded)};
}

}  // namespace earmark
