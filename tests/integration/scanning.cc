// From a recording to a name: streams are marked into a store, copies are leaked, and the scan names the right account and nobody else.
//
// Chance of failing: each scan may name an innocent account with chance 1e-6 by the bound it is given; there are fewer than 30 here.
#include <catch2/catch.hpp>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "dsp/reference/reference_chunk.h"
#include "services/common/marking.h"
#include "services/common/reference_recorder.h"
#include "services/common/scan/scan.h"
#include "tests/integration/store_temp_folder.h"
#include "tests/support/golden.h"
#include "tests/support/marked_stream.h"
#include "tests/support/synthetic_audio.h"

namespace earmark {
namespace {

constexpr int kNumAccounts = 2000;

class MemoryReader : public AudioReader {
 public:
  MemoryReader(std::vector<float> interleaved, int num_channels) : samples_(std::move(interleaved)), num_channels_(num_channels) {
    info_.sample_rate_hz = kSampleRateHz;
    info_.num_channels = num_channels;
    info_.duration_s = static_cast<double>(samples_.size()) / num_channels / kSampleRateHz;
    info_.format = "memory";
  }
  const AudioInfo& info() const override { return info_; }
  int num_channels() const override { return num_channels_; }
  Result<std::int64_t> Read(std::span<float> interleaved) override {
    const std::size_t count = std::min(interleaved.size(), samples_.size() - at_);
    std::copy_n(samples_.begin() + static_cast<std::ptrdiff_t>(at_), count, interleaved.begin());
    at_ += count;
    return static_cast<std::int64_t>(count) / num_channels_;
  }

 private:
  std::vector<float> samples_;
  int num_channels_;
  std::size_t at_ = 0;
  AudioInfo info_;
};

MasterKey TestMaster(std::uint8_t seed) { return {.key = TestKey(seed), .id = KeyId(TestKey(seed))}; }

std::string AccountName(int index) { return "account-" + std::to_string(index); }

std::vector<float> SpeechHost() { return SpeechLike(16, 11); }
std::vector<float> MusicHost() { return Interleaved(MusicLike(14, 12), Scaled(MusicLike(14, 13), 0.7)); }

// Two marked streams, made once: "speech", mono, and "music", stereo.
struct Archive {
  Archive() : master(TestMaster(9)), store(Get(OpenStore(folder.Url(), OpenMode::kReadWriteCreate))) {
    std::vector<std::string> accounts;
    for (int i = 0; i < kNumAccounts; ++i) accounts.push_back(AccountName(i));
    MemoryReader speech(SpeechHost(), 1);
    (void)Get(RegisterStream(*store, master, speech,
                             {.stream_id = "speech", .format = {}, .accounts = accounts, .input_digest = ""}, {}));
    MemoryReader music(MusicHost(), 2);
    (void)Get(RegisterStream(*store, master, music,
                             {.stream_id = "music", .format = {.bitrate_bps = 48000}, .accounts = accounts, .input_digest = ""},
                             {}));
  }

  // What the account's player put out: mono, 24 kHz.
  std::vector<float> CopyOf(const std::string& account, const std::string& stream_id) {
    const StreamRecord stream = Get(store->GetStream(stream_id));
    Listener listener(stream.format.num_channels);
    std::vector<float> sound;
    const auto play = [&](std::span<const std::uint8_t> packet) -> Result<void> {
      listener.Play(packet, sound);
      return {};
    };
    const auto chosen = ChoosePackets(*store, stream, Get(KeysOf(stream, master)), account, play, {});
    if (!chosen) throw std::runtime_error(chosen.error().message);
    return HalveRate(MonoOf(sound, stream.format.num_channels));
  }

  ScanReport Scan(std::span<const float> clip, const ScanOptions& options = {}) {
    return Get(ScanClip(*store, master, clip, options, {}));
  }

