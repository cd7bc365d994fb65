#include "dsp/scoring/combined_evidence.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numbers>
#include <vector>

namespace earmark {
namespace {

double LogAdd(double a, double b) { return std::max(a, b) + std::log1p(std::exp(-std::abs(a - b))); }

double LogChoose(double n, double k) { return std::lgamma(n + 1) - std::lgamma(k + 1) - std::lgamma(n - k + 1); }

}  // namespace

double CombinedLog10Bound(std::span<const double> log10_bounds, std::int64_t num_scored) {
  std::vector<double> minus_logs;
  for (const double log10_bound : log10_bounds) minus_logs.push_back(std::max(0.0, -log10_bound * std::numbers::ln10));
  std::sort(minus_logs.begin(), minus_logs.end(), std::greater<>());
  const double n = static_cast<double>(std::max<std::int64_t>(num_scored, static_cast<std::int64_t>(minus_logs.size())));
  double strongest = 0;
  double x = 0;  // -ln of the product
  for (std::size_t j = 1; j <= minus_logs.size(); ++j) {
    x += minus_logs[j - 1];
    double log_term = 0;  // of x^i / i!
    double log_sum = 0;
    for (std::size_t i = 1; i < j; ++i) {
      log_term += std::log(x) - std::log(static_cast<double>(i));
      log_sum = LogAdd(log_sum, log_term);
    }
    const auto count = static_cast<double>(j);
    strongest = std::min(strongest, count * std::numbers::ln2 + LogChoose(n, count) - x + log_sum);
  }
  return strongest / std::numbers::ln10;
}

}  // namespace earmark
