// A relay that keeps its own way of sending: it asks for patches and choices over gRPC, patches the packets itself, and a clip of
// a copy names the listener.
//
// Chance of failing: each scan may name an innocent account with chance 1e-6 by the bound it is given; there are fewer than 10
// here.
#include "services/sidecar/relay_calls.h"

#include <grpcpp/grpcpp.h>
#include <httplib.h>
#include <opus/opus.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <nlohmann/json.hpp>
#include <thread>

#include "dsp/reference/mono_player.h"
#include "services/common/scan/scan.h"
#include "services/common/server/daemon.h"
#include "services/sidecar/relay_handlers.h"
#include "tests/integration/store_temp_folder.h"
#include "tests/support/marked_stream.h"
#include "tests/support/synthetic_audio.h"

namespace earmark {
namespace {

using Catch::Matchers::Contains;
using grpc::StatusCode;
using std::chrono::steady_clock;

using Bytes = std::string;

// The Relay service in this process, over gRPC and HTTP, on a SQLite store; a call lasts a minute at most.
struct TestRelay {
  TestRelay() {
    server::Config config(server::CommonConfigKeys());
    for (const char* setting : {"auth.required=false", "listen.grpc=127.0.0.1:0", "listen.http=127.0.0.1:0"})
      REQUIRE(config.SetFromOption(setting));
    frontend = Get(server::Frontend::Start(config, {{v1::Relay::service_full_name(), &handlers}}, {}, metrics));
    stub = v1::Relay::NewStub(grpc::CreateChannel(frontend->grpc_address().ToString(), grpc::InsecureChannelCredentials()));
  }
  ~TestRelay() { handlers.Drain(); }

  void Open(const std::string& stream_id, v1::Marking marking = v1::IN_PACKET) {
    v1::OpenStreamRequest request;
    request.set_stream_id(stream_id);
    request.mutable_format()->set_marking(marking);
    v1::Stream stream;
    grpc::ClientContext context;
    REQUIRE(stub->OpenStream(&context, request, &stream).ok());
  }
  v1::Stream See(const std::string& stream_id) {
    v1::GetStreamRequest request;
    request.set_stream_id(stream_id);
    v1::Stream stream;
    grpc::ClientContext context;
    REQUIRE(stub->GetStream(&context, request, &stream).ok());
    return stream;
  }
  void Close(const std::string& stream_id) {
    v1::CloseStreamRequest request;
    request.set_stream_id(stream_id);
    v1::Stream stream;
    grpc::ClientContext context;
    REQUIRE(stub->CloseStream(&context, request, &stream).ok());
  }
  // Without a destination.
  grpc::Status GrantRefused(const std::string& stream_id, const std::string& account) {
    grpc::ClientContext context;
    v1::GrantRequest request;
    request.set_stream_id(stream_id);
    request.set_account(account);
    v1::GrantResponse response;
    return stub->Grant(&context, request, &response);
  }

  std::string Grant(const std::string& stream_id, const std::string& account) {
    v1::GrantRequest request;
    request.set_stream_id(stream_id);
    request.set_account(account);
    v1::GrantResponse response;
    grpc::ClientContext context;
    REQUIRE(stub->Grant(&context, request, &response).ok());
    CHECK(response.sources_size() == 0);
    return response.grant_id();
  }
  void Revoke(const std::string& grant_id) {
    v1::RevokeRequest request;
    request.set_grant_id(grant_id);
    v1::RevokeResponse response;
    grpc::ClientContext context;
    REQUIRE(stub->Revoke(&context, request, &response).ok());
  }

  TempFolder folder;
  MasterKey master{.key = TestKey(1), .id = KeyId(TestKey(1))};
  std::unique_ptr<Sidecar> sidecar = Get(Sidecar::Start({.store_url = folder.Url(), .name = "test"}, master));
  AccessControl access{sidecar->pool(), {.token_needed = false}};
  RelayHandlers handlers{*sidecar, access};
  server::Metrics metrics;
  std::unique_ptr<server::Frontend> frontend;
  std::unique_ptr<v1::Relay::Stub> stub;
};

// A Variants call.
class Patching {
 public:
  Patching(TestRelay& relay, std::string stream_id, std::string source)
      : stream_id_(std::move(stream_id)), source_(std::move(source)) {
    context_.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
    call_ = relay.stub->Variants(&context_);
  }

