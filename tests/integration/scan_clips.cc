// Clips as people make them: cut and joined, with holes, of several listeners' copies, on one channel of two, in the middle of something else.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <string>
#include <vector>

#include "dsp/core/resample.h"
#include "services/common/marking.h"
#include "services/common/scan/scan.h"
#include "tests/integration/store_temp_folder.h"
#include "tests/support/golden.h"
#include "tests/support/marked_stream.h"
#include "tests/support/memory_reader.h"
#include "tests/support/synthetic_audio.h"

namespace earmark {
namespace {

constexpr double kHostS = 60;
constexpr int kNumAccounts = 2000;

// A minute of speech, marked in packets, made once.
struct Room {
  Room() : master{.key = TestKey(9), .id = KeyId(TestKey(9))}, store(Get(OpenStore(folder.Url(), OpenMode::kReadWriteCreate))) {
    std::vector<std::string> accounts;
    for (int i = 0; i < kNumAccounts; ++i) accounts.push_back("account-" + std::to_string(i));
    MonoMemoryReader host(SpeechLike(kHostS, 31));
    (void)Get(RegisterStream(
        *store, master, host,
        {.stream_id = "room", .format = SourcePacketsFormat(64000), .accounts = accounts, .input_digest = ""}, {}));
    ann = CopyOf("account-7");
    ben = CopyOf("account-8");
  }

  // What the account's player puts out, at kDetectRateHz.
  std::vector<float> CopyOf(const std::string& account) {
    const StreamRecord stream = Get(store->GetStream("room"));
    Listener listener(1);
    std::vector<float> sound;
    const auto chosen = ChoosePackets(*store, stream, Get(KeysOf(stream, master)), account,
                                      [&](std::span<const std::uint8_t> packet) -> Result<void> {
                                        listener.Play(packet, sound);
                                        return {};
                                      },
                                      {});
    if (!chosen) throw std::runtime_error(chosen.error().message);
    return HalveRate(sound);
  }

  ScanReport Scan(const std::vector<float>& clip) { return Get(ScanClip(*store, master, clip, {}, {})); }

