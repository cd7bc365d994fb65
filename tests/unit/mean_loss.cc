#include "dsp/core/mean_loss.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <span>
#include <vector>

#include "dsp/core/stream_format.h"
#include "tests/support/synthetic_audio.h"

namespace earmark {
namespace {

std::vector<float> Stereo(std::span<const float> left, float left_gain, std::span<const float> right, float right_gain) {
  std::vector<float> both;
  for (std::size_t i = 0; i < std::min(left.size(), right.size()); ++i)
    both.insert(both.end(), {left_gain * left[i], right_gain * right[i]});
  return both;
}

MeanLoss Of(std::span<const float> interleaved) {
  MeanLoss loss(kSampleRateHz);
  for (std::size_t at = 0; at < interleaved.size(); at += 1920)
    loss.Add(interleaved.subspan(at, std::min<std::size_t>(1920, interleaved.size() - at)));
  return loss;
}

TEST_CASE("MeanLoss: usual stereo, one side alone and silence lose nothing", "[mean_loss]") {
  const auto one = SpeechLike(4.5, 1);
  const auto other = SpeechLike(4.5, 2);
  const std::vector<float> silence(one.size(), 0.0F);
  for (const auto& both : {Stereo(one, 1, one, 1), Stereo(one, 1, other, 0.5F), Stereo(one, 1, one, 0), Stereo(one, 0, one, 1),
                           Stereo(one, 1, one, -0.8F), Stereo(silence, 1, silence, 1), std::vector<float>{}}) {
    CHECK_FALSE(Of(both).is_lost());
    CHECK(Of(both).lost_share() == 0);
  }
}

TEST_CASE("MeanLoss: an inverted channel loses all, exactly or nearly so", "[mean_loss]") {
  const auto one = SpeechLike(4.5, 1);
  for (const float gain : {-1.0F, -0.97F, -1.03F}) {
    const MeanLoss loss = Of(Stereo(one, 1, one, gain));
    CHECK(loss.is_lost());
    CHECK(loss.lost_share() == 1);
  }
}

TEST_CASE("MeanLoss: what is lost for a part of the time is a share of the seconds with sound", "[mean_loss]") {
  const auto one = SpeechLike(8, 1);
  auto both = Stereo(one, 1, one, -1);
  for (std::size_t i = 0; i < 2 * 2 * kSampleRateHz; i += 2) both[i + 1] = both[i];  // the first two of eight seconds
  both.resize(2 * 12 * kSampleRateHz, 0.0F);                                         // and silence behind them
  const MeanLoss loss = Of(both);
  CHECK_FALSE(loss.is_lost());
  CHECK(loss.lost_share() == Approx(0.75).margin(0.01));
}

}  // namespace
}  // namespace earmark
