#include "dsp/search/aligner.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <vector>

#include "dsp/core/resample.h"
#include "tests/support/marked_stream.h"
#include "tests/support/synthetic_audio.h"

namespace earmark {
namespace {

constexpr double kSampleS = 1.0 / kDetectRateHz;

const std::vector<float>& TheStream() {
  static const auto stream = HalveRate(SpeechLike(40, 21));
  return stream;
}

StreamAudioLoader LoaderOf(const std::vector<float>& stream) {
  return [&stream](double start_s, double end_s) -> Result<StreamAudio> {
    const auto size = static_cast<std::int64_t>(stream.size());
    const auto first = std::clamp<std::int64_t>(static_cast<std::int64_t>(start_s * kDetectRateHz), 0, size);
    const auto end = std::clamp<std::int64_t>(static_cast<std::int64_t>(end_s * kDetectRateHz), first, size);
    return StreamAudio{.first_sample = first, .samples = {stream.begin() + first, stream.begin() + end}};
  };
}

// `seconds` of clip that follow the stream from `start_s` at `speed`.
std::vector<float> ClipOf(const std::vector<float>& stream, double start_s, double seconds, double speed = 1) {
  std::vector<float> clip(static_cast<std::size_t>(seconds * kDetectRateHz));
  SampleAt(stream, start_s * kDetectRateHz, speed, clip);
  return clip;
}

void Append(std::vector<float>& clip, const std::vector<float>& more) { clip.insert(clip.end(), more.begin(), more.end()); }

double Seconds(const std::vector<float>& clip) { return static_cast<double>(clip.size()) / kDetectRateHz; }

// Verify from a rough idea that is 40 ms off, then Track over the whole clip.
std::vector<Alignment> Align(const std::vector<float>& clip, const std::vector<float>& stream, double rough_stream_s,
                             double probe_start_s = 0, double probe_s = 4) {
  const Aligner aligner(clip);
  const double end_s = std::min(Seconds(clip), probe_start_s + probe_s);
  const auto seed = Get(VerifyStretch(aligner, probe_start_s, end_s, rough_stream_s + 0.04, true, LoaderOf(stream)));
  if (!seed) return {};
  return Get(aligner.Follow(*seed, 0, Seconds(clip), LoaderOf(stream)));
}

// Whether pieces are in order, inside the clip and do not overlap.
void CheckWellFormed(const std::vector<Alignment>& pieces, double clip_s) {
  double last = 0;
  for (const Alignment& piece : pieces) {
    CHECK(piece.clip_start_s >= last - 1e-9);
    CHECK(piece.clip_end_s > piece.clip_start_s);
    CHECK(piece.clip_end_s <= clip_s + 1e-9);
    CHECK(std::isfinite(piece.stream_start_s));
    last = piece.clip_end_s;
  }
}

TEST_CASE("Aligner: an offset is found to a fifth of a sample", "[aligner]") {
  for (const double start_s : {6.0, 11.12345678, 20.5 + 0.5 * kSampleS, 27.0 + 0.25 * kSampleS}) {
    const auto clip = ClipOf(TheStream(), start_s, 5);
    const auto pieces = Align(clip, TheStream(), start_s);
    REQUIRE(pieces.size() == 1);
    CheckWellFormed(pieces, 5);
    for (const double at_s : {0.2, 2.5, 4.8}) CHECK(std::abs(pieces[0].StreamTime(at_s) - (start_s + at_s)) < 0.2 * kSampleS);
    CHECK(pieces[0].clip_start_s < 0.3);
    CHECK(pieces[0].clip_end_s > 4.7);
  }
}

TEST_CASE("Aligner: speed and drift are followed", "[aligner]") {
  for (const double speed : {0.99, 0.994, 0.995, 0.9975, 1 - 300e-6, 1 - 100e-6, 1 + 300e-6, 1.002, 1.003, 1.0042, 1.01}) {
    const auto clip = ClipOf(TheStream(), 9.3, 8, speed);
    const auto pieces = Align(clip, TheStream(), 9.3);
    INFO("speed " << speed);
    REQUIRE_FALSE(pieces.empty());
    CheckWellFormed(pieces, 8);
    double covered = 0;
    for (const Alignment& piece : pieces) {
      covered += piece.clip_end_s - piece.clip_start_s;
      for (const double at_s : {piece.clip_start_s, piece.clip_end_s})
        CHECK(std::abs(piece.StreamTime(at_s) - (9.3 + at_s * speed)) < 1 * kSampleS);
    }
    CHECK(covered > 7.5);
  }
}

TEST_CASE("Aligner: jumps cut the clip into pieces, near the cut", "[aligner]") {
  for (const double jump_s : {0.005, 0.02, 0.1, 0.5, -0.1}) {
    auto clip = ClipOf(TheStream(), 12, 4);
    Append(clip, ClipOf(TheStream(), 16 + jump_s, 4));
    const auto pieces = Align(clip, TheStream(), 12, 0, 3);
    INFO("jump " << jump_s);
    CheckWellFormed(pieces, 8);
    REQUIRE(pieces.size() == 2);
    CHECK(std::abs(pieces[0].clip_end_s - 4) < 0.06);
    CHECK(std::abs(pieces[1].clip_start_s - 4) < 0.06);
    CHECK(std::abs(pieces[0].StreamTime(2) - 14) < 0.5 * kSampleS);
    CHECK(std::abs(pieces[1].StreamTime(6) - (18 + jump_s)) < 0.5 * kSampleS);
  }
}

TEST_CASE("Aligner: a hole in the clip does not shift what comes after it", "[aligner]") {
  auto clip = ClipOf(TheStream(), 12, 9);
  for (std::size_t i = 3 * kDetectRateHz; i < 5 * kDetectRateHz; ++i) clip[i] = 0;
  const auto pieces = Align(clip, TheStream(), 12, 0, 3);
  CheckWellFormed(pieces, 9);
  REQUIRE_FALSE(pieces.empty());
  for (const Alignment& piece : pieces) CHECK(std::abs(piece.StreamTime(8) - 20) < 0.5 * kSampleS);
  CHECK(pieces.front().clip_start_s < 0.3);
  CHECK(pieces.back().clip_end_s > 8.7);
}

TEST_CASE("Aligner: a clip from two places of a stream yields the place that was asked for", "[aligner]") {
  auto clip = ClipOf(TheStream(), 5, 4);
  Append(clip, ClipOf(TheStream(), 25, 4));
  const auto first = Align(clip, TheStream(), 5, 0, 3.5);
  REQUIRE_FALSE(first.empty());
  CHECK(std::abs(first.front().StreamTime(2) - 7) < 0.5 * kSampleS);
  const auto second = Align(clip, TheStream(), 25.5, 4.5, 3.5);
  REQUIRE_FALSE(second.empty());
  CHECK(std::abs(second.back().StreamTime(6) - 27) < 0.5 * kSampleS);
}

TEST_CASE("Aligner: sound that comes again at once is not followed to where it comes again", "[aligner]") {
  // An echo as loud as the sound itself, before and behind it: every block stands out at three lags.
  std::vector<float> stream(TheStream().size());
  const auto echo = static_cast<std::size_t>(0.4 * kDetectRateHz);
  for (std::size_t n = echo; n + echo < stream.size(); ++n)
    stream[n] = TheStream()[n] + TheStream()[n - echo] + TheStream()[n + echo];
  for (const double start_s : {8.0, 15.5}) {
    const auto pieces = Align(ClipOf(stream, start_s, 2), stream, start_s);
    REQUIRE(pieces.size() == 1);
    CHECK(pieces[0].StreamTime(1) == Approx(start_s + 1).margin(1e-3));
    CHECK(pieces[0].clip_end_s - pieces[0].clip_start_s > 1.8);
  }
}

TEST_CASE("Aligner: what lies outside the matching part of a clip is left to others", "[aligner]") {
  // 5 s of this stream between 6 s and 6 s of other sound: pieces may reach over the border by a block or so, not more.
  const auto other = HalveRate(SpeechLike(12, 990));
  auto clip = CutSeconds(other, 0, 6, kDetectRateHz);
  Append(clip, ClipOf(TheStream(), 15, 5));
  Append(clip, CutSeconds(other, 6, 12, kDetectRateHz));
  const auto pieces = Align(clip, TheStream(), 15.5, 6.5, 4);
  CheckWellFormed(pieces, 17);
  REQUIRE_FALSE(pieces.empty());
  CHECK(pieces.front().clip_start_s > 5.2);
  CHECK(pieces.back().clip_end_s < 11.8);
  double inside = 0;
  for (const Alignment& piece : pieces)
    inside += std::max(0.0, std::min(11.0, piece.clip_end_s) - std::max(6.0, piece.clip_start_s));
  CHECK(inside > 4);
}

TEST_CASE("Aligner: noise as loud as the sound does not hide it", "[aligner]") {
  const auto clip = WithNoise(ClipOf(TheStream(), 14.2, 6), 0, 3);
  const auto pieces = Align(clip, TheStream(), 14.2);
  REQUIRE_FALSE(pieces.empty());
  double covered = 0;
  for (const Alignment& piece : pieces) {
    covered += piece.clip_end_s - piece.clip_start_s;
    CHECK(std::abs(piece.StreamTime(3) - 17.2) < 3 * kSampleS);
  }
  CHECK(covered > 5);
}

TEST_CASE("Aligner: gain, polarity and filters do not matter", "[aligner]") {
  const auto clip = ClipOf(TheStream(), 14.2, 5);
  for (const auto& changed : {Scaled(clip, 0.01), Scaled(clip, -1), LowPassed(clip, 2500, kDetectRateHz, 2)}) {
    const auto pieces = Align(changed, TheStream(), 14.2);
    REQUIRE(pieces.size() == 1);
    // A one-pole low-pass delays by some samples itself.
    CHECK(std::abs(pieces[0].StreamTime(2) - 16.2) < 5 * kSampleS);
  }
}

TEST_CASE("Aligner: other sound is refused", "[aligner]") {
  // Verify tries 11 speeds × 25 slopes × 14,400 lags; its threshold makes chance matches rarer than 1e-6 for speech-like sound. Seeds are fixed.
  for (std::uint64_t seed = 0; seed < 4; ++seed) {
    for (const auto& clip :
         {HalveRate(SpeechLike(4, 500 + seed)), HalveRate(MusicLike(4, 600 + seed)), WhiteNoise(4 * kDetectRateHz, 0.1, seed)}) {
      CHECK_FALSE(Get(VerifyStretch(Aligner(clip), 0, 4, 10, true, LoaderOf(TheStream()))));
    }
  }
}

TEST_CASE("Aligner: a stream with silent pauses is not followed into other sound", "[aligner]") {
  auto stream = TheStream();
  for (double at_s = 2; at_s < 40; at_s += 3)
    std::fill_n(stream.begin() + static_cast<std::ptrdiff_t>(at_s * kDetectRateHz), kDetectRateHz, 0.0F);
  for (std::uint64_t seed = 0; seed < 4; ++seed) {
    auto clip = HalveRate(SpeechLike(15, 520 + seed));
    Append(clip, ClipOf(stream, 15, 6));
    Append(clip, HalveRate(SpeechLike(15, 530 + seed)));
    const auto pieces = Align(clip, stream, 15, 15, 4);
    REQUIRE_FALSE(pieces.empty());
    double firmest = 0;
    for (const Alignment& piece : pieces) firmest = std::max(firmest, FirmnessOf(piece));
    for (const Alignment& piece : pieces) {
      INFO(piece.clip_start_s << " " << piece.clip_end_s << " " << piece.stream_start_s << " strength " << piece.strength);
      CHECK((IsEchoNextTo(FirmnessOf(piece), firmest) || (piece.clip_start_s > 14.5 && piece.clip_end_s < 23.5)));
    }
  }
}

TEST_CASE("Aligner: of a sound that repeats twenty times a second, the place is taken where it is the very same", "[aligner]") {
  constexpr std::size_t kPeriod = kDetectRateHz / 20;
  const auto cycle = WhiteNoise(kPeriod, 0.1, 41);
  auto stream = WhiteNoise(12 * kDetectRateHz, 0.002, 42);
  for (std::size_t n = 0; n < stream.size(); ++n) stream[n] += cycle[n % kPeriod];
  for (const double start_s : {4.0, 5.123}) {
    const auto clip = ClipOf(stream, start_s, 3);
    const auto found = Get(VerifyStretch(Aligner(clip), 0, 3, start_s - 0.02, false, LoaderOf(stream)));
    REQUIRE(found);
    CHECK(std::abs(found->stream_start_s - start_s) < 0.001);
  }
}

TEST_CASE("Aligner: the right stream at the wrong place is refused", "[aligner]") {
  const auto clip = ClipOf(TheStream(), 10, 4);
  for (const double wrong_s : {3.0, 20.0, 30.0}) {
    CHECK_FALSE(Get(VerifyStretch(Aligner(clip), 0, 4, wrong_s, true, LoaderOf(TheStream()))));
  }
}

TEST_CASE("Aligner: a clip may reach beyond the stream's ends", "[aligner]") {
  const auto other = HalveRate(MusicLike(2, 8));
  SECTION("before it begins") {
    auto clip = other;
    Append(clip, ClipOf(TheStream(), 0, 4));
    const auto pieces = Align(clip, TheStream(), 0.2, 2.2, 3);
    CheckWellFormed(pieces, 6);
    REQUIRE_FALSE(pieces.empty());
    CHECK(std::abs(pieces.back().StreamTime(4) - 2) < 0.5 * kSampleS);
  }
  SECTION("after it ends") {
    auto clip = ClipOf(TheStream(), 36, 4);
    Append(clip, other);
    const auto pieces = Align(clip, TheStream(), 36, 0, 3);
    CheckWellFormed(pieces, 6);
    REQUIRE_FALSE(pieces.empty());
    CHECK(std::abs(pieces.front().StreamTime(2) - 38) < 0.5 * kSampleS);
  }
  SECTION("a place that does not exist") {
    const auto clip = ClipOf(TheStream(), 10, 4);
    for (const double nowhere_s : {-50.0, 1000.0}) {
      CHECK_FALSE(Get(VerifyStretch(Aligner(clip), 0, 4, nowhere_s, true, LoaderOf(TheStream()))));
    }
  }
}

TEST_CASE("Aligner: clips too short or silent to say anything are refused", "[aligner]") {
  for (const double seconds : {0.0, 0.01, 0.2, 0.45}) {
    const auto clip = ClipOf(TheStream(), 10, seconds);
    const auto seed = Get(VerifyStretch(Aligner(clip), 0, seconds, 10, true, LoaderOf(TheStream())));
    CHECK_FALSE(seed);
  }
  const std::vector<float> silence(4 * kDetectRateHz, 0.0F);
  CHECK_FALSE(Get(VerifyStretch(Aligner(silence), 0, 4, 10, true, LoaderOf(TheStream()))));
  CHECK(Get(Aligner(silence).Follow({.clip_start_s = 0, .clip_end_s = 4, .stream_start_s = 10}, 0, 4, LoaderOf(TheStream())))
            .empty());
  const std::vector<float> silent_stream(20 * kDetectRateHz, 0.0F);
  const auto clip = ClipOf(TheStream(), 10, 4);
  CHECK_FALSE(Get(VerifyStretch(Aligner(clip), 0, 4, 10, true, LoaderOf(silent_stream))));
}

TEST_CASE("Aligner: an error of the loader is passed on", "[aligner]") {
  const auto clip = ClipOf(TheStream(), 10, 4);
  const StreamAudioLoader failing = [](double, double) -> Result<StreamAudio> { return Fail(ErrorCode::kDataLoss, "damaged"); };
  const auto seed = VerifyStretch(Aligner(clip), 0, 4, 10, true, failing);
  REQUIRE_FALSE(seed);
  CHECK(seed.error().code == ErrorCode::kDataLoss);
  const auto pieces = Aligner(clip).Follow({.clip_start_s = 0, .clip_end_s = 4, .stream_start_s = 10}, 0, 4, failing);
  REQUIRE_FALSE(pieces);
  CHECK(pieces.error().code == ErrorCode::kDataLoss);
}

TEST_CASE("Aligner: long clips are followed span by span", "[aligner]") {
  // 38 s with a drift: more than one span of tracking.
  const auto clip = ClipOf(TheStream(), 0.5, 38, 1 + 150e-6);
  const auto pieces = Align(clip, TheStream(), 0.5 + 17, 17, 4);
  CheckWellFormed(pieces, 38);
  double covered = 0;
  for (const Alignment& piece : pieces) {
    covered += piece.clip_end_s - piece.clip_start_s;
    const double middle = (piece.clip_start_s + piece.clip_end_s) / 2;
    CHECK(std::abs(piece.StreamTime(middle) - (0.5 + middle * (1 + 150e-6))) < 1 * kSampleS);
  }
  CHECK(covered > 37);
}

}  // namespace
}  // namespace earmark
