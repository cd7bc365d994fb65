#include "dsp/marking/masking.h"

#include <algorithm>
#include <cmath>

namespace earmark {
namespace {

constexpr float kFullStrength = 0.0233F;  // 0.2 dB
constexpr float kMinShare = 0.5F;         // of it, in a perfectly steady band
constexpr float kSteadyDb = 0.7F;         // mean level change of a band that gets the least
constexpr float kUnsteadyDb = 2.5F;       // … and of one that gets it all
constexpr float kForget = 0.93F;          // per frame of 10 ms: a time constant of 140 ms
constexpr float kSilencePower = 6e-8F;    // -72 dB re full-scale sine

}  // namespace

MaskingModel::MaskingModel(int fft_samples) {
  // Parseval: a full-scale sine through a square-root Hann window of N samples has power N·N/8 in bins 0 … N/2.
  const auto n = static_cast<float>(fft_samples);
  powers_per_full_scale_ = n * n / 8;
  for (auto& levels : last_level_db_) levels.fill(-120);
  unsteadiness_db_.fill(kUnsteadyDb);
}

const BandStrengths& MaskingModel::Update(const std::array<float, kNumBands>& band_power) noexcept {
  float total = 0;
  for (float power : band_power) total += power;
  const bool silent = total < kSilencePower * powers_per_full_scale_;
  for (std::size_t band = 0; band < kNumBands; ++band) {
    const float level_db = 10 * std::log10(band_power[band] / powers_per_full_scale_ + 1e-12F);
    const float change_db = std::min(std::abs(level_db - last_level_db_[1][band]), 6.0F);
    last_level_db_[1][band] = last_level_db_[0][band];
    last_level_db_[0][band] = level_db;
    unsteadiness_db_[band] = kForget * unsteadiness_db_[band] + (1 - kForget) * change_db;
    const float share = std::clamp((unsteadiness_db_[band] - kSteadyDb) / (kUnsteadyDb - kSteadyDb), 0.0F, 1.0F);
    strengths_[band] = silent ? 0.0F : kFullStrength * (kMinShare + (1 - kMinShare) * share);
  }
  return strengths_;
}

}  // namespace earmark
