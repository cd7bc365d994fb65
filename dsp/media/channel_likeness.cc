#include "dsp/media/channel_likeness.h"

#include <algorithm>

#include "dsp/core/resample.h"

namespace earmark {
namespace {

constexpr double kMinPower = 1e-7;         // -70 dBFS
constexpr double kMinShare = 1e-4;         // -40 dB
constexpr double kMuchStronger = 4;        // 6 dB
constexpr double kMinStrongPower = 1e-10;  // -100 dBFS: below are the roundings of 16 bits

}  // namespace

bool ChannelLikeness::IsInverted(const Second& second) noexcept {
  return second.difference > kMuchStronger * second.mean &&
         second.difference > kMinStrongPower * static_cast<double>(second.num_samples);
}

bool ChannelLikeness::IsUnlike(const Second& second) noexcept {
  const double strong = std::max(second.mean, second.difference);
  const double weak = std::min(second.mean, second.difference);
  if (strong <= 0) return false;
  const double rest = weak - second.both * second.both / strong;
  return rest > kMinShare * strong && rest > kMinPower * static_cast<double>(second.num_samples);
}

void ChannelLikeness::Add(std::span<const float> mean, std::span<const float> difference) noexcept {
  for (std::size_t i = 0; i < mean.size(); ++i) {
    const double m = mean[i];
    const double d = difference[i];
    second_.mean += m * m;
    second_.difference += d * d;
    second_.both += m * d;
    if (++second_.num_samples < kDetectRateHz) continue;
    was_inverted_ = was_inverted_ || IsInverted(second_);
    was_unlike_ = was_unlike_ || IsUnlike(second_);
    second_ = {};
  }
}

bool ChannelLikeness::needs_difference() const noexcept { return needs_sides() || was_inverted_ || IsInverted(second_); }

bool ChannelLikeness::needs_sides() const noexcept { return was_unlike_ || IsUnlike(second_); }

}  // namespace earmark
