#include "dsp/core/mean_loss.h"

namespace earmark {
namespace {

constexpr double kMinShare = 1e-3;  // -30 dB: what is below is the roundings of a codec rather than sound
constexpr double kMinPower = 1e-7;  // -70 dBFS

}  // namespace

bool MeanLoss::IsLost(const Energies& energies) noexcept { return energies.mean < kMinShare * energies.channels; }

bool MeanLoss::HasSound() const noexcept {
  return second_.channels >= kMinPower * static_cast<double>(num_in_second_) && num_in_second_ > 0;
}

void MeanLoss::Add(std::span<const float> interleaved) noexcept {
  for (std::size_t i = 0; i + 1 < interleaved.size(); i += 2) {
    const double left = interleaved[i];
    const double right = interleaved[i + 1];
    const double mean = 0.5 * (left + right);
    second_.channels += 0.5 * (left * left + right * right);
    second_.mean += mean * mean;
    if (++num_in_second_ < samples_per_second_) continue;
    num_seconds_ += HasSound() ? 1 : 0;
    num_lost_ += HasSound() && IsLost(second_) ? 1 : 0;
    whole_.channels += second_.channels;
    whole_.mean += second_.mean;
    second_ = {};
    num_in_second_ = 0;
  }
}

bool MeanLoss::is_lost() const noexcept {
  return IsLost({.channels = whole_.channels + second_.channels, .mean = whole_.mean + second_.mean});
}

double MeanLoss::lost_share() const noexcept {
  const bool sound = HasSound();
  const std::size_t seconds = num_seconds_ + (sound ? 1 : 0);
  const std::size_t lost = num_lost_ + (sound && IsLost(second_) ? 1 : 0);
  return seconds == 0 ? 0 : static_cast<double>(lost) / static_cast<double>(seconds);
}

}  // namespace earmark
