#include "dsp/search/fingerprint.h"

#include <bit>
#include <catch2/catch.hpp>
#include <vector>

#include "dsp/core/resample.h"
#include "tests/support/marked_stream.h"
#include "tests/support/synthetic_audio.h"

namespace earmark {
namespace {

std::vector<std::uint64_t> WordsOf(std::span<const float> mono, int rate_hz) {
  FingerprintExtractor extractor(rate_hz);
  extractor.Process(mono);
  return extractor.TakeWords();
}

// Share of bits that agree, of those that count.
double Agreement(const std::vector<ClipWord>& clip, std::span<const std::uint64_t> words) {
  double bits = 0;
  double same = 0;
  for (std::size_t i = 0; i < std::min(clip.size(), words.size()); ++i) {
    bits += std::popcount(clip[i].mask);
    same += std::popcount(clip[i].mask & ~(clip[i].bits ^ words[i]));
  }
  return same / std::max(1.0, bits);
}

TEST_CASE("Fingerprint: a word every 80 ms, whatever the blocks", "[fingerprint]") {
  const auto sound = SpeechLike(5.03, 51);
  const auto words = WordsOf(sound, kSampleRateHz);
  CHECK(words.size() == 62);
  for (const std::size_t block : {1UL, 7UL, 480UL, 961UL, 50000UL}) {
    FingerprintExtractor extractor(kSampleRateHz);
    std::vector<std::uint64_t> collected;
    const std::size_t end = block == 1 ? 48000 : sound.size();
    for (std::size_t at = 0; at < end; at += block) {
      extractor.Process(std::span(sound).subspan(at, std::min(block, end - at)));
      for (const auto word : extractor.TakeWords()) collected.push_back(word);
    }
    REQUIRE(collected.size() <= words.size());
    CHECK(std::equal(collected.begin(), collected.end(), words.begin()));
    CHECK(collected.size() == end / 3840);
  }
}

TEST_CASE("Fingerprint: 24 and 48 kHz give almost the same bits", "[fingerprint]") {
  for (const auto& sound : {SpeechLike(8, 52), MusicLike(8, 53)}) {
    const auto at_48 = WordsOf(sound, 48000);
    const auto at_24 = WordsOf(HalveRate(sound), 24000);
    REQUIRE(at_48.size() == at_24.size());
    int differ = 0;
    for (std::size_t i = 0; i < at_48.size(); ++i) differ += std::popcount(at_48[i] ^ at_24[i]);
    CHECK(differ < 0.02 * 64 * static_cast<double>(at_48.size()));
  }
}

TEST_CASE("Fingerprint: each phase of a clip is the stream's words at its own offset", "[fingerprint]") {
  const auto stream = HalveRate(SpeechLike(20, 54));
  const auto words = WordsOf(stream, kDetectRateHz);
  for (int phase = 0; phase < kFingerprintPhases; ++phase) {
    // The clip starts so that its words of this phase are the stream's words from number 50 on.
    const ClipFingerprint empty;
    const double start_s = 50 * kFingerprintWordS - empty.PhaseOffset(phase);
    const auto clip = CutSeconds(stream, start_s + 1e-9, start_s + 5, kDetectRateHz);
    const ClipFingerprint fingerprint = FingerprintClip(clip, kDetectRateHz);
    REQUIRE(fingerprint.phases.size() == kFingerprintPhases);
    const auto& own = fingerprint.phases[static_cast<std::size_t>(phase)];
    REQUIRE(own.size() > 50);
    // The stream's slowly moving level differs from the clip's mean: nearly, not exactly, the same bits.
    CHECK(Agreement(own, std::span(words).subspan(50)) > 0.93);
    CHECK(Agreement(own, std::span(words).subspan(53)) < 0.75);
    const auto opposite = static_cast<std::size_t>((phase + 4) % 8);
    CHECK(Agreement(own, std::span(words).subspan(50)) > Agreement(fingerprint.phases[opposite], std::span(words).subspan(50)));
  }
}

TEST_CASE("Fingerprint: gain changes no bit that counts, noise few", "[fingerprint]") {
  const auto sound = HalveRate(SpeechLike(8, 55));
  const auto words = WordsOf(sound, kDetectRateHz);
  const auto agreement = [&](const std::vector<float>& clip) {
    return Agreement(FingerprintClip(clip, kDetectRateHz).phases[0], std::span(words).subspan(ClipFingerprint::kFirstWord));
  };
  const double clean = agreement(sound);
  CHECK(clean > 0.93);
  CHECK(agreement(Scaled(sound, 0.05)) == Approx(clean).margin(0.01));
  CHECK(agreement(Scaled(sound, -4)) == Approx(clean).margin(0.01));
  CHECK(agreement(WithNoise(sound, 20, 1)) > 0.8);
  CHECK(agreement(WithNoise(sound, 6, 1)) > 0.65);
  // Other sound: 7,000 bits that depend on each other; half of them agree.
  CHECK(agreement(HalveRate(SpeechLike(8, 5555))) < 0.6);
}

TEST_CASE("Fingerprint: clips too short have no words, silence has no bits that count", "[fingerprint]") {
  for (const double seconds : {0.0, 0.01, 0.3}) {
    const auto fingerprint = FingerprintClip(HalveRate(SpeechLike(seconds, 1)), kDetectRateHz);
    for (const auto& phase : fingerprint.phases) CHECK(phase.empty());
  }
  const std::vector<float> silence(4 * kDetectRateHz, 0.0F);
  for (const auto& phase : FingerprintClip(silence, kDetectRateHz).phases) {
    for (const ClipWord& word : phase) CHECK(word.mask == 0);
  }
}

TEST_CASE("Fingerprint: encoding is undone by decoding", "[fingerprint]") {
  const std::vector<std::uint64_t> words = {0, 1, 0x0123456789ABCDEF, ~std::uint64_t{0}};
  const auto bytes = EncodeFingerprint(words);
  REQUIRE(bytes.size() == 32);
  CHECK(bytes[8] == 1);
  CHECK(bytes[16] == 0xEF);
  CHECK(DecodeFingerprint(bytes) == words);
  CHECK(DecodeFingerprint({}).empty());
  CHECK(DecodeFingerprint(std::span(bytes).first(15)).size() == 1);  // a torn word is left out
}

}  // namespace
}  // namespace earmark
