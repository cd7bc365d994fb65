#include "services/common/scan/probe_plan.h"

#include <algorithm>
#include <cmath>

#include "dsp/core/resample.h"
#include "dsp/core/stream_format.h"

namespace earmark {
namespace {

constexpr std::size_t kFramesAtOnce = 3000;  // a minute: 6 MB
constexpr double kMaxShared = 0.6;           // of two probes: more, and they are the same

}  // namespace

ProbePlan::ProbePlan(std::span<const float> clip, const std::function<void()>& release_memory)
    : hop_s_(static_cast<double>(clip.size()) > kLongClipS * kDetectRateHz ? kProbeS : kProbeS / 2),
      uncovered_{{0, static_cast<double>(clip.size()) / kDetectRateHz}},
      activity_{0} {
  for (std::size_t at = 0; at + kDetectPacketSamples <= clip.size(); at += kDetectPacketSamples) {
    double power = 1e-12;
    for (const float x : clip.subspan(at, kDetectPacketSamples)) power += static_cast<double>(x) * x / kDetectPacketSamples;
    activity_.push_back(activity_.back() + std::clamp(10 * std::log10(power) + 70, 0.0, 40.0));
    if (release_memory && activity_.size() % kFramesAtOnce == 0) release_memory();
  }
}

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
    if (b - a < kMinProbeS) continue;
    const double length = std::min(kProbeS, b - a);
    const int steps = std::max(0, static_cast<int>(std::ceil((b - a - length) / hop_s_ - 1e-9)));
    for (int i = 0; i <= steps; ++i) {
      const double start = std::min(a + i * hop_s_, b - length);
      const bool overlaps = std::any_of(tried_.begin(), tried_.end(), [&](const Stretch& t) {
        return std::min(t.end_s, start + length) - std::max(t.start_s, start) >
               kMaxShared * std::max(length, t.end_s - t.start_s);
      });
      if (overlaps) continue;
      const double activity = Activity(start, start + length);
      if (activity > best_activity) best_activity = activity, best = Stretch{start, start + length};
    }
  }
  if (best) tried_.push_back(*best);
  return best;
}

double ProbePlan::share_done() const {
  const double clip_s = static_cast<double>(activity_.size() - 1) / kPacketsPerSecond;
  double left_s = 0;
  for (const auto& [a, b] : uncovered_) left_s += b - a;
  return clip_s > 0 ? std::min(1.0, (clip_s - left_s + static_cast<double>(tried_.size()) * hop_s_) / clip_s) : 1;
}

double ProbePlan::Activity(double start_s, double end_s) const {
  const auto frame_at = [&](double at_s) {
    return std::min(activity_.size() - 1, static_cast<std::size_t>(std::max(0.0, at_s) * kPacketsPerSecond));
  };
  return activity_[frame_at(end_s)] - activity_[frame_at(start_s)];
}

}  // namespace earmark