  TempFolder folder;
  MasterKey master;
  std::unique_ptr<Store> store;
  std::vector<float> ann;
  std::vector<float> ben;
};

Room& TheRoom() {
  static Room room;
  return room;
}

std::vector<float> Part(const std::vector<float>& x, double from_s, double to_s) {
  return CutSeconds(x, from_s, to_s, kDetectRateHz);
}

std::vector<float> Joined(const std::vector<std::vector<float>>& parts) {
  std::vector<float> all;
  for (const auto& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

// Decimal digits of the bound with which the account is named; 0 if it is not.
double DigitsOf(const ScanReport& report, const std::string& account) {
  for (const Accusation& a : report.accusations) {
    if (a.account == account) return -a.log10_bound;
  }
  return 0;
}

const Accusation& Of(const ScanReport& report, const std::string& account) {
  const auto found = std::find_if(report.accusations.begin(), report.accusations.end(),
                                  [&](const Accusation& a) { return a.account == account; });
  if (found == report.accusations.end()) throw std::runtime_error(account + " is not named: " + ToJson(report));
  return *found;
}

void CheckNamesOnly(const ScanReport& report, const std::vector<std::string>& accounts) {
  INFO(ToJson(report));
  CHECK(report.accusations.size() == accounts.size());
  for (const std::string& account : accounts) CHECK(DigitsOf(report, account) > 6);
}

// A single copy loses up to a sixth of its digits in one order or another, by the symbols that its random keys give it where pieces meet; a piece
// that an order loses costs a quarter of them in every copy.
TEST_CASE("Scan: four pieces of a second and a half keep their digits in any order", "[scan_clips]") {
  const std::vector<double> starts = {6, 20, 34, 48};
  const std::vector<std::vector<std::size_t>> orders = {{0, 1, 2, 3}, {2, 0, 3, 1}, {3, 2, 1, 0}};
  double apart = 0;
  std::vector<double> digits(orders.size(), 0.0);
  for (int copy = 0; copy < 3; ++copy) {
    Room room;
    for (const double start_s : starts) apart += DigitsOf(room.Scan(Part(room.ann, start_s - 2, start_s + 4)), "account-7") / 4;
    for (std::size_t order = 0; order < orders.size(); ++order) {
      std::vector<std::vector<float>> pieces;
      for (const std::size_t i : orders[order]) pieces.push_back(Part(room.ann, starts[i], starts[i] + 1.5));
      const ScanReport report = room.Scan(Joined(pieces));
      CheckNamesOnly(report, {"account-7"});
      digits[order] += DigitsOf(report, "account-7");
    }
  }
  INFO(digits[0] << " " << digits[1] << " " << digits[2] << " of about " << apart);
  const auto [min, max] = std::minmax_element(digits.begin(), digits.end());
  CHECK(*min > golden::kPiecesInAnyOrderOfApart * apart);
  CHECK(*min > golden::kPiecesWorstOrderOfBest * *max);
}

TEST_CASE("Scan: a clip that plays in a loop is told round by round", "[scan_clips]") {
  Room& room = TheRoom();
  constexpr int kRounds = 5;
  const ScanReport report = room.Scan(Joined(std::vector(kRounds, Part(room.ann, 20, 24))));
  CheckNamesOnly(report, {"account-7"});
  INFO(ToJson(report));
  REQUIRE(report.alignments.size() == kRounds);
  for (int round = 0; round < kRounds; ++round) {
    const Alignment& told = report.alignments[static_cast<std::size_t>(round)].alignment;
    CHECK(std::abs(told.clip_start_s - 4 * round) < 0.05);
    CHECK(std::abs(told.StreamTime(4 * round + 2) - 22) < 0.05);
  }
}

TEST_CASE("Scan: what leaves something out again and again is followed", "[scan_clips]") {
  Room& room = TheRoom();
  struct Loss {
    double period_s;
    double lost_s;  // negative: played twice
  };
  for (const Loss loss : {Loss{1, 0.1}, Loss{0.5, 0.02}, Loss{1, -0.1}}) {
    std::vector<std::vector<float>> parts;
    for (double at = 10; at < 18.5; at += loss.period_s) parts.push_back(Part(room.ann, at + loss.lost_s, at + loss.period_s));
    INFO(loss.lost_s << " s of every " << loss.period_s);
    CheckNamesOnly(room.Scan(Joined(parts)), {"account-7"});
  }
}

TEST_CASE("Scan: two accounts in one clip are both named, each with its stretch", "[scan_clips]") {
  Room& room = TheRoom();
  const auto check = [&](const std::vector<float>& clip, double change_s) {
    const ScanReport report = room.Scan(clip);
    CheckNamesOnly(report, {"account-7", "account-8"});
    const Accusation& first = Of(report, "account-7");
    const Accusation& second = Of(report, "account-8");
    INFO(ToJson(report));
    CHECK(first.clip_start_s < 0.5);
    CHECK(std::abs(first.clip_end_s - change_s) < golden::kEdgeBetweenAccounts_s);
    CHECK(std::abs(second.clip_start_s - change_s) < golden::kEdgeBetweenAccounts_s);
  };
  SECTION("three seconds of one, and then the other") { check(Joined({Part(room.ann, 10, 14), Part(room.ben, 14, 37)}), 4); }
  SECTION("from different places") { check(Joined({Part(room.ann, 40, 44), Part(room.ben, 10, 30)}), 4); }
  SECTION("the same ten seconds from both") { check(Joined({Part(room.ann, 10, 20), Part(room.ben, 10, 20)}), 10); }
}

TEST_CASE("Scan: an account is told with all of its copy, also where the reader is surer than right", "[scan_clips]") {
  // Overdriven by 20 dB: the true account's scores sum to less than nothing, and others' to far less. The edge between
  // the two is as uncertain as the few digits of a second there.
  Room& room = TheRoom();
  auto clip = Joined({Part(room.ann, 10, 22), Part(room.ben, 22, 34)});
  for (float& x : clip) x = std::clamp(10 * x, -0.5F, 0.5F);
  const ScanReport report = room.Scan(clip);
  INFO(ToJson(report));
  CheckNamesOnly(report, {"account-7", "account-8"});
  CHECK(Of(report, "account-7").clip_start_s < 1);
  CHECK(std::abs(Of(report, "account-7").clip_end_s - 12) < golden::kEdgeBetweenOverdriven_s);
  CHECK(std::abs(Of(report, "account-8").clip_start_s - 12) < golden::kEdgeBetweenOverdriven_s);
  CHECK(Of(report, "account-8").clip_end_s > golden::kOverdrivenEndsAfter_s);
}

TEST_CASE("Scan: a quiet leak in the middle of other talk is found", "[scan_clips]") {
  Room& room = TheRoom();
  const auto talk = HalveRate(SpeechLike(90, 5001));
  CheckNamesOnly(room.Scan(Joined({Part(talk, 0, 50.3), Scaled(Part(room.ann, 12, 27), 0.316), Part(talk, 50.3, 90)})),
                 {"account-7"});
}

// Two channels as DecodedClip has them.
struct Stereo {
  Stereo(const std::vector<float>& left, const std::vector<float>& right)
      : sides{std::vector<float>(left.size()), std::vector<float>(left.size()), left, right} {
    for (std::size_t i = 0; i < left.size(); ++i) {
      sides[0][i] = 0.5F * (left[i] + right[i]);
      sides[1][i] = 0.5F * (left[i] - right[i]);
    }
    using Channel = DecodedClip::Channel;
    clip.signals = {{0, Channel::kMean}, {0, Channel::kDifference}, {0, Channel::kLeft}, {0, Channel::kRight}};
    clip.samples = [this](std::size_t i) -> Result<std::span<const float>> { return sides[i]; };
  }
  std::vector<std::vector<float>> sides;
  ClipSignals clip;
};

TEST_CASE("Scan: the leak may be on one channel, or cancel in the mean", "[scan_clips]") {
  Room& room = TheRoom();
  const auto leak = Part(room.ann, 20, 28);
  const double plain = DigitsOf(room.Scan(leak), "account-7");
  const auto scan = [&](const std::vector<float>& right) {
    const Stereo stereo(leak, right);
    return Get(ScanClip(*room.store, room.master, stereo.clip, {}, {}));
  };
  SECTION("the other channel is its negative") {
    const ScanReport report = scan(Scaled(leak, -1));
    CheckNamesOnly(report, {"account-7"});
    CHECK(DigitsOf(report, "account-7") > golden::kOneChannelOfPlain * plain);
  }
  SECTION("the other channel is loud noise") {
    const ScanReport report = scan(WhiteNoise(leak.size(), 4 * Rms(leak), 3));
    CheckNamesOnly(report, {"account-7"});
    CHECK(DigitsOf(report, "account-7") > golden::kOneChannelOfPlain * plain);
  }
  SECTION("the other channel is other talk") { CheckNamesOnly(scan(HalveRate(SpeechLike(8, 5002))), {"account-7"}); }
}

TEST_CASE("Scan: each track of a file is searched, also where another has the same sound", "[scan_clips]") {
  Room& room = TheRoom();
  const std::vector<std::vector<float>> tracks{Part(room.ben, 20, 28), Part(room.ann, 20, 28)};
  ClipSignals clip;
  clip.signals = {{0, DecodedClip::Channel::kMean}, {1, DecodedClip::Channel::kMean}};
  clip.samples = [&](std::size_t i) -> Result<std::span<const float>> { return tracks[i]; };
  CheckNamesOnly(Get(ScanClip(*room.store, room.master, clip, {}, {})), {"account-7", "account-8"});
}

TEST_CASE("Scan: other talk on two channels is unknown audio", "[scan_clips]") {
  const Stereo stereo(HalveRate(SpeechLike(12, 5003)), HalveRate(SpeechLike(12, 5004)));
  const ScanReport report = Get(ScanClip(*TheRoom().store, TheRoom().master, stereo.clip, {}, {}));
  INFO(ToJson(report));
  CHECK(report.verdict == Verdict::kUnknownAudio);
}

TEST_CASE("Scan: it can be stopped at any time, within half a second", "[scan_clips]") {
  Room& room = TheRoom();
  const auto clip = Part(room.ann, 5, 45);
  // Every so many questions later, until the scan is through.
  for (int stop_at = 1;; stop_at = 2 * stop_at + 1) {
    int asked = 0;
    const auto report = ScanClip(*room.store, room.master, clip, {}, [&](const char*, double) { return ++asked < stop_at; });
    if (report) break;
    CHECK(report.error().code == ErrorCode::kCancelled);
    CHECK(asked == stop_at);
  }
}

}  // namespace
}  // namespace earmark
