// The claim on which every accusation rests: an innocent account scores S or more as often as the scan says, whatever was done to the audio.
//
// Symbol likelihoods are real: a stream is marked, somebody's copy is spliced, degraded, aligned and read. Then codes of accounts that nobody ever heard of are
// scored, through the real keystream, and counted beyond the scores that are claimed to be 1e-1 … 1e-6 rare.
//
// Chance of failing. Counts are Poisson to good approximation, and a level is judged only if it expects 66 or more. P(count < 33 | 66) = 5e-7 and P(count > 132 |
// 66) = 3e-13; every other level expects 140 or more (below 1e-11 each). So a fresh set of keys would fail with chance below 1e-6; and keys and names are fixed here, so it does not flake.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstdio>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "dsp/scoring/account_scorer.h"
#include "tests/support/marked_stream.h"
#include "tests/support/sanitizers.h"
#include "tests/support/synthetic_audio.h"

namespace earmark {
namespace {

constexpr int kDeepest = kSanitized ? 4 : 6;  // decimal digits
constexpr std::int64_t kTrialsPerTable = kSanitized ? 200'000 : 10'000'000;
constexpr double kMinExpected = 66;

// Names of accounts that were never granted anything; no two tables share one.
std::vector<std::string> Phantoms(const char* prefix, std::int64_t first, std::int64_t count) {
  std::vector<std::string> names;
  names.reserve(static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; ++i) names.push_back(prefix + std::to_string(first + i));
  return names;
}

// How often phantoms reached the scores that are claimed to be 10^-1 … 10^-kDeepest rare, against how often they should have.
struct Tally {
  std::vector<double> expected = std::vector<double>(kDeepest, 0.0);
  std::vector<double> observed = std::vector<double>(kDeepest, 0.0);

  void Add(const Tally& other) {
    for (std::size_t i = 0; i < expected.size(); ++i) {
      expected[i] += other.expected[i];
      observed[i] += other.observed[i];
    }
  }
  // Within a factor 2 wherever there is enough to judge by, down to the deepest level that was asked for.
  bool Agrees() const {
    for (std::size_t i = 0; i < expected.size(); ++i) {
      if (expected[i] < kMinExpected) continue;
      if (observed[i] > 2 * expected[i] || observed[i] < expected[i] / 2) return false;
    }
    return true;
  }
  std::string Text() const {
    std::string text;
    for (std::size_t i = 0; i < expected.size(); ++i) {
      char line[80];
      std::snprintf(line, sizeof line, "  1e-%zu: %.0f of %.1f expected", i + 1, observed[i], expected[i]);
      text += line;
    }
    return text;
  }
};

using Scorer = std::function<std::vector<std::int32_t>(std::span<const std::string>)>;

Tally Count(const ScoreDistribution& claim, const Scorer& scorer, const char* prefix, std::int64_t trials) {
  Tally tally;
  std::vector<std::int64_t> limits;
  for (int digits = 1; digits <= kDeepest; ++digits) {
    limits.push_back(claim.MinScore(-digits));
    tally.expected[static_cast<std::size_t>(digits - 1)] =
        static_cast<double>(trials) * std::pow(10, claim.Log10Tail(limits.back()));
  }
  constexpr std::int64_t kBatch = 50'000;
  for (std::int64_t first = 0; first < trials; first += kBatch) {
    const auto names = Phantoms(prefix, first, std::min(kBatch, trials - first));
    for (const std::int32_t score : scorer(names)) {
      for (std::size_t i = 0; i < limits.size() && score >= limits[i]; ++i) ++tally.observed[i];
    }
  }
  return tally;
}

// One stream, its copies, and the likelihoods that reading a clip yields.
class Studio {
 public:
  explicit Studio(MarkedStream stream) : stream_(std::move(stream)) {}

  const CodeKey& code_key() const { return stream_.keys.code; }
  std::vector<float> Leak(const char* account) const { return stream_.CopyOf(account); }

  // `at_48khz` begins with the stream; the clip is its seconds 4 to 8, found again by the aligner as a scan does it.
  ScoreTable Read(std::span<const float> at_48khz) const {
    const auto clip = HalveRate(CutSeconds(at_48khz, 4, 8, kSampleRateHz));
    const Aligner aligner(clip);
    const auto seed = Get(VerifyStretch(aligner, 0, 4, 4.03, true, stream_.Audio()));
    REQUIRE(seed);
    const auto pieces = Get(aligner.Follow(*seed, 0, 4, stream_.Audio()));
    REQUIRE_FALSE(pieces.empty());
    return MakeScoreTable(Get(ReadSymbols(stream_.format, clip, pieces, stream_.Variants())));
  }