  // None: the call has ended.
  std::optional<v1::VariantSlot> Ask(std::uint32_t sequence, std::uint32_t timestamp, const Bytes& opus) {
    v1::SourcePacket packet;
    packet.set_stream_id(std::exchange(stream_id_, ""));
    packet.set_source(std::exchange(source_, ""));
    packet.set_sequence_number(sequence);
    packet.set_timestamp(timestamp);
    packet.set_opus(opus);
    v1::VariantSlot slot;
    if (!call_->Write(packet) || !call_->Read(&slot)) return std::nullopt;
    CHECK(slot.sequence_number() == sequence);
    CHECK(slot.erased() == (slot.patches_size() == 0));
    return slot;
  }
  // The status of a call that is not to be answered.
  grpc::Status Refused(std::uint32_t sequence, const Bytes& opus) {
    CHECK_FALSE(Ask(sequence, 0, opus));
    return call_->Finish();
  }
  grpc::Status End() {
    call_->WritesDone();
    return call_->Finish();
  }
  // Waits for the other side to end it.
  grpc::Status WaitForEnd() {
    v1::VariantSlot slot;
    CHECK_FALSE(call_->Read(&slot));
    return call_->Finish();
  }
  void Cancel() { context_.TryCancel(); }
  // Writes the packet again and again and reads no answer, until the call has ended.
  void WriteOn(std::uint32_t sequence, std::uint32_t timestamp, const Bytes& opus) {
    v1::SourcePacket packet;
    packet.set_sequence_number(sequence);
    packet.set_timestamp(timestamp);
    packet.set_opus(opus);
    while (call_->Write(packet)) {
    }
  }

 private:
  std::string stream_id_;
  std::string source_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::SourcePacket, v1::VariantSlot>> call_;
};

// A Choices call.
class Choosing {
 public:
  Choosing(TestRelay& relay, const std::string& stream_id, const std::string& grant_id, std::int64_t from_symbol = 0) {
    context_.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
    v1::ChoicesRequest request;
    request.set_stream_id(stream_id);
    request.set_grant_id(grant_id);
    request.set_from_symbol(from_symbol);
    call_ = relay.stub->Choices(&context_, request);
  }

