// Which stretches of a clip to search, and in what order.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <vector>

namespace earmark {

// Deals out what nobody has explained yet, a few seconds at a time, most active first.
class ProbePlan {
 public:
  struct Stretch {
    double start_s = 0;
    double end_s = 0;
  };
  // `clip`: mono at kDetectRateHz; looked over once, with `release_memory` (ClipSignals) called now and then.
  explicit ProbePlan(std::span<const float> clip, const std::function<void()>& release_memory = {});

  // The most active stretch of four seconds (or what there is, from one second on) in the uncovered parts that was not dealt out yet; none in silence.
  std::optional<Stretch> Next();
  // This stretch is explained.
  void Cover(double start_s, double end_s);
  // Of the clip, how much was explained or dealt out, about.
  double share_done() const;

  static constexpr double kProbeS = 4;
  static constexpr double kLongClipS = 30;
  static constexpr double kMinProbeS = 1;

 private:
  // How much there is to see.
  double Activity(double start_s, double end_s) const;

  double hop_s_;  // probes of a long clip do not overlap: a part of one is found by itself
  std::vector<Stretch> uncovered_;
  std::vector<Stretch> tried_;
  std::vector<double> activity_;  // [20 ms frame]: of all before it, the sum of level above -70 dBFS, in dB, at most 40 each
};

}  // namespace earmark
