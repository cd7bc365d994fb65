#include "dsp/search/fingerprint_index.h"

#include <bit>
#include <catch2/catch.hpp>
#include <cmath>
#include <vector>

#include "dsp/core/resample.h"
#include "tests/support/marked_stream.h"
#include "tests/support/synthetic_audio.h"

namespace earmark {
namespace {

std::vector<std::uint64_t> WordsOf(std::span<const float> mono) {
  FingerprintExtractor extractor(kDetectRateHz);
  extractor.Process(mono);
  return extractor.TakeWords();
}

// Three streams of half a minute.
struct Library {
  Library() {
    for (int source = 0; source < 3; ++source) {
      streams.push_back(HalveRate(source < 2 ? SpeechLike(30, static_cast<std::uint64_t>(60 + source)) : MusicLike(30, 62)));
      index.Add(source, 0, WordsOf(streams.back()));
    }
    index.Finish();
  }
  std::vector<std::vector<float>> streams;
  FingerprintIndex index;
};

const Library& TheLibrary() {
  static const Library library;
  return library;
}

std::vector<FingerprintIndex::Match> Search(const std::vector<float>& clip) {
  return TheLibrary().index.Search(FingerprintClip(clip, kDetectRateHz), 10, 3);
}

std::vector<std::uint64_t> RandomWords(std::size_t count, std::uint64_t seed) {
  Random random(seed);
  std::vector<std::uint64_t> words(count);
  for (auto& word : words) word = random.Bits();
  return words;
}

// The words [first, first + count) of a stream, some bits wrong, as the only phase.
ClipFingerprint ClipOfWords(std::span<const std::uint64_t> words, double wrong, std::uint64_t seed) {
  Random random(seed);
  ClipFingerprint clip;
  clip.phases.resize(kFingerprintPhases);
  for (const std::uint64_t word : words) {
    std::uint64_t flips = 0;
    for (int b = 0; b < 64; ++b) flips |= static_cast<std::uint64_t>(random.Uniform() < wrong) << b;
    const std::uint64_t mask = random.Bits() | random.Bits();
    clip.phases[0].push_back({.bits = word ^ flips, .mask = mask, .strong = mask});
  }
  return clip;
}

TEST_CASE("FingerprintIndex: a clip is found in its stream at its place", "[fingerprint_index]") {
  for (int source = 0; source < 3; ++source) {
    for (const double start_s : {0.0, 7.123, 13.377, 26.0}) {
      const auto clip = CutSeconds(TheLibrary().streams[static_cast<std::size_t>(source)], start_s, start_s + 4, kDetectRateHz);
      for (const auto& changed : {clip, Scaled(clip, 0.03), WithNoise(clip, 10, 1), LowPassed(clip, 3000, kDetectRateHz, 1)}) {
        const auto matches = Search(changed);
        REQUIRE_FALSE(matches.empty());
        CHECK(matches[0].source == source);
        CHECK(std::abs(matches[0].stream_s - start_s) < 0.03);
        CHECK(matches[0].strength > 10);
      }
    }
  }
}

TEST_CASE(
    "FingerprintIndex: sources that grow in turns are found across the joints, in a copy and not in what it was copied from",
    "[fingerprint_index]") {
  // ten seconds each in turn, as live rooms are recorded, and behind the first block's end
  constexpr std::size_t kPart = 120;
  FingerprintIndex before;
  before.Add(9, 0, RandomWords((std::size_t{1} << 19) - 1000, 1));
  before.Finish();
  FingerprintIndex index = before;
  std::vector<std::vector<std::uint64_t>> streams;
  for (int source = 0; source < 3; ++source) streams.push_back(RandomWords(10 * kPart, static_cast<std::uint64_t>(source) + 2));
  for (std::size_t part = 0; part < 10; ++part) {
    for (int source = 0; source < 3; ++source)
      index.Add(source, static_cast<std::int64_t>(part * kPart),
                std::span(streams[static_cast<std::size_t>(source)]).subspan(part * kPart, kPart));
    index.Finish();
  }
  for (int source = 0; source < 3; ++source) {
    for (std::size_t first = 0; first + 48 <= 10 * kPart; first += 31) {
      const auto clip = ClipOfWords(std::span(streams[static_cast<std::size_t>(source)]).subspan(first, 48), 0.2, first);
      const auto matches = index.Search(clip, 10, 3);
      INFO(source << " at " << first);
      REQUIRE_FALSE(matches.empty());
      CHECK(matches[0].source == source);
      CHECK(std::abs(matches[0].stream_s + clip.PhaseOffset(0) - static_cast<double>(first) * kFingerprintWordS) < 0.001);
      CHECK(matches[0].to_s > 47 * kFingerprintWordS);  // all of it, not the part on one side of the joint
      CHECK((before.Search(clip, 1, 1).empty() || before.Search(clip, 1, 1)[0].strength < 8));
    }
  }
}

TEST_CASE("FingerprintIndex: a source that was removed is not found, the others are, and may go on growing",
          "[fingerprint_index]") {
  FingerprintIndex index;
  const auto words = RandomWords(600, 3);
  for (int source = 0; source < 3; ++source)
    index.Add(source, 0, std::span(words).subspan(static_cast<std::size_t>(source) * 200, 100));
  index.Remove(1);
  index.Remove(2);
  CHECK(index.num_lost_words() == 200);
  index.Add(0, 100, std::span(words).subspan(100, 100));
  index.Finish();
  const auto strongest = [&](std::size_t first) {
    const auto matches = index.Search(ClipOfWords(std::span(words).subspan(first, 48), 0.1, first), 5, 5);
    return matches.empty() ? FingerprintIndex::Match{.source = -1} : matches[0];
  };
  for (const std::size_t first : {10u, 76u, 130u}) {
    CHECK(strongest(first).source == 0);
    CHECK(std::abs(strongest(first).stream_s - static_cast<double>(first) * kFingerprintWordS) < 0.2);
    CHECK(strongest(first).strength > 20);
  }
  for (const std::size_t first : {210u, 420u}) CHECK(strongest(first).strength < 8);
}

TEST_CASE("FingerprintIndex: what is in no stream matches weakly", "[fingerprint_index]") {
  const auto own = Search(CutSeconds(TheLibrary().streams[0], 10, 14, kDetectRateHz));
  REQUIRE_FALSE(own.empty());
  for (const auto& other :
       {HalveRate(SpeechLike(4, 9000)), HalveRate(MusicLike(4, 9001)), WhiteNoise(4 * kDetectRateHz, 0.1, 9)}) {
    const auto matches = Search(other);
    if (!matches.empty()) CHECK(matches[0].strength < 0.5 * own[0].strength);
  }
  CHECK(Search(std::vector<float>(4 * kDetectRateHz, 0.0F)).empty());
  CHECK(Search({}).empty());
}

TEST_CASE("FingerprintIndex: the search is that of comparing everywhere", "[fingerprint_index]") {
  // Random words, several segments; against the definition. Strengths of chance matches reach about 4.5 here, the true one is far
  // above.
  FingerprintIndex index;
  const auto first = RandomWords(700, 1);
  const auto second = RandomWords(1300, 2);
  index.Add(5, 0, first);
  index.Add(9, 100, second);
  index.Finish();
  CHECK(index.num_words() == 2000);
  for (const std::size_t place : {0UL, 511UL, 512UL, 640UL, 1240UL}) {
    const ClipFingerprint clip = ClipOfWords(std::span(second).subspan(place, 60), 0.3, place + 3);
    double masked = 0;
    double wrong = 0;
    for (std::size_t i = 0; i < 60; ++i) {
      masked += std::popcount(clip.phases[0][i].mask);
      wrong += std::popcount(clip.phases[0][i].mask & (clip.phases[0][i].bits ^ second[place + i]));
    }
    const auto matches = index.Search(clip, 5, 2);
    REQUIRE_FALSE(matches.empty());
    CHECK(matches[0].source == 9);
    CHECK(matches[0].stream_s == Approx(static_cast<double>(100 + place) * kFingerprintWordS - clip.PhaseOffset(0)).margin(1e-9));
    CHECK(matches[0].strength == Approx((masked - 2 * wrong) / std::sqrt(masked)).epsilon(1e-6));
    for (std::size_t i = 1; i < matches.size(); ++i) CHECK(matches[i].strength <= matches[i - 1].strength);
    CHECK(matches.size() <= 4);
  }
}

TEST_CASE("FingerprintIndex: the best of a thousand random places is the naive search's best", "[fingerprint_index]") {
  // No true match at all: the strongest chance place must be the same.
  FingerprintIndex index;
  const auto words = RandomWords(3000, 4);
  index.Add(0, 0, words);
  index.Finish();
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    auto clip = ClipOfWords(RandomWords(12, 100 + seed), 0, seed);
    // A second, and no more bits than are compared everywhere.
    for (ClipWord& word : clip.phases[0]) word.mask = word.strong = word.mask & 0xF0F0F0F0F;
    double best = -1e9;
    for (std::size_t place = 0; place + 12 <= words.size(); ++place) {
      double masked = 0;
      double wrong = 0;
      for (std::size_t i = 0; i < 12; ++i) {
        masked += std::popcount(clip.phases[0][i].mask);
        wrong += std::popcount(clip.phases[0][i].mask & (clip.phases[0][i].bits ^ words[place + i]));
      }
      const double strength = (masked - 2 * wrong) / std::sqrt(masked);
      best = std::max(best, strength);
    }
    const auto matches = index.Search(clip, 1, 1);
    if (best < 2.1) continue;  // too weak to be reported
    REQUIRE(matches.size() == 1);
    CHECK(matches[0].strength == Approx(best).epsilon(1e-6));
  }
}

TEST_CASE("FingerprintIndex: a second that fits is found in a stretch that does not", "[fingerprint_index]") {
  FingerprintIndex index;
  const auto words = RandomWords(3000, 5);
  index.Add(0, 0, words);
  index.Finish();
  auto mixed = RandomWords(48, 6);
  std::copy_n(words.begin() + 1000, 14, mixed.begin() + 23);
  const auto matches = index.Search(ClipOfWords(mixed, 0.1, 1), 3, 3);
  REQUIRE_FALSE(matches.empty());
  CHECK(matches[0].stream_s == Approx((1000 - 23) * kFingerprintWordS - ClipFingerprint().PhaseOffset(0)).margin(1e-9));
  CHECK(matches[0].strength > 15);
  CHECK(matches[0].from_s == Approx(24 * kFingerprintWordS).margin(1e-9));
  CHECK(matches[0].to_s == Approx(36 * kFingerprintWordS + ClipFingerprint().PhaseOffset(0)).margin(1e-9));
}

TEST_CASE("FingerprintIndex: chunks that follow each other are one, a gap parts them", "[fingerprint_index]") {
  const auto words = RandomWords(400, 7);
  const auto clip = ClipOfWords(std::span(words).subspan(180, 40), 0.1, 1);  // across word 200
  FingerprintIndex whole;
  whole.Add(1, 0, std::span(words).first(200));
  whole.Add(1, 200, std::span(words).subspan(200));
  whole.Finish();
  const auto matches = whole.Search(clip, 3, 3);
  REQUIRE_FALSE(matches.empty());
  CHECK(matches[0].strength > 20);
  CHECK(matches[0].stream_s == Approx(180 * kFingerprintWordS - clip.PhaseOffset(0)).margin(1e-9));

  FingerprintIndex parted;  // 10 words were never stored
  parted.Add(1, 0, std::span(words).first(200));
  parted.Add(1, 210, std::span(words).subspan(200));
  parted.Finish();
  CHECK(parted.num_words() == 400);
  for (const auto& match : parted.Search(clip, 3, 3)) CHECK(match.strength < 10);
  const auto behind = ClipOfWords(std::span(words).subspan(300, 40), 0.1, 1);
  const auto found = parted.Search(behind, 3, 3);
  REQUIRE_FALSE(found.empty());
  CHECK(found[0].stream_s == Approx(310 * kFingerprintWordS - behind.PhaseOffset(0)).margin(1e-9));

  FingerprintIndex two_tracks;
  two_tracks.Add(1, 0, std::span(words).first(200));
  two_tracks.Add(2, 200, std::span(words).subspan(200));
  two_tracks.Finish();
  for (const auto& match : two_tracks.Search(clip, 3, 3)) CHECK(match.strength < 10);
}

TEST_CASE("FingerprintIndex: bounds on the number of matches hold, and repeats are all found", "[fingerprint_index]") {
  const auto jingle = RandomWords(60, 8);
  FingerprintIndex index;
  for (int source = 0; source < 6; ++source) {
    std::vector<std::uint64_t> words;
    for (std::uint64_t i = 0; i < 4; ++i) {
      for (const auto word : RandomWords(90, 1000 + 10 * static_cast<std::uint64_t>(source) + i)) words.push_back(word);
      words.insert(words.end(), jingle.begin(), jingle.end());
    }
    index.Add(source, 0, words);
  }
  index.Finish();
  const auto clip = ClipOfWords(jingle, 0.05, 2);
  CHECK(index.Search(clip, 100, 100).size() >= 24);
  int strong = 0;
  for (const auto& match : index.Search(clip, 100, 100)) strong += match.strength > 20 ? 1 : 0;
  CHECK(strong == 24);
  CHECK(index.Search(clip, 7, 100).size() == 7);
  std::vector<int> of_source(6);
  for (const auto& match : index.Search(clip, 100, 2)) ++of_source[static_cast<std::size_t>(match.source)];
  for (const int count : of_source) CHECK(count == 2);
}

TEST_CASE("FingerprintIndex: a clip longer than a stream finds nothing in it", "[fingerprint_index]") {
  const auto words = RandomWords(100, 9);
  FingerprintIndex index;
  index.Add(0, 0, std::span(words).first(50));
  index.Finish();
  CHECK(index.Search(ClipOfWords(words, 0, 1), 3, 3).empty());
  CHECK(FingerprintIndex().Search(ClipOfWords(words, 0, 1), 3, 3).empty());
}

TEST_CASE("FingerprintIndex: places are found across blocks, and after more was added", "[fingerprint_index]") {
  // A million and a half words, so that blocks end inside; of two tracks, the second of which goes on after the index was used.
  const auto words = RandomWords(1'500'000, 10);
  FingerprintIndex index;
  index.Add(0, 0, std::span(words).first(700'000));
  index.Add(1, 0, std::span(words).subspan(700'000, 200'000));
  index.Finish();
  const FingerprintIndex before = index;
  index.Add(1, 200'000, std::span(words).subspan(900'000));
  index.Finish();
  CHECK(before.num_words() == 900'000);
  CHECK(index.num_words() == 1'500'000);
  const auto at = [&](const FingerprintIndex& searched, std::size_t word) {
    const auto clip = ClipOfWords(std::span(words).subspan(word, 50), 0.1, word);
    const auto matches = searched.Search(clip, 1, 1, FingerprintIndex::kQuickBits);
    if (matches.empty() || matches[0].strength < 20) return std::int64_t{-1};
    const auto found = static_cast<std::int64_t>(std::lround((matches[0].stream_s + clip.PhaseOffset(0)) / kFingerprintWordS));
    return matches[0].source == 0 ? found : found + 700'000;
  };
  for (const std::size_t word :
       {0UL, 524'230UL, 524'263UL, 524'288UL, 699'950UL, 700'000UL, 899'950UL, 899'970UL, 1'048'550UL, 1'499'950UL}) {
    CHECK(at(index, word) == static_cast<std::int64_t>(word));
    CHECK(at(before, word) == (word + 50 <= 900'000 ? static_cast<std::int64_t>(word) : -1));
  }
  CHECK(at(index, 699'975) == -1);  // across the tracks
}

}  // namespace
}  // namespace earmark
