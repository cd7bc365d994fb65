// Live rooms on real sockets and a real store: RTP goes in, every listener's copy comes out, and what the store keeps names the listener.
#include "services/sidecar/sidecar.h"

#include <arpa/inet.h>
#include <opus/opus.h>
#include <poll.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <set>
#include <thread>

#include "dsp/reference/mono_player.h"
#include "dsp/rtp/rtp_packet.h"
#include "services/common/scan/scan.h"
#include "tests/integration/store_temp_folder.h"
#include "tests/support/marked_stream.h"
#include "tests/support/synthetic_audio.h"

namespace earmark {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

MasterKey TestMaster(std::uint8_t seed) { return {.key = TestKey(seed), .id = KeyId(TestKey(seed))}; }

const StreamFormat kInPacket = {.packets_per_symbol = 1, .kind = ReferenceKind::kSourcePackets, .code_version = 2};

Sidecar::Options OptionsOf(const TempFolder& folder, const std::string& name = "test") {
  return {.store_url = folder.Url(), .name = name};
}

// Sends speech as RTP, in real time: 64 kb/s, variable in length.
class Speaker {
 public:
  explicit Speaker(int seed, int packet_samples = kPacketSamples)
      : sound_(SpeechLike(10, static_cast<std::uint32_t>(seed))),
        ssrc_(static_cast<std::uint32_t>(seed)),
        packet_samples_(static_cast<std::size_t>(packet_samples)) {
    int error = OPUS_OK;
    encoder_.reset(opus_encoder_create(kSampleRateHz, 1, OPUS_APPLICATION_AUDIO, &error));
    REQUIRE(error == OPUS_OK);
    REQUIRE(opus_encoder_ctl(encoder_.get(), OPUS_SET_BITRATE(64000)) == OPUS_OK);
  }

  void Speak(int port, int num_packets) {
    auto next = steady_clock::now();
    for (int i = 0; i < num_packets; ++i, next += std::chrono::microseconds(packet_samples_ * 1000 / 48)) {
      std::this_thread::sleep_until(next);  // the speaker's own clock
      Send(port);
    }
  }

 private:
  void Send(int port) {
    const auto block =
        std::span(sound_).subspan(sequence_ % (sound_.size() / packet_samples_) * packet_samples_, packet_samples_);
    std::vector<std::uint8_t> datagram(2000);
    WriteRtpHeader({.payload_type = 111,
                    .sequence = sequence_,
                    .timestamp = static_cast<std::uint32_t>(packet_samples_ * sequence_),
                    .ssrc = ssrc_},
                   std::span<std::uint8_t, kRtpHeaderBytes>(datagram.data(), kRtpHeaderBytes));
    const int num_bytes = opus_encode_float(encoder_.get(), block.data(), static_cast<int>(packet_samples_),
                                            datagram.data() + kRtpHeaderBytes, 1900);
    REQUIRE(num_bytes > 0);
    datagram.resize(kRtpHeaderBytes + static_cast<std::size_t>(num_bytes));
    const Destination to = Get(Destination::Parse("127.0.0.1", port));
    REQUIRE(::sendto(socket_.fd(), datagram.data(), datagram.size(), 0, to.address(), to.size()) ==
            static_cast<ssize_t>(datagram.size()));
    ++sequence_;
  }

  struct EncoderDeleter {
    void operator()(OpusEncoder* encoder) const { opus_encoder_destroy(encoder); }
  };
  std::vector<float> sound_;
  std::uint32_t ssrc_;
  std::size_t packet_samples_;
  std::unique_ptr<OpusEncoder, EncoderDeleter> encoder_;
  std::uint16_t sequence_ = 0;
  UdpSocket socket_ = Get(UdpSocket::ForSending(AF_INET));
};

// A UDP port and what came to it.
class Hearer {
 public:
  int port() const { return socket_.port(); }
  Delivery delivery() const { return {.host = "127.0.0.1", .port = port(), .payload_type = 96}; }

  struct Heard {
    RtpHeader header;
    std::vector<std::uint8_t> payload;
  };
  // All that has come, and what still comes within `patience`.
  std::vector<Heard> Take(milliseconds patience = milliseconds(100)) {
    std::vector<Heard> heard;
    std::array<std::uint8_t, 2048> buffer{};
    pollfd waiting{.fd = socket_.fd(), .events = POLLIN, .revents = 0};
    while (::poll(&waiting, 1, static_cast<int>(patience.count())) > 0) {
      const ssize_t got = ::recv(socket_.fd(), buffer.data(), buffer.size(), 0);
      const RtpPacket packet = Get(ParseRtp(std::span(buffer).first(static_cast<std::size_t>(got))));
      heard.push_back({.header = packet.header, .payload = {packet.payload.begin(), packet.payload.end()}});
    }
    return heard;
  }

