#include "services/sidecar/live_source.h"

#include <opus/opus.h>
#include <sys/socket.h>

#include <catch2/catch.hpp>
#include <vector>

#include "dsp/rtp/rtp_packet.h"
#include "dsp/tracing/trace_code.h"
#include "tests/support/allocation_counter.h"
#include "tests/support/marked_stream.h"
#include "tests/support/synthetic_audio.h"

namespace earmark {
namespace {

using Bytes = std::vector<std::uint8_t>;

const StreamFormat kInPacket = {.packets_per_symbol = 1, .kind = ReferenceKind::kSourcePackets, .code_version = 2};

// What a speaker's client sends: half a second of speech and more, at 64 kb/s, variable in length. (What is more than a second ahead of time is not believed.)
std::vector<Bytes> SpokenPackets(int packet_samples, int num_channels = 1) {
  int error = OPUS_OK;
  const std::unique_ptr<OpusEncoder, void (*)(OpusEncoder*)> encoder(
      opus_encoder_create(kSampleRateHz, num_channels, OPUS_APPLICATION_AUDIO, &error), opus_encoder_destroy);
  REQUIRE(error == OPUS_OK);
  REQUIRE(opus_encoder_ctl(encoder.get(), OPUS_SET_BITRATE(64000)) == OPUS_OK);
  const auto mono = SpeechLike(1, 3);
  std::vector<float> host;
  for (const float sample : mono) host.insert(host.end(), static_cast<std::size_t>(num_channels), sample);
  std::vector<Bytes> packets;
  for (int i = 0; (i + 1) * packet_samples <= 40 * kPacketSamples; ++i) {
    Bytes bytes(4000);
    bytes.resize(static_cast<std::size_t>(
        opus_encode_float(encoder.get(), host.data() + i * packet_samples * num_channels, packet_samples, bytes.data(), 4000)));
    packets.push_back(bytes);
  }
  return packets;
}

// One source and one listener of it.
class Scene {
 public:
  explicit Scene(const StreamFormat& format) : format_(format) {
    auto targets = std::make_shared<SourceTargets>();
    targets->v4.push_back({.listener = Get(audience_.Add(keys.code, "ann")),
                           .destination = Get(Destination::Parse("127.0.0.1", listener_.port())),
                           .projection = projection});
    UdpSocket socket = Get(UdpSocket::Bind("127.0.0.1", 0));
    to_ = Get(Destination::Parse("127.0.0.1", socket.port()));
    source = Get(LiveSource::Create({.format = format, .recording = 7}, keys, std::move(socket), clock_, audience_, recorder));
    source->SetTargets(targets);
  }

  void Arrive(const Bytes& datagram) {
    REQUIRE(::sendto(sender_.fd(), datagram.data(), datagram.size(), 0, to_->address(), to_->size()) > 0);
    const std::int64_t before = NumAllocations();
    source->Receive(outlet_);
    source->Tick(outlet_);
    CHECK(NumAllocations() == before);
  }
  void Arrive(std::uint16_t sequence, std::uint32_t timestamp, const Bytes& opus) {
    Bytes datagram(kRtpHeaderBytes);
    WriteRtpHeader({.payload_type = 111, .sequence = sequence, .timestamp = timestamp, .ssrc = 7},
                   std::span<std::uint8_t, kRtpHeaderBytes>(datagram.data(), kRtpHeaderBytes));
    datagram.insert(datagram.end(), opus.begin(), opus.end());
    Arrive(datagram);
  }

  struct Heard {
    RtpHeader header;
    std::int64_t position = 0;  // on the room's clock
    Bytes payload;
  };
  // What the listener got since the last time.
  std::vector<Heard> Hear() {
    std::vector<Heard> heard;
    Bytes buffer(3000);
    for (ssize_t got = 0; (got = ::recv(listener_.fd(), buffer.data(), buffer.size(), MSG_DONTWAIT)) >= 0;) {
      const RtpPacket packet = Get(ParseRtp(std::span(buffer).first(static_cast<std::size_t>(got))));
      heard.push_back({.header = packet.header,
                       .position = static_cast<std::int32_t>(packet.header.timestamp - projection.TimestampOf(0)),
                       .payload = {packet.payload.begin(), packet.payload.end()}});
    }
    return heard;
  }

