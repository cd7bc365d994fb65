#include "dsp/scoring/score.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

namespace earmark {
namespace {

// Share of symbols at which the channel model is allowed to be plain wrong (a splice, a dropout, an overlapping sound): bounds what one symbol
// can cost the right account.
constexpr double kModelError = 0.004;
constexpr double kFinestStep = 1.0 / 128;
constexpr int kMaxCells = 1 << 16;  // of the exact distribution

// The log-posterior ratios of a symbol's variants, floored.
std::array<double, kMaxVariants> ScoresOf(const SymbolLikelihood& symbol, int num_variants) {
  const auto q = static_cast<std::size_t>(num_variants);
  const auto& l = symbol.log_likelihood;
  const float top = *std::max_element(l.begin(), l.begin() + num_variants);
  double sum = 0;
  for (std::size_t k = 0; k < q; ++k) sum += std::exp(static_cast<double>(l[k] - top));
  std::array<double, kMaxVariants> scores{};
  for (std::size_t k = 0; k < q; ++k) {
    const double posterior = std::exp(static_cast<double>(l[k] - top)) / sum;
    scores[k] = std::log((1 - kModelError) * num_variants * posterior + kModelError);
  }
  return scores;
}

}  // namespace

ScoreTable MakeScoreTable(const SymbolLikelihoods& likelihoods) {
  const auto q = static_cast<std::ptrdiff_t>(likelihoods.num_variants);
  struct Scores {
    std::int64_t symbol;
    std::array<double, kMaxVariants> values;
  };
  std::vector<Scores> telling;
  double span = 0;  // of all sums
  for (const SymbolLikelihood& symbol : likelihoods.symbols) {
    const Scores scores{.symbol = symbol.symbol, .values = ScoresOf(symbol, likelihoods.num_variants)};
    const auto [low, high] = std::minmax_element(scores.values.begin(), scores.values.begin() + q);
    if (*high - *low < kFinestStep) continue;
    span += *high - *low;
    telling.push_back(scores);
  }
  ScoreTable table{.num_variants = likelihoods.num_variants, .step = kFinestStep, .symbols = {}};
  if (telling.size() <= kMaxExactSymbols) table.step = std::max(kFinestStep, span / kMaxCells);
  for (const Scores& scores : telling) {
    SymbolScores rounded{.symbol = scores.symbol, .steps = {}};
    for (std::size_t k = 0; k < static_cast<std::size_t>(q); ++k)
      rounded.steps[k] = static_cast<std::int16_t>(std::lround(scores.values[k] / table.step));
    const bool tells_nothing =
        std::all_of(rounded.steps.begin(), rounded.steps.begin() + q, [&](std::int16_t s) { return s == rounded.steps[0]; });
    if (!tells_nothing) table.symbols.push_back(rounded);
  }
  return table;
}

TiltedScore Tilt(const SymbolScores& symbol, int num_variants, double x) {
  const auto q = static_cast<std::size_t>(num_variants);
  const double top = x * *std::max_element(symbol.steps.begin(), symbol.steps.begin() + num_variants);
  std::array<double, kMaxVariants> weights{};
  double m0 = 0;
  double m1 = 0;
  for (std::size_t k = 0; k < q; ++k) {
    weights[k] = std::exp(x * symbol.steps[k] - top);
    m0 += weights[k];
    m1 += weights[k] * symbol.steps[k];
  }
  TiltedScore tilted{.k0 = top + std::log(m0 / static_cast<double>(q)), .k1 = m1 / m0};
  for (std::size_t k = 0; k < q; ++k) {
    const double away = std::abs(symbol.steps[k] - tilted.k1);
    tilted.k2 += weights[k] / m0 * away * away;
    tilted.third += weights[k] / m0 * away * away * away;
  }
  return tilted;
}

ScoreDistribution::ScoreDistribution(const ScoreTable& table, Tails tails) : table_(table) {
  const auto q = static_cast<std::ptrdiff_t>(table.num_variants);
  for (const SymbolScores& symbol : table.symbols) {
    const auto [low, high] = std::minmax_element(symbol.steps.begin(), symbol.steps.begin() + q);
    min_score_ += *low;
    max_score_ += *high;
    for (std::ptrdiff_t k = 0; k < q; ++k)
      mean_ += static_cast<double>(symbol.steps[static_cast<std::size_t>(k)]) / static_cast<double>(q);
  }
  if (tails == Tails::kExactWherePossible && table.symbols.size() <= kMaxExactSymbols) ComputeExact();
}

// Convolves the symbols' distributions one after the other. All terms are positive, so nothing cancels: the relative error of every
// cell is below (number of symbols + q) · 1e-16, however small the cell.
void ScoreDistribution::ComputeExact() {
  const auto q = static_cast<std::size_t>(table_.num_variants);
  const auto cells = static_cast<std::size_t>(max_score_ - min_score_) + 1;
  std::vector<double> now(cells, 0.0);
  std::vector<double> next(cells, 0.0);
  now[0] = 1;
  std::size_t width = 1;
  for (const SymbolScores& symbol : table_.symbols) {
    const auto [low, high] = std::minmax_element(symbol.steps.begin(), symbol.steps.begin() + static_cast<std::ptrdiff_t>(q));
    const std::size_t grown = width + static_cast<std::size_t>(*high - *low);
    std::fill(next.begin(), next.begin() + static_cast<std::ptrdiff_t>(grown), 0.0);
    for (std::size_t k = 0; k < q; ++k) {
      double* out = next.data() + (symbol.steps[k] - *low);
      for (std::size_t s = 0; s < width; ++s) out[s] += now[s];
    }
    const double chance = 1.0 / static_cast<double>(q);
    for (std::size_t s = 0; s < grown; ++s) next[s] *= chance;
    width = grown;
    now.swap(next);
  }
  log10_tail_.resize(cells);
  double tail = 0;
  for (std::size_t s = cells; s-- > 0;) {
    tail += now[s];
    // Below 1e-290 cells have begun to underflow, and the sum may be too small.
    log10_tail_[s] = tail > 1e-290 ? std::min(0.0, std::log10(tail)) : -std::numeric_limits<double>::infinity();
  }
}

ScoreDistribution::TiltedSum ScoreDistribution::At(double x) const {
  TiltedSum sum;
  sum.x = x;
  for (const SymbolScores& symbol : table_.symbols) {
    const TiltedScore one = Tilt(symbol, table_.num_variants, x);
    sum.k0 += one.k0;
    sum.k1 += one.k1;
    sum.k2 += one.k2;
    sum.third += one.third;
  }
  return sum;
}

// x with K'(x) = score, by Newton's method inside a bracket (K' is increasing). Capped where the tilted distribution has become a point for our purposes. What is
// left of the distance does not matter to the bound, which holds for any x, and is small to second order.
ScoreDistribution::TiltedSum ScoreDistribution::SolveTilt(double score) const {
  constexpr double kMaxTilt = 50;  // per step
  constexpr int kMaxRounds = 100;
  double low = 0;
  double high = kMaxTilt;
  double x = 1e-3;
  TiltedSum tilted;
  for (int round = 0; round < kMaxRounds; ++round) {
    tilted = At(x);
    const double missing = score - tilted.k1;
    if (std::abs(missing) <= 1e-6 * std::sqrt(tilted.k2) || high - low < 1e-12) break;
    (missing > 0 ? low : high) = x;
    x += missing / tilted.k2;
    // Far out the curve is too bent for a straight line.
    if (!(x > low && x < high)) x = high == kMaxTilt ? std::min(4 * low, (low + high) / 2) : (low + high) / 2;
  }
  return tilted;
}

double ScoreDistribution::Log10BoundAt(const TiltedSum& tilted, double score) {
  constexpr double kBerryEsseen = 0.56;
  const double deviation = std::sqrt(tilted.k2);
  const double from_normal = deviation > 0 ? kBerryEsseen * tilted.third / (tilted.k2 * deviation) : 1;
  const double share = deviation > 0 ? 1 / (tilted.x * deviation * std::sqrt(2 * std::numbers::pi)) + 2 * from_normal : 1;
  return std::min(0.0, (tilted.k0 - tilted.x * score + std::log(std::min(1.0, share))) / std::numbers::ln10);
}

double ScoreDistribution::Log10Bound(std::int64_t score) const {
  if (static_cast<double>(score) <= mean_) return 0;
  if (score > max_score_) return -std::numeric_limits<double>::infinity();
  return Log10BoundAt(SolveTilt(static_cast<double>(score)), static_cast<double>(score));
}

double ScoreDistribution::Log10Saddlepoint(std::int64_t score) const {
  if (static_cast<double>(score) <= mean_) return 0;  // a ceiling; the far tail is what is asked for
  if (score > max_score_) return -std::numeric_limits<double>::infinity();
  const TiltedSum k = SolveTilt(static_cast<double>(score));
  const double exponent = k.k0 - k.x * static_cast<double>(score);  // <= 0: Chernoff's bound
  const double chernoff = exponent / std::numbers::ln10;
  const double w = std::sqrt(std::max(0.0, -2 * exponent));
  // The continuity-corrected form for integers (Daniels, Int. Stat. Rev. 55, 1987).
  const double u = (1 - std::exp(-k.x)) * std::sqrt(k.k2);
  if (w < 1e-3 || u < 1e-9) return chernoff;
  // log of phi(w)·(1/u - 1/w) + Phi(-w), with phi(w) taken out; Mills' ratio by its continued fraction where erfc underflows.
  const double mills = w < 25 ? std::sqrt(std::numbers::pi / 2) * std::erfc(w / std::numbers::sqrt2) * std::exp(w * w / 2)
                              : 1 / (w + 1 / (w + 2 / (w + 3 / (w + 4 / w))));
  const double factor = 1 / u - 1 / w + mills;
  if (!(factor > 0)) return chernoff;
  const double log_phi = exponent - 0.5 * std::log(2 * std::numbers::pi);
  return std::min(chernoff, (log_phi + std::log(factor)) / std::numbers::ln10);
}

double ScoreDistribution::Log10Tail(std::int64_t score) const {
  if (table_.symbols.empty() || score <= min_score_) return 0;
  if (score > max_score_) return -std::numeric_limits<double>::infinity();
  if (!exact()) return Log10Bound(score);
  const double tail = log10_tail_[static_cast<std::size_t>(score - min_score_)];
  return std::isfinite(tail) ? tail : Log10Bound(score);
}

std::int64_t ScoreDistribution::MinScore(double log10_p) const {
  std::int64_t low = min_score_;
  std::int64_t high = max_score_ + 1;
  while (low < high) {
    const std::int64_t middle = low + (high - low) / 2;
    if (Log10Tail(middle) <= log10_p)
      high = middle;
    else
      low = middle + 1;
  }
  return low;
}

double ExpectedLeakerScore(const ScoreTable& table) {
  const auto q = static_cast<std::size_t>(table.num_variants);
  double expected = 0;
  for (const SymbolScores& symbol : table.symbols) {
    double sum = 0;
    double weighted = 0;
    for (std::size_t k = 0; k < q; ++k) {
      const double weight = std::exp(table.step * symbol.steps[k]);
      sum += weight;
      weighted += weight * symbol.steps[k];
    }
    expected += weighted / sum;
  }
  return expected;
}

}  // namespace earmark