  TempFolder folder;
  MasterKey master;
  std::unique_ptr<Store> store;
};

Archive& TheArchive() {
  static Archive archive;
  return archive;
}

void CheckRefused(Archive& archive, const std::vector<float>& clip, const std::string& reason) {
  const auto report = ScanClip(*archive.store, archive.master, clip, {}, {});
  REQUIRE_FALSE(report);
  CHECK(report.error().code == ErrorCode::kInvalidArgument);
  CHECK(report.error().message.find(reason) != std::string::npos);
}

void CheckNobody(const ScanReport& report) {
  CHECK(report.accusations.empty());
  CHECK(report.verdict != Verdict::kAccused);
}

TEST_CASE("Scanning: four seconds of a copy name its account and no other", "[scanning]") {
  Archive& archive = TheArchive();
  struct Leak {
    const char* stream;
    int account;
    double start_s;
  };
  for (const Leak& leak :
       {Leak{"speech", 137, 5.013}, Leak{"speech", 1999, 0.0}, Leak{"speech", 0, 11.4}, Leak{"music", 42, 3.7}}) {
    const auto clip =
        CutSeconds(archive.CopyOf(AccountName(leak.account), leak.stream), leak.start_s, leak.start_s + 4, kDetectRateHz);
    const ScanReport report = archive.Scan(clip);
    INFO(ToJson(report));
    REQUIRE(report.verdict == Verdict::kAccused);
    REQUIRE(report.accusations.size() == 1);
    const Accusation& accusation = report.accusations[0];
    CHECK(accusation.account == AccountName(leak.account));
    CHECK(accusation.stream == leak.stream);
    CHECK(accusation.log10_bound <= -6);
    // The bound is for all candidates, at every alignment that was tried.
    CHECK(accusation.log10_bound >= accusation.log10_p + std::log10(static_cast<double>(report.candidates)) - 1e-9);
    CHECK(accusation.log10_bound < accusation.log10_p + std::log10(static_cast<double>(report.candidates)) + 3);
    CHECK(report.candidates == kNumAccounts);
    CHECK(report.symbols_used > golden::kFewestSymbolsOf4s);
    CHECK_FALSE(report.seconds_needed);
    REQUIRE(report.alignments.size() == 1);
    const Alignment& alignment = report.alignments[0].alignment;
    CHECK(alignment.StreamTime(2) == Approx(leak.start_s + 2).margin(0.001));
    CHECK(alignment.speed == Approx(1).margin(1e-3));
  }
}

TEST_CASE("Scanning: noise, gain and another codec do not hide the account", "[scanning]") {
  Archive& archive = TheArchive();
  const auto copy = archive.CopyOf(AccountName(77), "speech");
  const auto clip = CutSeconds(copy, 4.2, 10.2, kDetectRateHz);
  for (const auto& attacked : {WithNoise(clip, 20, 1), Scaled(clip, 0.05), Scaled(clip, -1)}) {
    const ScanReport report = archive.Scan(attacked);
    INFO(ToJson(report));
    REQUIRE(report.accusations.size() == 1);
    CHECK(report.accusations[0].account == AccountName(77));
  }
}

TEST_CASE("Scanning: audio without a listener's mark names nobody", "[scanning]") {
  Archive& archive = TheArchive();
  const auto host = HalveRate(SpeechHost());
  const auto other = HalveRate(SpeechLike(8, 4711));
  SECTION("the unmarked recording is found, and nobody accused") {
    const ScanReport report = archive.Scan(CutSeconds(host, 2, 14, kDetectRateHz));
    CheckNobody(report);
    CHECK(report.verdict == Verdict::kNoAccusation);
    CHECK_FALSE(report.alignments.empty());
  }
  SECTION("another recording is unknown audio") {
    const ScanReport report = archive.Scan(other);
    CheckNobody(report);
    CHECK(report.verdict == Verdict::kUnknownAudio);
    CHECK(report.alignments.empty());
    CHECK(report.candidates == 0);
  }
  SECTION("noise, silence, nothing, next to nothing") {
    CHECK(archive.Scan(WhiteNoise(6 * kDetectRateHz, 0.1, 5)).verdict == Verdict::kUnknownAudio);
    // What cannot be searched is not called unknown.
    const auto copy = archive.CopyOf(AccountName(5), "speech");
    CheckRefused(archive, std::vector<float>(6 * kDetectRateHz, 0.0F), "silent");
    CheckRefused(archive, {}, "too short to search: 0.00 s");
    CheckRefused(archive, CutSeconds(copy, 5, 5.3, kDetectRateHz), "too short to search: 0.30 s");
    CheckRefused(archive, std::vector<float>(1, 0.5F), "too short to search");
  }
  SECTION("full scale and constant") { CheckNobody(archive.Scan(std::vector<float>(3 * kDetectRateHz, 1.0F))); }
}

TEST_CASE("Scanning: with the wrong master key nothing is searched, and that is said", "[scanning]") {
  Archive& archive = TheArchive();
  const auto clip = CutSeconds(archive.CopyOf(AccountName(3), "speech"), 4, 8, kDetectRateHz);
  const auto report = ScanClip(*archive.store, TestMaster(200), clip, {}, {});
  REQUIRE_FALSE(report);
  CHECK(report.error().code == ErrorCode::kFailedPrecondition);
  CHECK(report.error().message.find("2 streams are sealed under another master key") != std::string::npos);
}

TEST_CASE("Scanning: streams under another key are told as not searched", "[scanning]") {
  TempFolder folder;
  auto store = Get(OpenStore(folder.Url(), OpenMode::kReadWriteCreate));
  for (const std::uint8_t seed : {1, 2, 3}) {
    MemoryReader host(SpeechLike(5, seed), 1);
    (void)Get(RegisterStream(*store, TestMaster(seed < 3 ? 1 : 2), host,
                             {.stream_id = "room-" + std::to_string(seed), .format = {}, .accounts = {"ann"}, .input_digest = ""},
                             {}));
  }
  const ScanReport report = Get(ScanClip(*store, TestMaster(1), HalveRate(SpeechLike(4, 77)), {}, {}));
  CHECK(report.verdict == Verdict::kUnknownAudio);
  REQUIRE(report.notes.size() == 1);
  CHECK(report.notes[0].find("not searched: 1 of 3 streams") != std::string::npos);
}

TEST_CASE("Scanning: a forged master key under the right name cannot open the reference", "[scanning]") {
  Archive& archive = TheArchive();
  MasterKey forged = TestMaster(200);
  forged.id = archive.master.id;
  const auto clip = CutSeconds(archive.CopyOf(AccountName(3), "speech"), 4, 8, kDetectRateHz);
  const auto report = ScanClip(*archive.store, forged, clip, {}, {});
  REQUIRE_FALSE(report);
  CHECK(report.error().code == ErrorCode::kFailedPrecondition);
  CHECK(report.error().message.find("stream 'speech'") != std::string::npos);
}

std::vector<ReferenceChunk> ChunksOf(Store& store, const StreamRecord& stream) {
  auto chunks = Get(store.ReadReference(stream.id, 0, 0, stream.num_packets));
  const auto visited = store.VisitFingerprints(
      stream.id, [&](std::string_view, int, std::int64_t first_packet, std::span<const std::uint8_t> bytes) {
        for (auto& chunk : chunks) {
          if (chunk.first_packet == first_packet) chunk.fingerprint.assign(bytes.begin(), bytes.end());
        }
      });
  if (!visited) throw std::runtime_error(visited.error().message);
  return chunks;
}

TEST_CASE("Scanning: a damaged piece of the reference is a gap with a note, and the rest is read", "[scanning]") {
  TempFolder folder;
  auto store = Get(OpenStore(folder.Url(), OpenMode::kReadWriteCreate));
  const MasterKey master = TestMaster(32);
  MemoryReader host(SpeechLike(34, 91), 1);
  std::vector<std::string> accounts;
  for (int i = 0; i < kNumAccounts; ++i) accounts.push_back(AccountName(i));
  (void)Get(RegisterStream(*store, master, host,
                           {.stream_id = "room", .format = SourcePacketsFormat(64000), .accounts = accounts, .input_digest = ""},
                           {}));
  const StreamRecord stream = Get(store->GetStream("room"));
  Listener listener(1);
  std::vector<float> sound;
  REQUIRE(ChoosePackets(*store, stream, Get(KeysOf(stream, master)), AccountName(7),
                        [&](std::span<const std::uint8_t> packet) -> Result<void> {
                          listener.Play(packet, sound);
                          return {};
                        },
                        {}));
  const auto clip = CutSeconds(HalveRate(sound), 2, 32, kDetectRateHz);
  const ScanReport whole = Get(ScanClip(*store, master, clip, {}, {}));
  REQUIRE(whole.accusations.size() == 1);

  // The same store, with a byte of some pieces changed.
  const auto chunks = ChunksOf(*store, stream);
  REQUIRE(chunks.size() == 4);
  const auto scan_with_damage = [&](const std::vector<std::size_t>& pieces) {
    TempFolder other;
    auto damaged = Get(OpenStore(other.Url(), OpenMode::kReadWriteCreate));
    REQUIRE(damaged->CreateStream(stream, Get(store->ListGrants("room", 0, Grant::kOpenEnd))));
    auto changed = chunks;
    for (const std::size_t piece : pieces) changed[piece].sealed[changed[piece].sealed.size() / 2] ^= 1;
    for (const ReferenceChunk& chunk : changed) REQUIRE(damaged->AppendReference("room", chunk));
    return ScanClip(*damaged, master, clip, {}, {});
  };
  const ScanReport report = Get(scan_with_damage({1}));  // in the middle of the clip
  INFO(ToJson(report));
  REQUIRE(report.accusations.size() == 1);
  CHECK(report.accusations[0].account == AccountName(7));
  // Two thirds of the clip are left; half of the digits at least.
  CHECK(report.accusations[0].log10_p < golden::kDamagedThirdOfWhole * whole.accusations[0].log10_p);
  REQUIRE(report.notes.size() == 1);
  CHECK(report.notes[0].find("stream 'room': 1 damaged piece of its reference, the first at 10 s") != std::string::npos);

  const auto nothing_left = scan_with_damage({0, 1, 2, 3});
  REQUIRE_FALSE(nothing_left);
  CHECK(nothing_left.error().code == ErrorCode::kFailedPrecondition);
  CHECK(nothing_left.error().message.find("stream 'room': 4 damaged pieces") != std::string::npos);
}

TEST_CASE("Scanning: a copy that leaked under somebody else's name does not accuse", "[scanning]") {
  // The same clip, looked at in a store that holds the same stream and other accounts.
  Archive& archive = TheArchive();
  const auto clip = CutSeconds(archive.CopyOf(AccountName(3), "speech"), 4, 8, kDetectRateHz);
  TempFolder folder;
  auto store = Get(OpenStore(folder.Url(), OpenMode::kReadWriteCreate));
  const StreamRecord stream = Get(archive.store->GetStream("speech"));
  std::vector<Grant> innocent;
  for (int i = 0; i < kNumAccounts; ++i) innocent.push_back({.account = "innocent-" + std::to_string(i)});
  REQUIRE(store->CreateStream(stream, innocent));
  auto chunks = Get(archive.store->ReadReference("speech", 0, 0, stream.num_packets));
  REQUIRE(archive.store->VisitFingerprints(
      "speech", [&](std::string_view, int, std::int64_t first_packet, std::span<const std::uint8_t> bytes) {
        for (auto& chunk : chunks) {
          if (chunk.first_packet == first_packet) chunk.fingerprint.assign(bytes.begin(), bytes.end());
        }
      }));
  for (const auto& chunk : chunks) REQUIRE(store->AppendReference("speech", chunk));
  REQUIRE(store->CompleteStream("speech", stream.num_samples));

  const ScanReport named = archive.Scan(clip, {.stream = "speech"});
  const ScanReport report = Get(ScanClip(*store, archive.master, clip, {}, {}));
  REQUIRE(named.verdict == Verdict::kAccused);
  CheckNobody(report);
  CHECK(report.verdict == Verdict::kNoAccusation);
  // Nothing that came before scoring depended on who the candidates are.
  CHECK(report.symbols_used == named.symbols_used);
  REQUIRE(report.alignments.size() == named.alignments.size());
  for (std::size_t i = 0; i < named.alignments.size(); ++i) {
    CHECK(report.alignments[i].alignment.stream_start_s == named.alignments[i].alignment.stream_start_s);
    CHECK(report.alignments[i].alignment.speed == named.alignments[i].alignment.speed);
  }
}

TEST_CASE("Scanning: a clip cut from two streams has two alignments, and both its accounts are named", "[scanning]") {
  Archive& archive = TheArchive();
  auto clip = CutSeconds(archive.CopyOf(AccountName(10), "speech"), 3, 8, kDetectRateHz);
  const auto second = CutSeconds(archive.CopyOf(AccountName(20), "music"), 6, 11, kDetectRateHz);
  clip.insert(clip.end(), second.begin(), second.end());
  const ScanReport report = archive.Scan(clip);
  INFO(ToJson(report));
  std::set<std::string> streams;
  for (const auto& a : report.alignments) streams.insert(a.stream);
  CHECK(streams == std::set<std::string>{"music", "speech"});
  std::set<std::pair<std::string, std::string>> accused;
  for (const auto& a : report.accusations) accused.emplace(a.stream, a.account);
  CHECK(accused == std::set<std::pair<std::string, std::string>>{{"speech", AccountName(10)}, {"music", AccountName(20)}});
  CHECK(report.candidates == 2 * kNumAccounts);
}

TEST_CASE("Scanning: music made of one loop, ten times over, names the account", "[scanning]") {
  const TempFolder folder;
  const MasterKey master = TestMaster(21);
  auto store = Get(OpenStore(folder.Url(), OpenMode::kReadWriteCreate));
  const auto bar = CutSeconds(MusicLike(3, 71), 0, 2.37, kSampleRateHz);
  std::vector<float> host;
  for (int i = 0; i < 10; ++i) host.insert(host.end(), bar.begin(), bar.end());
  MemoryReader reader(host, 1);
  (void)Get(RegisterStream(*store, master, reader,
                           {.stream_id = "loop", .format = {}, .accounts = {"a", "b", "c"}, .input_digest = ""}, {}));
  const StreamRecord stream = Get(store->GetStream("loop"));
  Listener listener(1);
  std::vector<float> sound;
  const auto play = [&](std::span<const std::uint8_t> packet) -> Result<void> {
    listener.Play(packet, sound);
    return {};
  };
  REQUIRE(ChoosePackets(*store, stream, Get(KeysOf(stream, master)), "b", play, {}));
  const auto copy = HalveRate(sound);
  for (const double start_s : {1.0, 9.3, 17.7}) {
    const ScanReport report = Get(ScanClip(*store, master, CutSeconds(copy, start_s, start_s + 4, kDetectRateHz), {}, {}));
    INFO(ToJson(report));
    REQUIRE(report.accusations.size() == 1);
    CHECK(report.accusations[0].account == "b");
    // The price of not knowing which repeat it is: each of them counts.
    CHECK(report.candidates == 3);
    CHECK(report.trials > report.candidates);
    CHECK(report.accusations[0].log10_bound ==
          Approx(report.accusations[0].log10_p + std::log10(static_cast<double>(report.trials))));
  }
}

// A room with two speakers at once: two sources on one clock, and listeners who hear the sum of both.
struct Room {
  Room() : master(TestMaster(31)), store(Get(OpenStore(folder.Url(), OpenMode::kReadWriteCreate))) {
    StreamRecord stream{.id = "room", .format = {}, .key_id = master.id, .input_digest = ""};
    std::vector<Grant> grants;
    for (int i = 0; i < kNumAccounts; ++i) grants.push_back({.account = AccountName(i)});
    if (!store->CreateStream(stream, grants)) throw std::runtime_error("CreateStream");
    keys = Get(KeysOf(stream, master));
    format = stream.format;
    for (int source = 0; source < 2; ++source) {
      const auto host = SpeechLike(12, source == 0 ? 81 : 82);
      sources.push_back(MarkStream(host, format, keys));
      auto marker = Get(StreamMarker::Create(format, keys));
      ReferenceRecorder recorder("room", format, keys.seal, source, kPacketsPerChunk,
                                 [&](const ReferenceChunk& chunk) { return store->AppendReference("room", chunk); });
      for (std::size_t at = 0; at + kPacketSamples <= host.size(); at += kPacketSamples) {
        const auto block = std::span(host).subspan(at, kPacketSamples);
        if (!recorder.Add(Get(marker.Process(block)), block)) throw std::runtime_error("Add");
      }
      if (!recorder.Flush()) throw std::runtime_error("Flush");
    }
    if (!store->CompleteStream("room", 12 * kSampleRateHz)) throw std::runtime_error("CompleteStream");
  }
  std::vector<float> CopyOf(const std::string& account) const {
    auto sum = sources[0].CopyOf(account);
    const auto other = sources[1].CopyOf(account);
    for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += other[i];
    return HalveRate(sum);
  }

