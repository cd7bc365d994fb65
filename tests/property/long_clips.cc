// More audio of the same copy never weakens what is found.
//
// What a reader says about each symbol is real: a stream is marked, a copy is degraded, aligned and read. Clips of any length are then drawn from those symbols: hours of audio
// would take hours. Nothing in the scores knows that: they are made and bounded as in a scan.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <vector>

#include "dsp/scoring/account_scorer.h"
#include "dsp/tracing/trace_code.h"
#include "tests/support/marked_stream.h"
#include "tests/support/random.h"
#include "tests/support/synthetic_audio.h"

namespace earmark {
namespace {

constexpr char kLeaker[] = "leaker";

const MarkedStream& ThePackets() {
  static const MarkedStream stream =
      MarkSource(SpeechLike(14, 81), OPUS_APPLICATION_AUDIO, 64000, SourcePacketsFormat(), TestKeys(4));
  return stream;
}

// What is read in seconds 2 to 13 of a degraded copy, with the variant that the leaker had put first.
std::vector<SymbolLikelihood> Readings(std::span<const float> at_48khz) {
  const MarkedStream& stream = ThePackets();
  const auto clip = HalveRate(CutSeconds(at_48khz, 2, 13, kSampleRateHz));
  const double clip_s = static_cast<double>(clip.size()) / kDetectRateHz;
  const Aligner aligner(clip);
  const auto seed = Get(VerifyStretch(aligner, 0, clip_s, 2, false, stream.Audio()));
  REQUIRE(seed);
  const auto pieces = Get(aligner.Follow(*seed, 0, clip_s, stream.Audio()));
  auto read = Get(ReadSymbols(stream.format, clip, pieces, stream.Variants())).symbols;
  TraceCode code(stream.keys.code, kLeaker, stream.format.num_variants);
  for (SymbolLikelihood& symbol : read)
    std::swap(symbol.log_likelihood[0], symbol.log_likelihood[static_cast<std::size_t>(code.VariantAt(symbol.symbol))]);
  return read;
}

// A clip of `seconds`, from the stream's start. Longer ones begin like shorter ones. In a share `drowned` of the symbols it is any variant that is read as the leaker's.
SymbolLikelihoods Clip(const std::vector<SymbolLikelihood>& readings, double seconds, double drowned = 0) {
  Random random(9);
  TraceCode code(ThePackets().keys.code, kLeaker, 4);
  SymbolLikelihoods clip{.num_variants = 4, .symbols = {}};
  for (std::int64_t s = 0; s < static_cast<std::int64_t>(seconds * kPacketsPerSecond); ++s) {
    SymbolLikelihood symbol = readings[static_cast<std::size_t>(random.Below(static_cast<std::int64_t>(readings.size())))];
    symbol.symbol = s;
    const std::int64_t read_as = random.Uniform() < drowned ? random.Below(4) : code.VariantAt(s);
    std::swap(symbol.log_likelihood[0], symbol.log_likelihood[static_cast<std::size_t>(read_as)]);
    clip.symbols.push_back(symbol);
  }
  return clip;
}

double LeakersLog10P(const ScoreTable& table) {
  const std::vector<std::string> names = {kLeaker};
  return ScoreDistribution(table).Log10Tail(AccountScorer(ThePackets().keys.code, names).Score(table).value()[0]);
}

TEST_CASE("LongClips: from ten seconds to three hours, evidence grows", "[long_clips]") {
  const std::vector<float> copy = ThePackets().CopyOf(kLeaker);
  struct Quality {
    const char* name;
    std::vector<float> audio;
  };
  const Quality qualities[] = {{"clean", copy},
                               {"noise", WithNoise(copy, -6, 4)},
                               {"Opus at 12 kb/s in noise", ThroughOpus(WithNoise(copy, 0, 5), 12000)}};
  for (const Quality& quality : qualities) {
    const auto readings = Readings(quality.audio);
    REQUIRE(readings.size() > 500);
    double before = 0;
    for (const double seconds : {10, 30, 55, 65, 120, 300, 600, 1800, 5400, 10800}) {
      const ScoreTable table = MakeScoreTable(Clip(readings, seconds));
      const double log10_p = LeakersLog10P(table);
      INFO(quality.name << ", " << seconds << " s: " << log10_p << " after " << before << ", " << table.symbols.size()
                        << " symbols");
      CHECK(log10_p < before + 1);
      if (seconds >= 1800) CHECK(log10_p < 1.9 * before);
      before = log10_p;
    }
    CHECK(before < -100);
  }
}

TEST_CASE("LongClips: where a minute names nobody, five and ten minutes do", "[long_clips]") {
  // Drowned: of eight symbols seven are read as any variant.
  const auto readings = Readings(WithNoise(ThePackets().CopyOf(kLeaker), 0, 6));
  const auto digits = [&](double seconds) { return -LeakersLog10P(MakeScoreTable(Clip(readings, seconds, 7.0 / 8))); };
  CHECK(digits(60) < 10);
  CHECK(digits(300) > 12);
  CHECK(digits(600) > digits(300) + 5);
}

TEST_CASE("LongClips: whoever did not leak gains nothing by more audio", "[long_clips]") {
  const auto readings = Readings(ThePackets().CopyOf(kLeaker));
  std::vector<std::string> innocent;
  for (int i = 0; i < 200; ++i) innocent.push_back("innocent-" + std::to_string(i));
  for (const double seconds : {55, 300, 1800}) {
    const ScoreTable table = MakeScoreTable(Clip(readings, seconds));
    const ScoreDistribution distribution(table);
    // 200 draws at 1e-6: chance of failing 2e-4 with other names; these are fixed.
    const auto scores = AccountScorer(ThePackets().keys.code, innocent).Score(table).value();
    for (const std::int32_t score : scores) CHECK(distribution.Log10Tail(score) > -6);
  }
}

}  // namespace
}  // namespace earmark
