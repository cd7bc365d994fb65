#include "services/sidecar/live_source.h"

#include <sys/socket.h>

#include <catch2/catch.hpp>
#include <vector>

#include "dsp/rtp/rtp_packet.h"
#include "tests/support/allocation_counter.h"
#include "tests/support/marked_stream.h"
#include "tests/support/synthetic_audio.h"

namespace earmark {
namespace {

TEST_CASE("LiveSource: from receiving to sending nothing is allocated", "[live_source]") {
  const StreamFormat format;
  const StreamKeys keys = TestKeys();
  const RoomClock clock(0);
  SlotQueue recorder(64);
  Audience audience(format.num_variants, 10);
  const UdpSocket listener = Get(UdpSocket::Bind("127.0.0.1", 0));
  auto targets = std::make_shared<SourceTargets>();
  targets->v4.push_back({.listener = Get(audience.Add(keys.code, "ann")),
                         .destination = Get(Destination::Parse("127.0.0.1", listener.port())),
                         .projection = OutputProjection::Derive(Key(), "mic", 111)});
  UdpSocket socket = Get(UdpSocket::Bind("127.0.0.1", 0));
  const Destination to = Get(Destination::Parse("127.0.0.1", socket.port()));
  auto source = Get(LiveSource::Create({.format = format}, keys, std::move(socket), clock, audience, recorder));
  source->SetTargets(targets);
  const UdpSocket sender = Get(UdpSocket::ForSending(AF_INET));
  Outlet outlet{.v4_socket = sender.fd()};
  auto encoder = Get(VariantEncoder::Create({.num_encoders = 1, .num_channels = 1, .bitrate_bps = 64000}));
  const auto host = SpeechLike(1, 3);
  for (std::uint16_t i = 0; i < 40; ++i) {
    const auto block = std::span(host).subspan(i * std::size_t{kPacketSamples}, kPacketSamples);
    std::vector<std::uint8_t> datagram(kRtpHeaderBytes);
    WriteRtpHeader({.payload_type = 111, .sequence = i, .timestamp = 960U * i, .ssrc = 7}, std::span<std::uint8_t, kRtpHeaderBytes>(datagram.data(), kRtpHeaderBytes));
    const Slot slot = Get(encoder.Encode([&](int) { return block; }));
    datagram.insert(datagram.end(), slot.packets[0].begin(), slot.packets[0].end());
    for (const std::vector<std::uint8_t>& bytes : {datagram, std::vector<std::uint8_t>(50, 0xFF)}) {
      REQUIRE(::sendto(sender.fd(), bytes.data(), bytes.size(), 0, to.address(), to.size()) > 0);
    }
    const std::int64_t before = NumAllocations();
    source->Receive(outlet);
    source->Tick(outlet);
    CHECK(NumAllocations() == before);
  }
  const SourceCounts counts = source->counts();
  CHECK(counts.received == 40);
  CHECK(counts.rejected == 40);
  CHECK(counts.marked + counts.erased == 40);
  CHECK(counts.sent == 40);
  CHECK(counts.send_drops == 0);
  CHECK(counts.not_recorded == 0);
}

}  // namespace
}  // namespace earmark