 private:
  UdpSocket socket_ = Get(UdpSocket::Bind("127.0.0.1", 0));
};

std::vector<float> Play(const std::vector<Hearer::Heard>& heard) {
  MonoPlayer player(kSampleRateHz, 1);
  std::vector<float> sound;
  for (const auto& packet : heard) CHECK(player.Play(packet.payload, sound));
  return sound;
}

TEST_CASE("Sidecar: every listener hears the speaker in a copy of their own, and the copy names them", "[sidecar]") {
  const TempFolder folder;
  auto sidecar = Get(Sidecar::Start(OptionsOf(folder), TestMaster(1)));
  (void)Get(sidecar->OpenStream("room", 0, {}));
  const int port = Get(sidecar->AddSource("room", "mic", 111, 63));
  Hearer ann;
  Hearer bob;
  const auto grant = Get(sidecar->AddGrant("room", "ann", ann.delivery()));
  (void)Get(sidecar->AddGrant("room", "bob", bob.delivery()));
  Speaker(5).Speak(port, 220);
  const auto to_ann = ann.Take();
  const auto to_bob = bob.Take();
  REQUIRE(to_ann.size() >= 216);  // the first ones may still be waiting for order
  REQUIRE(to_bob.size() == to_ann.size());
  int different = 0;
  for (std::size_t i = 0; i < to_ann.size(); ++i) {
    CHECK(to_ann[i].header.payload_type == 96);
    CHECK(to_ann[i].header.ssrc == grant.sources.at(0).ssrc);
    CHECK(to_ann[i].header.sequence == static_cast<std::uint16_t>(to_ann[0].header.sequence + i));
    CHECK(to_ann[i].header.timestamp == static_cast<std::uint32_t>(to_ann[0].header.timestamp + 960 * i));
    CHECK(to_ann[i].payload.size() == to_bob[i].payload.size());
    different += to_ann[i].payload != to_bob[i].payload ? 1 : 0;
  }
  CHECK(different > 100);  // three of four symbols, on average
  CHECK(to_ann[0].header.ssrc != to_bob[0].header.ssrc);
  const auto closed = Get(sidecar->CloseStream("room"));
  CHECK(closed.record.state == StreamState::kComplete);
  auto store = Get(OpenStore(folder.Url(), OpenMode::kReadWrite));
  const ScanReport report = Get(ScanClip(*store, TestMaster(1), HalveRate(Play(to_ann)), {}, {}));
  INFO(ToJson(report));
  REQUIRE(report.accusations.size() == 1);
  CHECK(report.accusations[0].account == "ann");
}

TEST_CASE("Sidecar: a source's own packets reach every listener with a few bytes changed, and name them", "[sidecar]") {
  for (const int packet_samples : {960, 480}) {
    INFO(packet_samples);
    const TempFolder folder;
    auto sidecar = Get(Sidecar::Start(OptionsOf(folder), TestMaster(1)));
    (void)Get(sidecar->OpenStream("room", 0, kInPacket));
    const int port = Get(sidecar->AddSource("room", "mic", 111, 63));
    Hearer ann;
    Hearer bob;
    (void)Get(sidecar->AddGrant("room", "ann", ann.delivery()));
    (void)Get(sidecar->AddGrant("room", "bob", bob.delivery()));
    const auto num_packets = static_cast<std::size_t>(8 * kSampleRateHz / packet_samples);
    Speaker(5, packet_samples).Speak(port, static_cast<int>(num_packets));
    const auto to_ann = ann.Take();
    const auto to_bob = bob.Take();
    REQUIRE(to_ann.size() == num_packets);
    REQUIRE(to_bob.size() == num_packets);
    int different = 0;
    for (std::size_t i = 0; i < num_packets; ++i) {
      CHECK(to_ann[i].header.sequence == static_cast<std::uint16_t>(to_ann[0].header.sequence + i));
      CHECK(to_ann[i].header.timestamp ==
            static_cast<std::uint32_t>(to_ann[0].header.timestamp + i * static_cast<std::size_t>(packet_samples)));
      CHECK(to_ann[i].payload.size() == to_bob[i].payload.size());
      different += to_ann[i].payload != to_bob[i].payload ? 1 : 0;
    }
    CHECK(different > 8 * kPacketsPerSecond / 3);  // of packets in the same slot, the first alone is moved
    const SourceCounts counts = Get(sidecar->Stats("room")).stream.sources.at(0).counts;
    CHECK(counts.marked + counts.erased == static_cast<std::int64_t>(num_packets));
    CHECK(counts.malformed + counts.lost + counts.late + counts.not_recorded == 0);
    (void)Get(sidecar->CloseStream("room"));
    auto store = Get(OpenStore(folder.Url(), OpenMode::kReadWrite));
    const ScanReport report = Get(ScanClip(*store, TestMaster(1), HalveRate(Play(to_ann)), {}, {}));
    INFO(ToJson(report));
    REQUIRE(report.accusations.size() == 1);
    CHECK(report.accusations[0].account == "ann");
  }
}

TEST_CASE("Sidecar: a revoked listener hears no more, and the grant has an end", "[sidecar]") {
  const TempFolder folder;
  auto sidecar = Get(Sidecar::Start(OptionsOf(folder), TestMaster(1)));
  (void)Get(sidecar->OpenStream("room", 0, {}));
  const int port = Get(sidecar->AddSource("room", "mic", 111, 63));
  Hearer ann;
  Hearer bob;
  const auto grant = Get(sidecar->AddGrant("room", "ann", ann.delivery()));
  (void)Get(sidecar->AddGrant("room", "bob", bob.delivery()));
  Speaker speaker(6);
  speaker.Speak(port, 20);
  REQUIRE(sidecar->Revoke(grant.grant_id));
  (void)ann.Take();
  (void)bob.Take();
  speaker.Speak(port, 20);
  CHECK(ann.Take().empty());
  CHECK(bob.Take().size() >= 18);
  CHECK(sidecar->Revoke(grant.grant_id));  // again
  CHECK_FALSE(sidecar->Revoke("unknown"));
  auto store = Get(OpenStore(folder.Url(), OpenMode::kReadWrite));
  CHECK(Get(store->FindGrant(grant.grant_id)).grant.to_stream_us != Grant::kOpenEnd);
}

TEST_CASE("Sidecar: mistakes are told, and change nothing", "[sidecar]") {
  const TempFolder folder;
  auto sidecar = Get(Sidecar::Start(OptionsOf(folder), TestMaster(1)));
  const auto code_of = [](const auto& result) { return result ? std::optional<ErrorCode>() : result.error().code; };
  CHECK(code_of(sidecar->AddSource("room", "mic", 111, 63)) == ErrorCode::kNotFound);
  (void)Get(sidecar->OpenStream("room", 0, {}));
  CHECK(code_of(sidecar->OpenStream("room", 0, {})) == ErrorCode::kAlreadyExists);
  CHECK(code_of(sidecar->OpenStream("", 0, {})) == ErrorCode::kInvalidArgument);
  (void)Get(sidecar->AddSource("room", "mic", 111, 63));
  CHECK(code_of(sidecar->AddSource("room", "mic", 111, 63)) == ErrorCode::kAlreadyExists);
  CHECK(code_of(sidecar->AddSource("room", "other", 128, 63)) == ErrorCode::kInvalidArgument);
  CHECK(code_of(sidecar->RemoveSource("room", "other")) == ErrorCode::kNotFound);
  CHECK(code_of(sidecar->AddGrant("room", "", {.host = "127.0.0.1", .port = 9})) == ErrorCode::kInvalidArgument);
  CHECK(code_of(sidecar->AddGrant("room", "ann", {.host = "localhost", .port = 9})) == ErrorCode::kInvalidArgument);
  CHECK(code_of(sidecar->AddGrant("room", "ann", {.host = "127.0.0.1", .port = 0})) == ErrorCode::kInvalidArgument);
  (void)Get(sidecar->AddGrant("room", "ann", {.host = "127.0.0.1", .port = 9}));
  CHECK(code_of(sidecar->AddGrant("room", "bob", {.host = "127.0.0.1", .port = 9})) == ErrorCode::kAlreadyExists);
  CHECK(Get(sidecar->GetStream("room")).num_listeners == 1);
  (void)Get(sidecar->CloseStream("room"));
  (void)Get(sidecar->CloseStream("room"));
  CHECK(code_of(sidecar->OpenStream("room", 0, {})) == ErrorCode::kAlreadyExists);
  CHECK(code_of(sidecar->AddSource("room", "mic", 111, 63)) == ErrorCode::kFailedPrecondition);
  CHECK(code_of(sidecar->Stats("room")) == ErrorCode::kFailedPrecondition);
}

TEST_CASE("Sidecar: rubbish on a source's port is counted and does no harm", "[sidecar]") {
  const TempFolder folder;
  auto sidecar = Get(Sidecar::Start(OptionsOf(folder), TestMaster(1)));
  (void)Get(sidecar->OpenStream("room", 0, {}));
  const int port = Get(sidecar->AddSource("room", "mic", 111, 63));
  Hearer ann;
  (void)Get(sidecar->AddGrant("room", "ann", ann.delivery()));
  auto socket = Get(UdpSocket::ForSending(AF_INET));
  const Destination to = Get(Destination::Parse("127.0.0.1", port));
  const std::vector<std::vector<std::uint8_t>> rubbish = {
      {}, {0}, {0x80, 111}, std::vector<std::uint8_t>(3000, 0x80), std::vector<std::uint8_t>(100, 0xFF)};
  for (const auto& bytes : rubbish) ::sendto(socket.fd(), bytes.data(), bytes.size(), 0, to.address(), to.size());
  Speaker(7).Speak(port, 30);
  CHECK(ann.Take().size() >= 26);
  CHECK(Get(sidecar->Stats("room")).stream.sources.at(0).counts.rejected >= 3);
}

TEST_CASE("Sidecar: one that starts again has its rooms, ports and listeners as before", "[sidecar]") {
  const StreamFormat format = GENERATE(StreamFormat(), kInPacket);
  const TempFolder folder;
  Hearer ann;
  int port = 0;
  std::string grant_id;
  Speaker speaker(8);
  {
    auto sidecar = Get(Sidecar::Start(OptionsOf(folder), TestMaster(1)));
    (void)Get(sidecar->OpenStream("room", 0, format));
    (void)Get(sidecar->OpenStream("closed", 0, {}));
    (void)Get(sidecar->CloseStream("closed"));
    port = Get(sidecar->AddSource("room", "mic", 111, 63));
    (void)Get(sidecar->AddSource("room", "gone", 111, 63));
    REQUIRE(sidecar->RemoveSource("room", "gone"));
    grant_id = Get(sidecar->AddGrant("room", "ann", ann.delivery())).grant_id;
    speaker.Speak(port, 20);
  }
  const auto before = ann.Take();
  REQUIRE_FALSE(before.empty());
  auto other = Get(Sidecar::Start(OptionsOf(folder, "other"), TestMaster(1)));
  other->ResumeRooms();
  CHECK(Get(other->GetStream("room")).sources.empty());
  auto sidecar = Get(Sidecar::Start(OptionsOf(folder), TestMaster(1)));
  sidecar->ResumeRooms();
  const auto room = Get(sidecar->GetStream("room"));
  REQUIRE(room.sources.size() == 1);
  CHECK(room.sources[0].name == "mic");
  CHECK(room.sources[0].port == port);
  CHECK(room.num_listeners == 1);
  CHECK(room.record.epoch == kFirstEpoch + 1);
  CHECK(room.record.format == format);
  speaker.Speak(port, 30);
  const auto after = ann.Take();
  REQUIRE(after.size() >= 26);
  CHECK(after[0].header.ssrc == before.back().header.ssrc);
  CHECK(static_cast<std::uint16_t>(after[0].header.sequence - before.back().header.sequence) < 0x8000);
  CHECK(after[0].header.marker);
  REQUIRE(sidecar->Revoke(grant_id));
  (void)Get(sidecar->CloseStream("room"));
  auto store = Get(OpenStore(folder.Url(), OpenMode::kReadWrite));
  const auto chunks = Get(store->ReadReference("room", 0, 0, 1'000'000));
  REQUIRE(chunks.size() >= 2);
  CHECK(chunks.back().first_packet > 100);  // the room's clock went on while nobody was there
}

TEST_CASE("Sidecar: a room that another took over stops here", "[sidecar]") {
  const TempFolder folder;
  auto sidecar = Get(Sidecar::Start(OptionsOf(folder), TestMaster(1)));
  (void)Get(sidecar->OpenStream("room", 0, {}));
  (void)Get(sidecar->AddSource("room", "mic", 111, 63));
  auto store = Get(OpenStore(folder.Url(), OpenMode::kReadWrite));
  const std::string owner = Get(store->GetStream("room")).owner;
  (void)Get(store->TakeStream("room", {.owner = owner, .duration_us = 60'000'000}));
  const auto deadline = steady_clock::now() + std::chrono::seconds(20);
  while (sidecar->Stats("room") && steady_clock::now() < deadline) std::this_thread::yield();
  const auto stats = sidecar->Stats("room");
  REQUIRE_FALSE(stats);
  CHECK(stats.error().code == ErrorCode::kFailedPrecondition);
}

}  // namespace
}  // namespace earmark