  // Reads on until the symbol's choice is known.
  std::size_t VariantAt(std::int64_t symbol) {
    while (symbol >= first_symbol_ + static_cast<std::int64_t>(variants_.size())) REQUIRE(ReadOn());
    REQUIRE(symbol >= first_symbol_);
    return static_cast<std::size_t>(variants_[static_cast<std::size_t>(symbol - first_symbol_)]);
  }
  bool ReadOn() {
    v1::ChoiceBlock block;
    if (!call_->Read(&block)) return false;
    CHECK_FALSE(block.variants().empty());
    if (variants_.empty()) first_symbol_ = block.first_symbol();
    CHECK(block.first_symbol() == first_symbol_ + static_cast<std::int64_t>(variants_.size()));
    for (const char variant : block.variants()) variants_.push_back(variant);
    return true;
  }
  grpc::Status ReadToEnd() {
    while (ReadOn()) {
    }
    return call_->Finish();
  }
  std::int64_t first_symbol() const { return first_symbol_; }
  std::int64_t num_symbols() const { return static_cast<std::int64_t>(variants_.size()); }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<v1::ChoiceBlock>> call_;
  std::int64_t first_symbol_ = 0;
  std::vector<char> variants_;
};

// What a speaker's client sends: 64 kb/s by CELT, 20 ms a packet.
std::vector<Bytes> SpokenPackets(int seed, int num_packets) {
  int error = OPUS_OK;
  const std::unique_ptr<OpusEncoder, void (*)(OpusEncoder*)> encoder(
      opus_encoder_create(kSampleRateHz, 1, OPUS_APPLICATION_AUDIO, &error), opus_encoder_destroy);
  REQUIRE(error == OPUS_OK);
  REQUIRE(opus_encoder_ctl(encoder.get(), OPUS_SET_BITRATE(64000)) == OPUS_OK);
  const auto sound = SpeechLike(num_packets / kPacketsPerSecond + 1, static_cast<std::uint32_t>(seed));
  std::vector<Bytes> packets;
  for (int i = 0; i < num_packets; ++i) {
    Bytes bytes(1500, '\0');
    auto* const to = reinterpret_cast<unsigned char*>(bytes.data());
    bytes.resize(static_cast<std::size_t>(
        opus_encode_float(encoder.get(), sound.data() + std::ptrdiff_t{i} * kPacketSamples, kPacketSamples, to, 1500)));
    packets.push_back(bytes);
  }
  return packets;
}

// As a relay does it.
Bytes Patched(const Bytes& opus, const v1::VariantSlot& slot, std::size_t variant) {
  Bytes copy = opus;
  if (slot.erased()) return copy;
  const v1::VariantPatch& patch = slot.patches(static_cast<int>(variant));
  REQUIRE(static_cast<std::size_t>(patch.offsets_size()) == patch.bytes().size());
  for (int i = 0; i < patch.offsets_size(); ++i) copy.at(patch.offsets(i)) = patch.bytes()[static_cast<std::size_t>(i)];
  return copy;
}

std::vector<float> Play(const std::vector<Bytes>& packets) {
  MonoPlayer player(kSampleRateHz, 1);
  std::vector<float> sound;
  for (const Bytes& packet : packets)
    CHECK(player.Play(std::span(reinterpret_cast<const std::uint8_t*>(packet.data()), packet.size()), sound));
  return sound;
}

TEST_CASE("Relay calls: a relay patches the speaker's packets itself, and its copies name their listeners", "[relay_calls]") {
  TestRelay relay;
  relay.Open("room");
  Choosing for_ann(relay, "room", relay.Grant("room", "ann"));
  Choosing for_bob(relay, "room", relay.Grant("room", "bob"));
  Patching patching(relay, "room", "mic");
  const auto packets = SpokenPackets(5, 400);
  std::vector<Bytes> to_ann;
  std::vector<Bytes> to_bob;
  int different = 0;
  auto next = steady_clock::now();
  for (std::size_t i = 0; i < packets.size(); ++i, next += std::chrono::milliseconds(20)) {
    std::this_thread::sleep_until(next);  // the speaker's own clock
    const auto slot =
        patching.Ask(static_cast<std::uint16_t>(65500 + i), static_cast<std::uint32_t>(4'294'900'000 + 960 * i), packets[i]);
    REQUIRE(slot);
    if (!slot->erased()) REQUIRE(slot->patches_size() == 4);
    to_ann.push_back(Patched(packets[i], *slot, for_ann.VariantAt(slot->symbol())));
    to_bob.push_back(Patched(packets[i], *slot, for_bob.VariantAt(slot->symbol())));
    different += to_ann.back() != to_bob.back() ? 1 : 0;
    CHECK(to_ann.back().size() == packets[i].size());
  }
  CHECK(different > 200);  // three of four symbols, on average
  REQUIRE(relay.See("room").sources_size() == 1);
  CHECK(relay.See("room").sources(0).rtp_port() == 0);
  CHECK(relay.See("room").num_grants() == 2);
  const auto stats = Get(relay.sidecar->Stats("room"));
  const SourceCounts counts = stats.stream.sources.at(0).counts;
  CHECK(counts.received == 400);
  CHECK(counts.marked + counts.erased == 400);
  CHECK(counts.lost + counts.late + counts.duplicate + counts.malformed + counts.not_recorded == 0);
  CHECK(stats.grants.size() == 2);
  REQUIRE(patching.End().ok());
  CHECK(relay.See("room").sources_size() == 0);
  CHECK(Get(relay.sidecar->Stats("room")).reference_stored >= 400);  // a packet that begins within a slot reaches into the next
  relay.Close("room");
  CHECK(for_ann.ReadToEnd().ok());
  CHECK(for_bob.ReadToEnd().ok());
  auto store = Get(OpenStore(relay.folder.Url(), OpenMode::kReadWrite));
  for (const auto& [account, copy] : {std::pair("ann", &to_ann), std::pair("bob", &to_bob)}) {
    const ScanReport report = Get(ScanClip(*store, relay.master, HalveRate(Play(*copy)), {}, {}));
    INFO(ToJson(report));
    REQUIRE(report.accusations.size() == 1);
    CHECK(report.accusations[0].account == account);
  }
}

TEST_CASE("Relay calls: packets that come twice, late or broken are answered, and what they were is counted", "[relay_calls]") {
  TestRelay relay;
  relay.Open("room");
  Patching patching(relay, "room", "mic");
  const auto packets = SpokenPackets(6, 40);
  const auto ask = [&](std::uint32_t i) { return *patching.Ask(i, 960 * i, packets[i]); };
  CHECK(patching.Ask(700, 5, "")->erased());  // no packet: its number says nothing
  std::optional<v1::VariantSlot> marked;
  for (std::uint32_t i = 0; i < 30; ++i) {
    if (i == 20) continue;
    const auto slot = ask(i);
    if (!slot.erased()) marked = slot;
  }
  REQUIRE(marked);
  CHECK(ask(marked->sequence_number()).SerializeAsString() == marked->SerializeAsString());
  CHECK(patching.Ask(marked->sequence_number(), 960 * marked->sequence_number(), packets[0])
            ->erased());  // other bytes under its number
  CHECK(ask(20).erased());
  CHECK(patching.Ask(30, 960 * 30, Bytes(100, '\xFF'))->erased());
  CHECK(patching.Ask(31, 960 * 31, Bytes(1500, '\x03'))->erased());
  CHECK(patching.Ask(9000, 5, packets[0])->erased());  // another sequence? not after one packet of it
  const SourceCounts counts = Get(relay.sidecar->Stats("room")).stream.sources.at(0).counts;
  CHECK(counts.received == 35);
  CHECK(counts.duplicate == 2);
  CHECK(counts.late == 1);
  CHECK(counts.malformed >= 1);
  CHECK(counts.marked + counts.erased == 32);
  REQUIRE(patching.End().ok());
  CHECK(Get(relay.sidecar->Stats("room")).reference_stored >= 29);
}

TEST_CASE("Relay calls: mistakes are told", "[relay_calls]") {
  TestRelay relay;
  relay.Open("room");
  relay.Open("encoded", v1::REENCODE);
  relay.Open("closed");
  relay.Close("closed");
  const std::string grant = relay.Grant("room", "ann");
  const Bytes opus = SpokenPackets(6, 1)[0];
  const auto patching_fails = [&](const char* stream_id, const char* source, std::uint32_t sequence, const Bytes& bytes) {
    return Patching(relay, stream_id, source).Refused(sequence, bytes);
  };
  CHECK(patching_fails("none", "mic", 0, opus).error_code() == StatusCode::NOT_FOUND);
  CHECK(patching_fails("encoded", "mic", 0, opus).error_code() == StatusCode::FAILED_PRECONDITION);
  CHECK(patching_fails("closed", "mic", 0, opus).error_code() == StatusCode::FAILED_PRECONDITION);
  CHECK(patching_fails("", "mic", 0, opus).error_code() == StatusCode::INVALID_ARGUMENT);
  CHECK(patching_fails("room", "", 0, opus).error_code() == StatusCode::INVALID_ARGUMENT);
  CHECK(patching_fails("room", std::string(256, 'm').c_str(), 0, opus).error_code() == StatusCode::INVALID_ARGUMENT);
  CHECK_THAT(patching_fails("room", "mic", 65536, opus).error_message(), Contains("sequence_number"));
  CHECK_THAT(patching_fails("room", "mic", 0, Bytes(1501, 'x')).error_message(), Contains("opus"));
  CHECK(relay.See("room").sources_size() == 0);
  const auto choosing_fails = [&](const char* stream_id, const std::string& grant_id, std::int64_t from_symbol) {
    return Choosing(relay, stream_id, grant_id, from_symbol).ReadToEnd().error_code();
  };
  CHECK(choosing_fails("none", grant, 0) == StatusCode::NOT_FOUND);
  CHECK(choosing_fails("room", "none", 0) == StatusCode::NOT_FOUND);
  CHECK(choosing_fails("closed", grant, 0) == StatusCode::FAILED_PRECONDITION);
  CHECK(relay.GrantRefused("encoded", "ann").error_code() == StatusCode::FAILED_PRECONDITION);
  CHECK(choosing_fails("room", grant, -1) == StatusCode::INVALID_ARGUMENT);
}

TEST_CASE("Relay calls: a source's name is taken while its call lasts, and ends with the source", "[relay_calls]") {
  TestRelay relay;
  relay.Open("room");
  const Bytes opus = SpokenPackets(6, 1)[0];
  (void)Get(relay.sidecar->AddSource("room", "port", 111, 63));
  CHECK(Patching(relay, "room", "port").Refused(0, opus).error_code() == StatusCode::ALREADY_EXISTS);
  Patching patching(relay, "room", "mic");
  REQUIRE(patching.Ask(0, 0, opus));
  CHECK(Patching(relay, "room", "mic").Refused(0, opus).error_code() == StatusCode::ALREADY_EXISTS);
  REQUIRE(relay.sidecar->RemoveSource("room", "mic"));
  CHECK(patching.WaitForEnd().error_code() == StatusCode::FAILED_PRECONDITION);
  Patching again(relay, "room", "mic");
  REQUIRE(again.Ask(1, 960, opus));
  relay.Close("room");
  CHECK(again.WaitForEnd().error_code() == StatusCode::FAILED_PRECONDITION);
}

TEST_CASE("Relay calls: a caller who leaves takes the source along", "[relay_calls]") {
  TestRelay relay;
  relay.Open("room");
  Patching patching(relay, "room", "mic");
  REQUIRE(patching.Ask(0, 0, SpokenPackets(6, 1)[0]));
  patching.Cancel();
  CHECK(patching.WaitForEnd().error_code() == StatusCode::CANCELLED);
  const auto deadline = steady_clock::now() + std::chrono::seconds(10);
  while (relay.See("room").sources_size() != 0 && steady_clock::now() < deadline) std::this_thread::yield();
  CHECK(relay.See("room").sources_size() == 0);
  CHECK(Get(relay.sidecar->Stats("room")).reference_stored >= 1);
}

TEST_CASE("Relay calls: a relay that calls again at once goes on behind what it said, and nothing of it is lost",
          "[relay_calls]") {
  TestRelay relay;
  relay.Open("room");
  const auto packets = SpokenPackets(6, 11);
  std::int64_t last_symbol = -1;
  for (int call = 0; call < 3; ++call) {
    Patching patching(relay, "room", "mic");
    // all told less than a second, which is how far ahead of the clock a source may be
    for (std::uint32_t i = 0; i < 11; ++i) {
      const auto slot = *patching.Ask(i, 960 * i, packets[i]);
      CHECK(slot.symbol() > last_symbol);
      last_symbol = slot.symbol();
    }
    REQUIRE(patching.End().ok());
  }
  const auto stats = Get(relay.sidecar->Stats("room"));
  CHECK(stats.reference_dropped == 0);
  CHECK(stats.reference_stored >= 33);
}

TEST_CASE("Relay calls: choices keep ahead of the room's clock, and end with the grant", "[relay_calls]") {
  TestRelay relay;
  relay.Open("room");
  const std::string grant = relay.Grant("room", "ann");
  Choosing first(relay, "room", grant);
  (void)first.VariantAt(0);
  CHECK(first.first_symbol() == 0);
  CHECK(first.num_symbols() > 2 * kPacketsPerSecond);
  CHECK(first.num_symbols() < 10 * kPacketsPerSecond);
  Choosing later(relay, "room", grant, 100);
  (void)later.VariantAt(100);
  CHECK(later.first_symbol() == 100);
  for (std::int64_t symbol = 100; symbol < 200; ++symbol) CHECK(later.VariantAt(symbol) == first.VariantAt(symbol));
  relay.Revoke(grant);
  CHECK(first.ReadToEnd().ok());
  CHECK(later.ReadToEnd().ok());
  CHECK(Choosing(relay, "room", grant).ReadToEnd().error_code() == StatusCode::NOT_FOUND);
}

TEST_CASE("Relay calls: a drain ends them, and stores what was said", "[relay_calls]") {
  TestRelay relay;
  relay.Open("room");
  Choosing choosing(relay, "room", relay.Grant("room", "ann"));
  (void)choosing.VariantAt(0);
  Patching patching(relay, "room", "mic");
  REQUIRE(patching.Ask(0, 0, SpokenPackets(6, 1)[0]));
  relay.handlers.Drain();
  CHECK(patching.WaitForEnd().error_code() == StatusCode::UNAVAILABLE);
  CHECK(choosing.ReadToEnd().error_code() == StatusCode::UNAVAILABLE);
  CHECK(Get(relay.sidecar->Stats("room")).reference_stored >= 1);
  relay.frontend->Stop(std::chrono::seconds(5));
}

TEST_CASE("Relay calls: a caller who reads no answers is held up, and holds up no drain", "[relay_calls]") {
  TestRelay relay;
  relay.Open("room");
  Patching patching(relay, "room", "mic");
  const auto packets = SpokenPackets(6, 30);
  std::uint32_t marked = 0;
  for (std::uint32_t i = 0; i < 30; ++i) marked = patching.Ask(i, 960 * i, packets[i])->erased() ? marked : i;
  std::thread writer([&] { patching.WriteOn(marked, 960 * marked, packets[marked]); });
  const auto num_received = [&] {
    const auto sources = Get(relay.sidecar->Stats("room")).stream.sources;
    return sources.empty() ? 0 : sources[0].counts.received;
  };
  // Held up: the number stands still.
  std::int64_t received = 0;
  auto last_change = steady_clock::now();
  while (received < 1'000'000 && steady_clock::now() - last_change < std::chrono::milliseconds(500)) {
    const std::int64_t now = num_received();
    if (now != received) last_change = steady_clock::now();
    received = now;
  }
  CHECK(received < 1'000'000);
  relay.handlers.Drain();
  writer.join();
  const auto deadline = steady_clock::now() + std::chrono::seconds(10);
  while (relay.See("room").sources_size() != 0 && steady_clock::now() < deadline) std::this_thread::yield();
  CHECK(relay.See("room").sources_size() == 0);
}

TEST_CASE("Relay calls: over HTTP choices come as lines, and patches are refused", "[relay_calls]") {
  TestRelay relay;
  relay.Open("room");
  const std::string grant = relay.Grant("room", "ann");
  httplib::Client http(relay.frontend->http_address().host, relay.frontend->http_address().port);
  http.set_read_timeout(20);
  httplib::Request request;
  request.method = "POST";
  request.path = "/v1/Relay/Choices";
  request.body = nlohmann::json{{"stream_id", "room"}, {"grant_id", grant}}.dump();
  request.set_header("Content-Type", "application/json");
  std::string line;
  request.content_receiver = [&](const char* data, std::size_t size, std::uint64_t, std::uint64_t) {
    line.append(data, size);
    return false;
  };
  (void)http.send(request);
  CHECK(nlohmann::json::parse(line.substr(0, line.find('\n'))).at("variants").get<std::string>().size() > 100);
  httplib::Client other(relay.frontend->http_address().host, relay.frontend->http_address().port);
  const auto refused = other.Post("/v1/Relay/Variants", "{}", "application/json");
  REQUIRE(refused);
  CHECK(refused->status == 404);
  CHECK_THAT(refused->body, Contains("gRPC"));
}

TEST_CASE("Relay calls: a room that starts again has the listeners that a relay serves, and their choices", "[relay_calls]") {
  const TempFolder folder;
  const MasterKey master{.key = TestKey(1), .id = KeyId(TestKey(1))};
  const auto start = [&] { return Get(Sidecar::Start({.store_url = folder.Url(), .name = "test"}, master)); };
  std::string grant_id;
  std::vector<std::uint8_t> before;
  {
    auto sidecar = start();
    (void)Get(sidecar->OpenStream("room", 0, {}));
    (void)Get(sidecar->AddCalledSource("room", "mic"));
    grant_id = Get(sidecar->AddGrant("room", "ann", {})).grant_id;
    (void)Get(sidecar->AddGrant("room", "bob", {}));
    before = Get(sidecar->Choices("room", grant_id, 100)).Next().value().variants;
  }
  auto sidecar = start();
  sidecar->ResumeRooms();
  const auto room = Get(sidecar->GetStream("room"));
  CHECK(room.sources.empty());
  CHECK(room.num_listeners == 2);
  auto choices = Get(sidecar->Choices("room", grant_id, 100));
  // Symbols of more than 5 s ago are left out; the resumed room is 3 s old or more.
  const auto block = choices.Next().value();
  REQUIRE(block.first_symbol < 100 + static_cast<std::int64_t>(before.size()));
  const auto skipped = block.first_symbol - 100;
  CHECK(std::equal(before.begin() + skipped, before.end(), block.variants.begin()));
  CHECK(Get(sidecar->AddCalledSource("room", "mic"))->presence() == Presence::kHere);
}

}  // namespace
}  // namespace earmark
