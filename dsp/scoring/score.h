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
#include <span>
#include <string>
#include <vector>

#include "dsp/core/secret.h"
#include "dsp/scoring/symbol_likelihoods.h"

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

// Deterministic; allocates. Symbols whose variants all score the same are dropped.
ScoreTable MakeScoreTable(const SymbolLikelihoods& likelihoods);

// The distribution of an innocent code's score.
class ScoreDistribution {
 public:
  // Exact up to kMaxExactSymbols symbols (two minutes at the usual settings); beyond that the Chernoff bound, which gives about one decimal digit away but
  // is never too small.
  static constexpr int kMaxExactSymbols = 3000;

  explicit ScoreDistribution(const ScoreTable& table);

  // log10 of the chance that one given innocent account scores `score` steps or more; never above the Chernoff bound, 0 for a score at or
  // below the least possible.
  double Log10Tail(std::int64_t score) const;
  // log10 of min over x > 0 of E exp(x·(S - score)): an upper bound on the tail at any score, whatever the number of symbols.
  double Log10Chernoff(std::int64_t score) const;
  // Lugannani and Rice's approximation (Adv. Appl. Prob. 12, 1980): a yardstick for the two above, never quoted as a bound.
  double Log10Saddlepoint(std::int64_t score) const;

  std::int64_t min_score() const { return min_score_; }
  std::int64_t max_score() const { return max_score_; }
  double mean() const { return mean_; }
  bool exact() const { return !log10_tail_.empty(); }

 private:
  struct Cumulants {
    double k0, k1, k2;  // log moment generating function of S and its first two derivatives
  };
  Cumulants At(double x) const;
  double SolveTilt(double score) const;
  void ComputeExact();

  ScoreTable table_;
  std::int64_t min_score_ = 0;
  std::int64_t max_score_ = 0;
  double mean_ = 0;
  std::vector<double> log10_tail_;  // [score - min_score_]; -inf where it underflows, and Chernoff serves instead
};

// Scores of many accounts' codes, in the order given. About a second for a million accounts and 1,500 symbols.
std::vector<std::int32_t> ScoreAccounts(const ScoreTable& table, const Key& code_key, std::span<const std::string> accounts);

// The score that the account which really leaked would have on average, by the table's own posterior: for saying how much more audio would do.
double ExpectedLeakerScore(const ScoreTable& table);

}  // namespace earmark
