// Which stretches of a clip to search, and in what order.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "dsp/core/resample.h"

namespace earmark {

// Deals out what nobody has explained yet, a few seconds at a time, most active first.
class ProbePlan {
 public:
  struct Stretch {
    double start_s = 0;
    double end_s = 0;
  };
  // `clip`: mono at kDetectRateHz; kept by reference.
  explicit ProbePlan(std::span<const float> clip) : clip_(clip), uncovered_{{0, static_cast<double>(clip.size()) / kDetectRateHz}} {}

  // The most active stretch of four seconds (or what there is, from one second on) in the uncovered parts that was not dealt out yet; none in silence.
  std::optional<Stretch> Next();
  // This stretch is explained.
  void Cover(double start_s, double end_s);
  int num_dealt() const { return static_cast<int>(tried_.size()); }

  static constexpr double kProbeS = 4;
  static constexpr double kLeastProbeS = 1;

 private:
  // How much there is to see: the sum over 20 ms frames of level above -70 dBFS, in dB, at most 40 each.
  double Activity(double start_s, double end_s) const;

  std::span<const float> clip_;
  std::vector<Stretch> uncovered_;
  std::vector<Stretch> tried_;
};

}  // namespace earmark