  const StreamKeys keys = TestKeys();
  const OutputProjection projection = OutputProjection::Derive(TestKey(1), "mic", 111);
  SlotQueue recorder{512};
  std::shared_ptr<LiveSource> source;

 private:
  StreamFormat format_;
  RoomClock clock_{0};
  Audience audience_{format_.num_variants, 10};
  UdpSocket listener_ = Get(UdpSocket::Bind("127.0.0.1", 0));
  UdpSocket sender_ = Get(UdpSocket::ForSending(AF_INET));
  std::optional<Destination> to_;
  Outlet outlet_{.v4_socket = sender_.fd()};
};

// What `ann` is to get of a source's packets, each in its slot.
class Expected {
 public:
  Expected(const StreamFormat& format, const StreamKeys& keys)
      : marker_(format, keys.carrier), code_(keys.code, "ann", format.num_variants) {}
  Bytes Copy(std::int64_t packet, Bytes opus) {
    const PatchedPacket patched = marker_.Mark(packet, opus);
    if (!patched.erased) patched.patches[static_cast<std::size_t>(code_.VariantAt(packet))].Apply(opus);
    return opus;
  }

 private:
  InPacketMarker marker_;
  TraceCode code_;
};

TEST_CASE("LiveSource: from receiving to sending nothing is allocated", "[live_source]") {
  for (const StreamFormat& format : {StreamFormat{}, kInPacket}) {
    Scene scene(format);
    const auto packets = SpokenPackets(kPacketSamples);
    for (std::uint16_t i = 0; i < 40; ++i) {
      scene.Arrive(i, 960U * i, packets[i]);
      scene.Arrive(Bytes(50, 0xFF));
    }
    const SourceCounts counts = scene.source->counts();
    CHECK(counts.received == 40);
    CHECK(counts.rejected == 40);
    CHECK(counts.marked + counts.erased == 40);
    CHECK(counts.malformed == 0);
    CHECK(counts.sent == 40);
    CHECK(counts.send_drops == 0);
    CHECK(counts.not_recorded == 0);
  }
}

TEST_CASE("LiveSource: a source's own packets go on with the listener's bytes, and with their own timing", "[live_source]") {
  for (const int samples : {120, 480, 960, 1920, 2880}) {
    for (const int num_channels : {1, 2}) {
      INFO(samples << " samples, " << num_channels << " channels");
      Scene scene(kInPacket);
      const auto packets = SpokenPackets(samples, num_channels);
      for (std::size_t i = 0; i < packets.size(); ++i)
        scene.Arrive(static_cast<std::uint16_t>(i), static_cast<std::uint32_t>(1000 + samples * static_cast<int>(i)), packets[i]);
      const auto heard = scene.Hear();
      REQUIRE(heard.size() == packets.size());
      Expected expected(kInPacket, scene.keys);
      int num_changed = 0;
      for (std::size_t i = 0; i < heard.size(); ++i) {
        CHECK(heard[i].header.sequence == static_cast<std::uint16_t>(heard[0].header.sequence + i));
        CHECK(heard[i].header.marker == (i == 0));
        CHECK(heard[i].position == heard[0].position + static_cast<std::int64_t>(i) * samples);
        CHECK(heard[i].payload.size() == packets[i].size());
        CHECK(heard[i].payload == expected.Copy(heard[i].position / kPacketSamples, packets[i]));
        num_changed += heard[i].payload != packets[i] ? 1 : 0;
        const QueuedSlot* const recorded = scene.recorder.Front();
        REQUIRE(recorded != nullptr);
        CHECK(recorded->recording == 7);
        CHECK(recorded->packet * kPacketSamples + recorded->offset_samples == heard[i].position);
        CHECK(Bytes(recorded->source_packet().begin(), recorded->source_packet().end()) == packets[i]);
        scene.recorder.Pop();
      }
      CHECK(scene.recorder.Front() == nullptr);
      CHECK(heard[0].position % kPacketSamples == 0);
      const SourceCounts counts = scene.source->counts();
      CHECK(counts.marked + counts.erased == static_cast<std::int64_t>(packets.size()));
      // Variants 2j and 2j+1 are opposites, so that what is marked is changed for all.
      CHECK(num_changed <= counts.marked);
      if (samples == kPacketSamples) CHECK(num_changed > 20);
    }
  }
}

TEST_CASE("LiveSource: what cannot be marked, and what is no Opus, goes on as it came", "[live_source]") {
  Scene scene(kInPacket);
  const auto packets = SpokenPackets(kPacketSamples);
  const Bytes dtx = {packets[0][0]};
  const Bytes silk(60, 0x08);                // SILK, 20 ms
  const Bytes no_opus = {0xFF, 0x00, 0x12};  // no frame count
  const std::vector<Bytes> sent = {packets[0], dtx, silk, no_opus, Bytes(1800, 0xFF), packets[1]};
  for (std::size_t i = 0; i < sent.size(); ++i)
    scene.Arrive(static_cast<std::uint16_t>(i), static_cast<std::uint32_t>(960 * i), sent[i]);
  const auto heard = scene.Hear();
  REQUIRE(heard.size() == sent.size());
  for (std::size_t i = 0; i < heard.size(); ++i)
    CHECK(heard[i].position == heard[0].position + static_cast<std::int64_t>(i) * kPacketSamples);
  for (const std::size_t i : {1U, 2U, 3U, 4U}) CHECK(heard[i].payload == sent[i]);
  const SourceCounts counts = scene.source->counts();
  CHECK(counts.malformed == 2);
  CHECK(counts.erased >= 4);
  CHECK(counts.rejected == 0);
}

TEST_CASE("LiveSource: a source's own packets do not wait for one another, and late ones go on as they came", "[live_source]") {
  Scene scene(kInPacket);
  const auto packets = SpokenPackets(kPacketSamples);
  const auto arrive = [&](std::size_t i) {
    scene.Arrive(static_cast<std::uint16_t>(65530 + i), static_cast<std::uint32_t>(960 * i), packets[i]);
  };
  for (const std::size_t i : {0U, 1U, 2U}) arrive(i);
  const auto first = scene.Hear();
  REQUIRE(first.size() == 3);
  for (const std::size_t i : {5U, 6U, 4U, 6U, 12U}) {
    arrive(i);
    const auto heard = scene.Hear();
    REQUIRE(heard.size() == (i == 6 && scene.source->counts().duplicate == 1 ? 0 : 1));
    if (heard.empty()) continue;
    CHECK(heard[0].position == first[0].position + static_cast<std::int64_t>(i) * kPacketSamples);
    CHECK(heard[0].header.sequence == static_cast<std::uint16_t>(first[0].header.sequence + i));
    CHECK_FALSE(heard[0].header.marker);
    if (i == 4) CHECK(heard[0].payload == packets[4]);
  }
  const SourceCounts counts = scene.source->counts();
  CHECK(counts.duplicate == 1);
  CHECK(counts.late == 1);
  CHECK(counts.lost == 6);  // 3, and 7 to 11
  CHECK(counts.sent == 7);
  // The late one is not recorded: its successors were marked without it.
  std::vector<std::int64_t> recorded;
  for (; scene.recorder.Front() != nullptr; scene.recorder.Pop())
    recorded.push_back(scene.recorder.Front()->packet - first[0].position / kPacketSamples);
  CHECK(recorded == std::vector<std::int64_t>{0, 1, 2, 5, 6, 12});
}

TEST_CASE("LiveSource: formats that cannot be sent are refused", "[live_source]") {
  const RoomClock clock(0);
  SlotQueue recorder(1);
  const Audience audience(4, 1);
  StreamFormat wrong_version = kInPacket;
  wrong_version.code_version = 1;
  for (const StreamFormat& format : {wrong_version, StreamFormat{.kind = ReferenceKind::kHostPackets}}) {
    const auto created =
        LiveSource::Create({.format = format}, TestKeys(), Get(UdpSocket::Bind("127.0.0.1", 0)), clock, audience, recorder);
    REQUIRE_FALSE(created);
    CHECK(created.error().code == ErrorCode::kInvalidArgument);
  }
}

}  // namespace
}  // namespace earmark
