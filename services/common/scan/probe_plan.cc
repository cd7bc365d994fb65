#include "services/common/scan/probe_plan.h"

#include <algorithm>
#include <cmath>

#include "dsp/core/resample.h"
#include "dsp/core/stream_format.h"

namespace earmark {

void ProbePlan::Cover(double start_s, double end_s) {
  std::vector<Stretch> rest;
  for (const auto& [a, b] : uncovered_) {
    if (end_s <= a || start_s >= b) {
      rest.push_back({a, b});
      continue;
    }
    if (start_s > a) rest.push_back({a, start_s});
    if (end_s < b) rest.push_back({end_s, b});
  }
  uncovered_ = std::move(rest);
}

std::optional<ProbePlan::Stretch> ProbePlan::Next() {
  std::optional<Stretch> best;
  double best_activity = 0;
  for (const auto& [a, b] : uncovered_) {
    if (b - a < kLeastProbeS) continue;
    const double length = std::min(kProbeS, b - a);
    const int steps = std::max(0, static_cast<int>(std::floor((b - a - length) / (kProbeS / 2))));
    for (int i = 0; i <= steps; ++i) {
      const double start = i == steps ? b - length : a + i * kProbeS / 2;
      const bool overlaps = std::any_of(tried_.begin(), tried_.end(), [&](const Stretch& t) {
        return std::min(t.end_s, start + length) - std::max(t.start_s, start) > 0.6 * length;
      });
      if (overlaps) continue;
      const double activity = Activity(start, start + length);
      if (activity > best_activity) best_activity = activity, best = Stretch{start, start + length};
    }
  }
  if (best) tried_.push_back(*best);
  return best;
}

double ProbePlan::Activity(double start_s, double end_s) const {
  double sum = 0;
  const auto end = std::min(clip_.size(), static_cast<std::size_t>(end_s * kDetectRateHz));
  for (auto at = static_cast<std::size_t>(start_s * kDetectRateHz); at + kDetectPacketSamples <= end; at += kDetectPacketSamples) {
    double power = 1e-12;
    for (std::size_t i = 0; i < kDetectPacketSamples; ++i) power += static_cast<double>(clip_[at + i]) * clip_[at + i] / kDetectPacketSamples;
    sum += std::clamp(10 * std::log10(power) + 70, 0.0, 40.0);
  }
  return sum;
}

}  // namespace earmark