 private:
  MarkedStream stream_;
};

const Studio& TheStudio() {
  static const Studio studio(MarkStream(SpeechLike(12, 71), StreamFormat{}, TestKeys()));
  return studio;
}

// Marks in a source's own packets: by CELT, and as a browser sends a voice.
const Studio& ThePackets() {
  static const Studio studio(MarkSource(SpeechLike(12, 72), OPUS_APPLICATION_AUDIO, 64000, SourcePacketsFormat(), TestKeys(2)));
  return studio;
}
const Studio& TheVoicePackets() {
  static const Studio studio(MarkSource(SpeechLike(12, 73), OPUS_APPLICATION_VOIP, 32000, SourcePacketsFormat(), TestKeys(3)));
  return studio;
}

struct Material {
  const char* name;
  std::vector<float> (*degrade)();
  const Studio& (*studio)() = TheStudio;
};

std::vector<float> Clean() { return TheStudio().Leak("leaker"); }
std::vector<float> NoisyAndQuiet() {
  return Scaled(WithNoise(LowPassed(TheStudio().Leak("leaker"), 5000, kSampleRateHz), 12, 1), 0.3);
}
std::vector<float> Transcoded() { return ThroughOpus(TheStudio().Leak("another leaker"), 16000); }
std::vector<float> BuriedInNoise() { return WithNoise(TheStudio().Leak("leaker"), 3, 2); }
// The host itself, in stream time: nobody's copy.
std::vector<float> Unmarked() {
  std::vector<float> late(kTotalLatencySamples, 0.0F);
  const auto host = SpeechLike(12, 71);
  late.insert(late.end(), host.begin(), host.end());
  return late;
}

TEST_CASE("Calibration: innocent accounts score as rarely as claimed, down to one in a million", "[calibration]") {
  const Material materials[] = {
      {"clean", Clean},
      {"noisy", NoisyAndQuiet},
      {"transcoded", Transcoded},
      {"buried", BuriedInNoise},
      {"unmarked", Unmarked},
      {"packets", [] { return ThePackets().Leak("leaker"); }, ThePackets},
      {"noisy packets", [] { return WithNoise(ThePackets().Leak("leaker"), 8, 3); }, ThePackets},
      {"voice packets, transcoded", [] { return ThroughOpus(TheVoicePackets().Leak("leaker"), 16000); }, TheVoicePackets}};
  Tally all;
  for (const Material& material : materials) {
    const ScoreTable table = material.studio().Read(material.degrade());
    REQUIRE(table.symbols.size() > 20);
    const Tally tally = Count(
        ScoreDistribution(table),
        [&](std::span<const std::string> names) {
          return AccountScorer(material.studio().code_key(), names).Score(table).value();
        },
        material.name, kTrialsPerTable);
    INFO(material.name << ":" << tally.Text());
    CHECK(tally.Agrees());
    all.Add(tally);
  }
  INFO("all:" << all.Text());
  std::printf("calibration, %lld phantoms:%s\n",
              static_cast<long long>(kTrialsPerTable) * static_cast<long long>(std::size(materials)), all.Text().c_str());
  CHECK(all.expected.back() >= kMinExpected);
  CHECK(all.Agrees());
}

TEST_CASE("Calibration: the right account stands far out where innocent ones do not", "[calibration]") {
  const ScoreTable table = TheStudio().Read(Clean());
  const ScoreDistribution claim(table);
  const std::vector<std::string> names = {"leaker", "another leaker", "leaker2"};
  const auto scores = AccountScorer(TheStudio().code_key(), names).Score(table).value();
  CHECK(claim.Log10Tail(scores[0]) < -12);
  // Chance of failing: 2e-6, with keys that are fixed.
  CHECK(claim.Log10Tail(scores[1]) > -6);
  CHECK(claim.Log10Tail(scores[2]) > -6);
}

// What follows breaks the rules on purpose: the criterion above must notice.

constexpr std::int64_t kTrialsOfLiars = kSanitized ? 200'000 : 1'000'000;

TEST_CASE("Calibration: an alignment chosen by looking at the code fails the test", "[calibration]") {
  // Each account is scored where it scores best, as if the clip might begin up to four symbols earlier or later.
  const ScoreTable table = TheStudio().Read(Transcoded());
  const auto peek = [&](std::span<const std::string> names) {
    std::vector<std::int32_t> best(names.size(), std::numeric_limits<std::int32_t>::min());
    for (int shift = -4; shift <= 4; ++shift) {
      ScoreTable shifted = table;
      for (auto& symbol : shifted.symbols) symbol.symbol += shift;
      const auto scores = AccountScorer(TheStudio().code_key(), names).Score(shifted).value();
      for (std::size_t i = 0; i < best.size(); ++i) best[i] = std::max(best[i], scores[i]);
    }
    return best;
  };
  const Tally tally = Count(ScoreDistribution(table), peek, "peek", kTrialsOfLiars);
  INFO(tally.Text());
  CHECK_FALSE(tally.Agrees());
}

TEST_CASE("Calibration: a tail computed from other scores than those summed fails the test", "[calibration]") {
  const ScoreTable table = TheStudio().Read(NoisyAndQuiet());
  const auto honest = [&](std::span<const std::string> names) {
    return AccountScorer(TheStudio().code_key(), names).Score(table).value();
  };
  SECTION("a quarter of the symbols counted double") {
    ScoreTable lie = table;
    for (std::size_t i = 0; i < lie.symbols.size(); i += 4) {
      for (auto& steps : lie.symbols[i].steps) steps = static_cast<std::int16_t>(2 * steps);
    }
    CHECK_FALSE(Count(ScoreDistribution(lie), honest, "double", kTrialsOfLiars).Agrees());
  }
  SECTION("a quarter of the symbols left out") {
    ScoreTable lie = table;
    std::size_t i = 0;
    std::erase_if(lie.symbols, [&](const SymbolScores&) { return i++ % 4 == 0; });
    CHECK_FALSE(Count(ScoreDistribution(lie), honest, "left out", kTrialsOfLiars).Agrees());
  }
  SECTION("a score stretched where it is already high") {
    const double mean = ScoreDistribution(table).mean();
    const auto flatter = [&](std::span<const std::string> names) {
      auto scores = honest(names);
      for (auto& score : scores) score += score > mean ? static_cast<std::int32_t>((score - mean) / 4) : 0;
      return scores;
    };
    CHECK_FALSE(Count(ScoreDistribution(table), flatter, "flatter", kTrialsOfLiars).Agrees());
  }
  SECTION("and the truth passes, with the same trials") {
    const Tally tally = Count(ScoreDistribution(table), honest, "truth", kTrialsOfLiars);
    INFO(tally.Text());
    CHECK(tally.Agrees());
  }
}

}  // namespace
}  // namespace earmark
