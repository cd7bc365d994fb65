// The bound on false accusations holds only if nothing that leads up to the symbol likelihoods has seen a candidate's code. Here: the same clip and reference, other
// codes, and every number before scoring is the same to the last bit; and the sources have no way to a code.
#include <algorithm>
#include <bit>
#include <catch2/catch.hpp>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "dsp/scoring/account_scorer.h"
#include "dsp/search/fingerprint_index.h"
#include "tests/support/marked_stream.h"
#include "tests/support/source_tree.h"
#include "tests/support/synthetic_audio.h"

namespace earmark {
namespace {

struct Reading {
  std::vector<FingerprintIndex::Match> matches;
  std::vector<Alignment> pieces;
  SymbolLikelihoods likelihoods;
};

// Search, alignment and reading, as a scan does them.
Reading ReadClip(const MarkedStream& stream, const std::vector<float>& clip) {
  Reading reading;
  FingerprintIndex index;
  FingerprintExtractor extractor(kDetectRateHz);
  extractor.Process(Get(stream.Audio()(0, 1e6)).samples);
  index.Add(0, 0, extractor.TakeWords());
  index.Finish();
  reading.matches = index.Search(FingerprintClip(clip, kDetectRateHz), 10, 3);
  const double clip_s = static_cast<double>(clip.size()) / kDetectRateHz;
  const Aligner aligner(clip);
  for (const auto& match : reading.matches) {
    const auto seed = Get(VerifyStretch(aligner, 0, clip_s, match.stream_s, true, stream.Audio()));
    if (!seed) continue;
    reading.pieces = Get(aligner.Follow(*seed, 0, clip_s, stream.Audio()));
    break;
  }
  reading.likelihoods = Get(ReadSymbols(stream.format, clip, reading.pieces, stream.Variants()));
  return reading;
}

bool SameBits(double a, double b) { return std::bit_cast<std::uint64_t>(a) == std::bit_cast<std::uint64_t>(b); }

void CheckSame(const Reading& a, const Reading& b) {
  REQUIRE(a.matches.size() == b.matches.size());
  for (std::size_t i = 0; i < a.matches.size(); ++i) {
    CHECK(SameBits(a.matches[i].stream_s, b.matches[i].stream_s));
    CHECK(SameBits(a.matches[i].strength, b.matches[i].strength));
  }
  REQUIRE(a.pieces.size() == b.pieces.size());
  for (std::size_t i = 0; i < a.pieces.size(); ++i) {
    CHECK(SameBits(a.pieces[i].clip_start_s, b.pieces[i].clip_start_s));
    CHECK(SameBits(a.pieces[i].clip_end_s, b.pieces[i].clip_end_s));
    CHECK(SameBits(a.pieces[i].stream_start_s, b.pieces[i].stream_start_s));
    CHECK(SameBits(a.pieces[i].speed, b.pieces[i].speed));
  }
  REQUIRE(a.likelihoods.symbols.size() == b.likelihoods.symbols.size());
  for (std::size_t i = 0; i < a.likelihoods.symbols.size(); ++i) {
    CHECK(a.likelihoods.symbols[i].symbol == b.likelihoods.symbols[i].symbol);
    for (std::size_t k = 0; k < 4; ++k) {
      CHECK(std::bit_cast<std::uint32_t>(a.likelihoods.symbols[i].log_likelihood[k]) ==
            std::bit_cast<std::uint32_t>(b.likelihoods.symbols[i].log_likelihood[k]));
    }
  }
}

TEST_CASE("CodeBlind: other codes change no match, no alignment and no likelihood", "[code_blind]") {
  for (const std::uint64_t seed : {1U, 2U}) {
    const MarkedStream stream = MarkStream(SpeechLike(9, 100 + seed), StreamFormat{}, TestKeys());
    const auto copy = stream.CopyOf("leaker");
    for (const auto& clip : {HalveRate(CutSeconds(copy, 2.5, 7.5, kSampleRateHz)),
                             HalveRate(WithNoise(CutSeconds(copy, 2.5, 7.5, kSampleRateHz), 10, seed))}) {
      const Reading reading = ReadClip(stream, clip);
      REQUIRE_FALSE(reading.pieces.empty());
      REQUIRE_FALSE(reading.likelihoods.symbols.empty());
      // The very stream, its reference and carriers, with everybody's code another.
      for (const CodeKey& other_code : {TestCodeKey(99), TestCodeKey(100)}) {
        MarkedStream other = stream;
        other.keys.code = other_code;
        CheckSame(reading, ReadClip(other, clip));
        // While the codes really are others.
        const std::vector<std::string> names = {"leaker"};
        const ScoreTable table = MakeScoreTable(reading.likelihoods);
        CHECK(AccountScorer(stream.keys.code, names).Score(table).value() !=
              AccountScorer(other_code, names).Score(table).value());
      }
    }
  }
}

TEST_CASE("CodeBlind: who the other candidates are changes nobody's score", "[code_blind]") {
  const MarkedStream stream = MarkStream(SpeechLike(8, 103), StreamFormat{}, TestKeys());
  const auto clip = HalveRate(CutSeconds(stream.CopyOf("leaker"), 2, 6, kSampleRateHz));
  const ScoreTable table = MakeScoreTable(ReadClip(stream, clip).likelihoods);
  std::vector<std::string> names = {"leaker", "innocent-1", "innocent-2", "innocent-3"};
  const auto before = AccountScorer(stream.keys.code, names).Score(table).value();
  names[1] = "somebody else";
  std::swap(names[2], names[3]);
  const auto after = AccountScorer(stream.keys.code, names).Score(table).value();
  CHECK(after[0] == before[0]);
  CHECK(after[1] != before[1]);
  CHECK(after[2] == before[3]);
  CHECK(after[3] == before[2]);
}

constexpr const char* kScoringOrAfter[] = {"services/common/scan/scoring.h",
                                           "services/common/scan/scoring.cc",
                                           "services/common/scan/account_stretch.h",
                                           "services/common/scan/account_stretch.cc",
                                           "services/common/scan/report.h",
                                           "services/common/scan/report.cc",
                                           "services/common/scan/scan.h",
                                           "services/common/scan/scan.cc"};

// The files of a scan that may know codes and accounts.
bool IsScoringOrAfter(const std::string& path) {
  return std::any_of(std::begin(kScoringOrAfter), std::end(kScoringOrAfter), [&](const char* file) { return path == file; });
}

// Comments may speak of codes; code may not.
std::string WithoutComments(const std::string& text) {
  std::string code;
  for (std::size_t i = 0; i < text.size();) {
    if (text.compare(i, 2, "//") == 0) {
      i = std::min(text.size(), text.find('\n', i));
    } else if (text.compare(i, 2, "/*") == 0) {
      const std::size_t end = text.find("*/", i);
      i = end == std::string::npos ? text.size() : end + 2;
    } else {
      code += text[i++];
    }
  }
  return code;
}

TEST_CASE("CodeBlind: nothing that searches, aligns or reads can reach a code", "[code_blind]") {
  // tests/link/reading_alone.cc shows that it links without them; here, that nobody slips a way in.
  const std::pair<const char*, std::size_t> folders[] = {{"dsp/search", 6}, {"dsp/reading", 8}, {"services/common/scan", 14}};
  for (const auto& [folder, min_files] : folders) {
    const auto files = SourcesUnder(folder);
    CHECK(files.size() >= min_files);
    for (const SourceFile& file : files) {
      if (IsScoringOrAfter(file.path)) continue;
      INFO(file.path);
      for (const std::string& include : file.Includes()) {
        INFO(include);
        CHECK_FALSE(include.starts_with("dsp/tracing/"));
        CHECK_FALSE(include.starts_with("dsp/scoring/"));
        CHECK(include != "services/common/marking.h");
        if (file.path.starts_with("dsp/")) CHECK_FALSE(include.starts_with("db/"));
      }
      const std::string text = WithoutComments(file.text);
      for (const char* word : {"TraceCode", "CodeKey", "DeriveGrantKey", "DeriveStreamKey", "DeriveKey", "AccountScorer",
                               "keys.code", "code_key", "account", "Grant"}) {
        INFO(word);
        CHECK(text.find(word) == std::string::npos);
      }
    }
  }
}

TEST_CASE("CodeBlind: in the scan, codes come in after the last likelihood", "[code_blind]") {
  std::string scan;
  std::string scoring;
  for (const SourceFile& file : SourcesUnder("services/common/scan")) {
    if (file.path == "services/common/scan/scan.cc") scan = WithoutComments(file.text);
    if (file.path == "services/common/scan/scoring.cc") scoring = WithoutComments(file.text);
  }
  const std::size_t reads = scan.find("ReadHypotheses(");
  const std::size_t scores = scan.find("ScoreReadings(");
  REQUIRE(reads != std::string::npos);
  REQUIRE(scores != std::string::npos);
  CHECK(reads < scores);
  // Once each: nothing is searched or read again after scores are known.
  for (const char* call : {"FindHypotheses(", "ReadHypotheses(", "ScoreReadings("}) {
    INFO(call);
    CHECK(scan.find(call) == scan.rfind(call));
  }
  // Scoring gets what was read as constants, and asks for the code key once.
  REQUIRE_FALSE(scoring.empty());
  CHECK(scoring.find("const std::vector<HypothesisReading>& readings_;") != std::string::npos);
  CHECK(scoring.find("keys->code") == scoring.rfind("keys->code"));
  CHECK(scoring.find("ReadSymbols(") == std::string::npos);
}

}  // namespace
}  // namespace earmark
