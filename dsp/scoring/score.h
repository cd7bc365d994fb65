// Scores of trace codes, and the exact chance of an innocent one scoring as high.
//
// The score of a code c is S = sum over symbols t of s(t, c(t)), where s(t, k) is the log-posterior ratio of variant k, floored against
// mistakes of the channel model, and rounded to whole steps:
//
//   s(t, k) = round( log( (1 - e)·q·P(k | t) + e ) / step ),   P(k | t) ∝ exp(likelihood(t, k)),   e = kModelError
//
// An innocent account's code is independent of the clip, so S is a sum of independent draws, one of the q integers s(t, 0 … q-1) per symbol with
// equal chance. Because they are integers, the distribution of the sum is computed exactly, by convolution (ScoreDistribution). Rounding is part of
// the definition of the score, not an approximation of it.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "dsp/reading/symbol_likelihoods.h"

namespace earmark {

struct SymbolScores {
  std::int64_t symbol = 0;
  std::array<std::int16_t, kMaxVariants> steps{};
};

struct ScoreTable {
  int num_variants = 4;
  double step = 1;                    // natural-log units per step
  std::vector<SymbolScores> symbols;  // ascending; symbols that tell nothing are left out
};

// Deterministic; allocates. Symbols whose variants all score the same are dropped. A step is 1/128 unit, and wider where an exact distribution of all that the
// symbols span would otherwise have more than 65,536 cells; beyond kMaxExactSymbols there is no such distribution, and steps stay fine.
ScoreTable MakeScoreTable(const SymbolLikelihoods& likelihoods);

// Up to as many symbols (a minute at the usual settings) the distribution is exact.
inline constexpr std::size_t kMaxExactSymbols = 3000;

// An innocent code's score of one symbol, in steps, tilted by exp(x·score): the logarithm of its moment generating function at x, that function's first two derivatives
// (mean and variance), and the third absolute central moment.
struct TiltedScore {
  double k0 = 0, k1 = 0, k2 = 0, third = 0;
};
TiltedScore Tilt(const SymbolScores& symbol, int num_variants, double x);

// The distribution of an innocent code's score.
class ScoreDistribution {
 public:
  // kBound never takes the time for the exact one.
  enum class Tails { kExactWherePossible, kBound };
  explicit ScoreDistribution(const ScoreTable& table, Tails tails = Tails::kExactWherePossible);

  // log10 of the chance that one given innocent account scores `score` steps or more: exact up to kMaxExactSymbols symbols and 1e-290, Log10Bound beyond, which is
  // a few tenths of a digit away and never too small. 0 for a score at or below the least possible.
  double Log10Tail(std::int64_t score) const;
  // The least score with a tail of at most 10^log10_p; max_score() + 1 if there is none.
  std::int64_t MinScore(double log10_p) const;

  // An upper bound on the tail at any score, whatever the number of symbols. For every x > 0, with S tilted by exp(x·S) to mean m and variance v,
  //
  //   P(S >= s) = exp(K(x) - x·s) · E_x[exp(-x·(S - s)); S >= s] <= exp(K(x) - x·s) · min(1, 1 / (x·sqrt(2·pi·v)) + 2·d)
  //
  // where the first factor is Chernoff's bound and d bounds how far the tilted sum is from a normal one: Berry and Esseen's theorem for summands that differ, d <= 0.56
  // · sum E_x|X - EX|^3 / v^1.5 (Shevtsova, Doklady Mathematics 82, 2010). The expectation is integrated by parts: a normal density is nowhere above 1 / sqrt(2·pi·v).
  double Log10Bound(std::int64_t score) const;
  // Lugannani and Rice's approximation (Adv. Appl. Prob. 12, 1980): a yardstick for the two above, never quoted as a bound.
  double Log10Saddlepoint(std::int64_t score) const;

  std::int64_t min_score() const { return min_score_; }
  std::int64_t max_score() const { return max_score_; }
  double mean() const { return mean_; }
  // The tilt, per step, from 0 on, whose mean is `score`.
  double TiltOf(double score) const { return SolveTilt(score).x; }
  bool exact() const { return !log10_tail_.empty(); }

 private:
  // Of S, `third` being the sum of the symbols'.
  struct TiltedSum : TiltedScore {
    double x = 0;
  };
  TiltedSum At(double x) const;
  TiltedSum SolveTilt(double score) const;
  static double Log10BoundAt(const TiltedSum& tilted, double score);
  void ComputeExact();

  ScoreTable table_;
  std::int64_t min_score_ = 0;
  std::int64_t max_score_ = 0;
  double mean_ = 0;
  std::vector<double> log10_tail_;  // [score - min_score_]; -inf where it underflows, and Log10Bound serves instead
};

// The score that the account which really leaked would have on average, by the table's own posterior: for saying how much more audio would do.
double ExpectedLeakerScore(const ScoreTable& table);

}  // namespace earmark
