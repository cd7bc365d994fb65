#include "dsp/core/resample.h"

#include <soxr.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

#include "dsp/core/clones.h"

namespace earmark {
namespace {

constexpr int kTaps = 32;
constexpr int kPhases = 512;  // with linear interpolation between phases the error stays below -90 dB

// [phase][tap]: sinc(tap - 15 - phase/kPhases) under a Kaiser-like cosine-power window, each phase normalised to unit sum.
const std::array<std::array<float, kTaps>, kPhases + 1>& SincTable() {
  static const auto table = [] {
    std::array<std::array<float, kTaps>, kPhases + 1> t{};
    for (int phase = 0; phase <= kPhases; ++phase) {
      double sum = 0;
      std::array<double, kTaps> row{};
      for (int tap = 0; tap < kTaps; ++tap) {
        const double x = tap - (kTaps / 2 - 1) - static_cast<double>(phase) / kPhases;
        const double sinc = std::abs(x) < 1e-12 ? 1.0 : std::sin(std::numbers::pi * x) / (std::numbers::pi * x);
        const double c = std::abs(x) < kTaps / 2.0 ? std::cos(std::numbers::pi * x / kTaps) : 0.0;
        row[static_cast<std::size_t>(tap)] = sinc * c * c;
        sum += row[static_cast<std::size_t>(tap)];
      }
      for (int tap = 0; tap < kTaps; ++tap) {
        t[static_cast<std::size_t>(phase)][static_cast<std::size_t>(tap)] =
            static_cast<float>(row[static_cast<std::size_t>(tap)] / sum);
      }
    }
    return t;
  }();
  return table;
}

}  // namespace

std::vector<float> HalveRate(std::span<const float> at_48khz) {
  std::vector<float> out((at_48khz.size() + 1) / 2);
  std::size_t done = 0;
  const soxr_quality_spec_t quality = soxr_quality_spec(SOXR_HQ, 0);
  soxr_oneshot(2, 1, 1, at_48khz.data(), at_48khz.size(), nullptr, out.data(), out.size(), &done, nullptr, &quality, nullptr);
  out.resize(done);
  return out;
}

void RateHalver::Closer::operator()(void* resampler) const { soxr_delete(static_cast<soxr_t>(resampler)); }

RateHalver::RateHalver() {
  const soxr_quality_spec_t quality = soxr_quality_spec(SOXR_HQ, 0);
  resampler_.reset(soxr_create(2, 1, 1, nullptr, nullptr, &quality, nullptr));
}

std::span<const float> RateHalver::Process(std::span<const float> at_48khz) {
  return at_48khz.empty() ? std::span<const float>() : Run(at_48khz);
}

// No input (null) makes soxr hand out what it holds.
std::span<const float> RateHalver::Finish() { return Run({}); }

std::span<const float> RateHalver::Run(std::span<const float> at_48khz) {
  constexpr std::size_t kMaxAtOnce = 4096;
  out_.clear();
  if (resampler_ == nullptr) return out_;
  std::size_t num_done = 0;
  do {
    const std::size_t size = out_.size();
    out_.resize(size + kMaxAtOnce);
    std::size_t num_used = 0;
    soxr_process(static_cast<soxr_t>(resampler_.get()), at_48khz.data(), at_48khz.size(), &num_used, out_.data() + size,
                 kMaxAtOnce, &num_done);
    at_48khz = at_48khz.subspan(num_used);
    out_.resize(size + num_done);
  } while (!at_48khz.empty() || num_done == kMaxAtOnce);
  return out_;
}

namespace {

// Sample by sample as they are; 0 outside.
void CopyFrom(std::span<const float> in, std::ptrdiff_t first, std::span<float> out) {
  const auto size = static_cast<std::ptrdiff_t>(in.size());
  const std::ptrdiff_t from = std::clamp<std::ptrdiff_t>(-first, 0, std::ssize(out));
  const std::ptrdiff_t to = std::clamp(size - first, from, std::ssize(out));
  std::fill(out.begin(), out.begin() + from, 0.0F);
  if (to > from) std::copy_n(in.begin() + (first + from), to - from, out.begin() + from);
  std::fill(out.begin() + to, out.end(), 0.0F);
}

}  // namespace

EARMARK_CLONES("avx2", "default")
void SampleAt(std::span<const float> in, double start, double speed, std::span<float> out) noexcept {
  constexpr double kOnSample = 1e-6;
  if (speed == 1 && std::abs(start - std::round(start)) < kOnSample) return CopyFrom(in, std::llround(start), out);
  const auto& table = SincTable();
  const auto size = static_cast<std::ptrdiff_t>(in.size());
  for (std::size_t n = 0; n < out.size(); ++n) {
    const double at = start + static_cast<double>(n) * speed;
    const double floor = std::floor(at);
    const auto first = static_cast<std::ptrdiff_t>(floor) - (kTaps / 2 - 1);
    const auto phase_exact = static_cast<float>((at - floor) * kPhases);
    const auto phase = static_cast<std::size_t>(phase_exact);
    const float fraction = phase_exact - static_cast<float>(phase);
    const auto& low = table[phase];
    const auto& high = table[std::min<std::size_t>(phase + 1, kPhases)];
    float sum_low = 0;
    float sum_high = 0;
    if (first >= 0 && first + kTaps <= size) {
      const float* x = in.data() + first;
#pragma omp simd reduction(+ : sum_low, sum_high)
      for (std::size_t tap = 0; tap < kTaps; ++tap) {
        sum_low += x[tap] * low[tap];
        sum_high += x[tap] * high[tap];
      }
    } else {
      for (std::ptrdiff_t tap = 0; tap < kTaps; ++tap) {
        if (first + tap < 0 || first + tap >= size) continue;
        const float x = in[static_cast<std::size_t>(first + tap)];
        sum_low += x * low[static_cast<std::size_t>(tap)];
        sum_high += x * high[static_cast<std::size_t>(tap)];
      }
    }
    out[n] = sum_low + fraction * (sum_high - sum_low);
  }
}

}  // namespace earmark
