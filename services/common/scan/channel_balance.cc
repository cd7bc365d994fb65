#include "services/common/scan/channel_balance.h"

#include <algorithm>

namespace earmark {
namespace {

constexpr double kUnlike = 3;  // times as strong, at most, where the sides are unlike

double EnergyOf(std::span<const float> samples) {
  double energy = 0;
  for (const float x : samples) energy += static_cast<double>(x) * x;
  return energy;
}

}  // namespace

ChannelBalance BalanceOf(std::span<const float> mean, std::span<const float> difference) {
  return {.mean = EnergyOf(mean), .difference = EnergyOf(difference)};
}

bool MayHide(DecodedClip::Channel channel, const ChannelBalance& balance) {
  const auto& [mean, difference] = balance;
  switch (channel) {
    case DecodedClip::Channel::kMean:
      return true;
    case DecodedClip::Channel::kDifference:
      return difference > mean;
    case DecodedClip::Channel::kLeft:
    case DecodedClip::Channel::kRight:
      return difference > mean / kUnlike && mean > difference / kUnlike;
  }
  return false;
}

}  // namespace earmark