  TempFolder folder;
  MasterKey master;
  std::unique_ptr<Store> store;
  StreamKeys keys;
  StreamFormat format;
  std::vector<MarkedStream> sources;
};

TEST_CASE("Scanning: two speakers at once carry one code, and both are read", "[scanning]") {
  const Room room;
  const auto clip = CutSeconds(room.CopyOf(AccountName(5)), 4, 8, kDetectRateHz);
  const ScanReport report = Get(ScanClip(*room.store, room.master, clip, {}, {}));
  INFO(ToJson(report));
  REQUIRE(report.accusations.size() == 1);
  CHECK(report.accusations[0].account == AccountName(5));
  std::set<int> heard;
  for (const StreamAlignment& alignment : report.alignments) {
    heard.insert(alignment.source);
    CHECK(alignment.alignment.StreamTime(2) == Approx(6).margin(0.001));
  }
  CHECK(heard == std::set<int>{0, 1});
  CHECK(report.trials == kNumAccounts);                           // one hypothesis, not two
  CHECK(report.symbols_used < golden::kMaxSymbolsOfTwoSpeakers);  // a symbol that both carry is one
}

TEST_CASE("Scanning: two speakers mixed from different listeners' copies accuse no third account", "[scanning]") {
  const Room room;
  auto mix = room.sources[0].CopyOf(AccountName(1));
  const auto other = room.sources[1].CopyOf(AccountName(2));
  for (std::size_t i = 0; i < mix.size(); ++i) mix[i] += other[i];
  const ScanReport report = Get(ScanClip(*room.store, room.master, CutSeconds(HalveRate(mix), 2, 10, kDetectRateHz), {}, {}));
  INFO(ToJson(report));
  for (const Accusation& accusation : report.accusations) {
    CHECK((accusation.account == AccountName(1) || accusation.account == AccountName(2)));
  }
}

TEST_CASE("Scanning: --stream looks in one stream alone", "[scanning]") {
  Archive& archive = TheArchive();
  const auto clip = CutSeconds(archive.CopyOf(AccountName(8), "speech"), 4, 8, kDetectRateHz);
  CHECK(archive.Scan(clip, {.stream = "speech"}).accusations.size() == 1);
  CHECK(archive.Scan(clip, {.stream = "music"}).verdict == Verdict::kUnknownAudio);
  const auto missing = ScanClip(*archive.store, archive.master, clip, {.stream = "nowhere"}, {});
  REQUIRE_FALSE(missing);
  CHECK(missing.error().code == ErrorCode::kNotFound);
}

TEST_CASE("Scanning: only accounts that were there at the time are candidates", "[scanning]") {
  TempFolder folder;
  auto store = Get(OpenStore(folder.Url(), OpenMode::kReadWriteCreate));
  const MasterKey master = TestMaster(30);
  MemoryReader host(SpeechLike(10, 90), 1);
  // Copies of all of it, for accounts that were there for a part in the store that is searched.
  (void)Get(RegisterStream(*store, master, host,
                           {.stream_id = "room", .format = {}, .accounts = {"early", "late", "there"}, .input_digest = ""}, {}));
  const std::vector<Grant> grants = {{.account = "host"},
                                     {.account = "early", .from_stream_us = 0, .to_stream_us = 3'000'000},
                                     {.account = "late", .from_stream_us = 9'000'000},
                                     {.account = "there", .from_stream_us = 2'000'000, .to_stream_us = 6'000'000}};
  const StreamRecord stream = Get(store->GetStream("room"));
  TempFolder folder_of_part;
  auto part = Get(OpenStore(folder_of_part.Url(), OpenMode::kReadWriteCreate));
  REQUIRE(part->CreateStream(stream, grants));
  for (const ReferenceChunk& chunk : ChunksOf(*store, stream)) REQUIRE(part->AppendReference("room", chunk));
  const StreamKeys keys = Get(KeysOf(stream, master));
  const auto clip_of = [&](const std::string& account) {
    Listener listener(1);
    std::vector<float> sound;
    REQUIRE(ChoosePackets(*store, stream, keys, account,
                          [&](std::span<const std::uint8_t> packet) -> Result<void> {
                            listener.Play(packet, sound);
                            return {};
                          },
                          {}));
    return CutSeconds(HalveRate(sound), 4, 8, kDetectRateHz);
  };
  const ScanReport there = Get(ScanClip(*part, master, clip_of("there"), {}, {}));
  CHECK(there.candidates == 2);
  REQUIRE(there.accusations.size() == 1);
  CHECK(there.accusations[0].account == "there");
  for (const char* account : {"early", "late"}) {
    const ScanReport report = Get(ScanClip(*part, master, clip_of(account), {}, {}));
    CHECK(report.candidates == 2);
    CheckNobody(report);
  }
}

TEST_CASE("Scanning: too little evidence is no accusation, and says how much would do", "[scanning]") {
  // 1e-60 cannot be reached in 4 s: 100 symbols of 4 variants say 60 digits at the very most, and 2,000 candidates take 3.
  Archive& archive = TheArchive();
  const auto clip = CutSeconds(archive.CopyOf(AccountName(8), "speech"), 4, 8, kDetectRateHz);
  const ScanReport report = archive.Scan(clip, {.stream = {}, .max_false_accusation = 1e-60});
  INFO(ToJson(report));
  CHECK(report.verdict == Verdict::kNoAccusation);
  REQUIRE(report.seconds_needed);
  CHECK(*report.seconds_needed > 4);
  CHECK(*report.seconds_needed < golden::kSecondsNeededMost_s);
}

TEST_CASE("Scanning: a bound that is no probability is refused", "[scanning]") {
  Archive& archive = TheArchive();
  for (const double bound : {0.0, 1.0, -1.0, 2.0, std::nan("")}) {
    const auto report =
        ScanClip(*archive.store, archive.master, std::span<const float>(), {.stream = {}, .max_false_accusation = bound}, {});
    REQUIRE_FALSE(report);
    CHECK(report.error().code == ErrorCode::kInvalidArgument);
  }
}

TEST_CASE("Scanning: the same scan twice is the same report", "[scanning]") {
  Archive& archive = TheArchive();
  const auto clip = CutSeconds(archive.CopyOf(AccountName(8), "music"), 4, 8, kDetectRateHz);
  CHECK(ToJson(archive.Scan(clip)) == ToJson(archive.Scan(clip)));
}

TEST_CASE("Scanning: cancelling a scan is an error of its own", "[scanning]") {
  Archive& archive = TheArchive();
  const auto clip = CutSeconds(archive.CopyOf(AccountName(8), "speech"), 4, 8, kDetectRateHz);
  for (const std::string stop_at : {"searching", "reading", "scoring"}) {
    const auto report =
        ScanClip(*archive.store, archive.master, clip, {}, [&](const char* stage, double) { return stage != stop_at; });
    REQUIRE_FALSE(report);
    CHECK(report.error().code == ErrorCode::kCancelled);
  }
}

TEST_CASE("Marking: cancelled or failed, it leaves no stream behind", "[scanning]") {
  TempFolder folder;
  auto store = Get(OpenStore(folder.Url(), OpenMode::kReadWriteCreate));
  const MasterKey master = TestMaster(1);
  const RegisterOptions options{.stream_id = "room", .format = {}, .accounts = {"a"}, .input_digest = ""};
  SECTION("cancelled after some seconds") {
    MemoryReader host(SpeechLike(14, 1), 1);
    int calls = 0;
    const auto summary = RegisterStream(*store, master, host, options, [&](const char*, double) { return ++calls < 12; });
    REQUIRE_FALSE(summary);
    CHECK(summary.error().code == ErrorCode::kCancelled);
  }
  SECTION("no samples") {
    MemoryReader host({}, 1);
    const auto summary = RegisterStream(*store, master, host, options, {});
    REQUIRE_FALSE(summary);
    CHECK(summary.error().code == ErrorCode::kInvalidArgument);
  }
  SECTION("a format that does not exist") {
    MemoryReader host(SpeechLike(1, 1), 1);
    RegisterOptions wrong = options;
    wrong.format.num_variants = 3;
    const auto summary = RegisterStream(*store, master, host, wrong, {});
    REQUIRE_FALSE(summary);
    CHECK(summary.error().code == ErrorCode::kInvalidArgument);
  }
  CHECK(Get(store->ListStreams()).empty());
  CHECK(Get(store->ListAccounts({})).empty());
}

TEST_CASE("Marking: a taken id is refused and the stream that has it stays whole", "[scanning]") {
  TempFolder folder;
  auto store = Get(OpenStore(folder.Url(), OpenMode::kReadWriteCreate));
  const MasterKey master = TestMaster(1);
  const RegisterOptions options{.stream_id = "room", .format = {}, .accounts = {"a"}, .input_digest = ""};
  MemoryReader host(SpeechLike(1.01, 1), 1);
  const auto summary = Get(RegisterStream(*store, master, host, options, {}));
  const StreamRecord before = Get(store->GetStream("room"));
  CHECK(before.state == StreamState::kComplete);
  CHECK(before.num_samples == 48480);
  CHECK(before.num_packets == summary.num_packets);
  CHECK(before.num_packets * kPacketSamples >= before.num_samples + kTotalLatencySamples);
  MemoryReader again(SpeechLike(1, 1), 1);
  const auto refused = RegisterStream(*store, master, again, options, {});
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == ErrorCode::kAlreadyExists);
  CHECK(Get(store->GetStream("room")).num_packets == before.num_packets);
}

TEST_CASE("Marking: nobody without a grant gets packets", "[scanning]") {
  Archive& archive = TheArchive();
  const StreamRecord stream = Get(archive.store->GetStream("speech"));
  const auto chosen = ChoosePackets(*archive.store, stream, Get(KeysOf(stream, archive.master)), "stranger",
                                    [](std::span<const std::uint8_t>) { return Result<void>(); }, {});
  REQUIRE_FALSE(chosen);
  CHECK(chosen.error().code == ErrorCode::kNotFound);
  const auto other_key = KeysOf(stream, TestMaster(77));
  REQUIRE_FALSE(other_key);
  CHECK(other_key.error().code == ErrorCode::kFailedPrecondition);
}

}  // namespace
}  // namespace earmark
