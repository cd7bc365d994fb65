#include "services/common/scan/account_stretch.h"

#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

#include "dsp/scoring/score.h"
#include "dsp/tracing/trace_code.h"

namespace earmark {
namespace {

constexpr double kMinAgainst = 3;  // a pause says so much for or against anybody
// Behind other sound, whose time is a gap, symbols that fit by chance sum to this once in e^6 = 400 times.
constexpr double kGapS = 0.5;
constexpr double kCostOfGap = 6;

// The run with the largest sum: of sums[last] - sums[first], first <= last, where gaps within cost kCostOfGap each.
std::pair<std::size_t, std::size_t> HighestRise(const std::vector<double>& sums, const std::vector<double>& at_s) {
  std::pair<std::size_t, std::size_t> best{0, 0};
  double highest = 0;
  std::size_t first = 0;
  double cost = 0;  // of the gaps before symbol i
  double cost_before_first = 0;
  for (std::size_t i = 0; i < at_s.size(); ++i) {
    if (i > 0 && at_s[i] - at_s[i - 1] > kGapS) cost += kCostOfGap;
    if (sums[i] - cost < sums[first] - cost_before_first) {
      first = i;
      cost_before_first = cost;
    }
    const double rise = sums[i + 1] - sums[first] - (cost - cost_before_first);
    if (rise > highest) {
      highest = rise;
      best = {first, i + 1};
    }
  }
  return best;
}

// What each symbol, heard one after the other, says for an account, against chance. With x·s - K(x) for a score s, K(x) being the logarithm of the mean of exp(x·s) over all
// variants, these shares of a stretch sum to Chernoff's exponent of its score where x is the tilt that makes that score the mean. Scores alone would not do: where a
// reader is surer than right, those of the true account sum to less than nothing, and those of others to far less.
class Shares {
 public:
  // What is read of other pieces than `certain` may be of another sound, and fit the account a little by chance.
  Shares(const HypothesisReading& reading, const std::vector<SourcePiece>& certain, const CodeKey& code_key,
         const std::string& account) {
    SymbolLikelihoods heard{.num_variants = reading.num_variants, .symbols = {}};
    std::vector<const HeardSymbol*> symbols;
    auto next = certain.begin();
    double until_s = 0;  // clip time that the pieces before `next` reach to: both are by clip time
    for (const HeardSymbol& symbol : reading.symbols) {
      for (; next != certain.end() && next->alignment.clip_start_s <= symbol.clip_s; ++next)
        until_s = std::max(until_s, next->alignment.clip_end_s);
      if (symbol.clip_s >= until_s) continue;
      heard.symbols.push_back(symbol.likelihood);
      heard.symbols.back().symbol = static_cast<std::int64_t>(symbols.size());
      symbols.push_back(&symbol);
    }
    table_ = MakeScoreTable(heard);
    TraceCode code(code_key, account, reading.num_variants);
    for (const SymbolScores& scores : table_.symbols) {
      const HeardSymbol& symbol = *symbols[static_cast<std::size_t>(scores.symbol)];
      at_s_.push_back(symbol.clip_s);
      steps_.push_back(scores.steps[static_cast<std::size_t>(code.VariantAt(symbol.likelihood.symbol))]);
    }
  }
  const std::vector<double>& at_s() const { return at_s_; }

  // Of symbols [first, last): the tilt whose mean is the account's score.
  double TiltOf(std::size_t first, std::size_t last) const {
    ScoreTable part{.num_variants = table_.num_variants, .step = table_.step, .symbols = {}};
    part.symbols.assign(table_.symbols.begin() + static_cast<std::ptrdiff_t>(first),
                        table_.symbols.begin() + static_cast<std::ptrdiff_t>(last));
    const double score = std::accumulate(steps_.begin() + static_cast<std::ptrdiff_t>(first),
                                         steps_.begin() + static_cast<std::ptrdiff_t>(last), 0.0);
    return ScoreDistribution(part, ScoreDistribution::Tails::kBound).TiltOf(score);
  }

  // [symbol]: the sum of all shares before it.
  std::vector<double> SumsAt(double x) const {
    std::vector<double> sums{0};
    for (std::size_t i = 0; i < steps_.size(); ++i)
      sums.push_back(sums.back() + x * steps_[i] - Tilt(table_.symbols[i], table_.num_variants, x).k0);
    return sums;
  }

 private:
  ScoreTable table_;
  std::vector<double> at_s_;  // [symbol of the table]: when it is heard …
  std::vector<int> steps_;    // … and what the account has there
};

}  // namespace

ClipStretch StretchOfAccount(const HypothesisReading& reading, const CodeKey& code_key, const std::string& account) {
  constexpr int kRounds = 3;  // the tilt is that of the stretch, which the tilt finds
  const std::vector<SourcePiece> certain = CertainPieces(reading.hypothesis);
  const Shares shares(reading, certain, code_key, account);
  const std::vector<double>& at_s = shares.at_s();
  std::pair<std::size_t, std::size_t> rise{0, at_s.size()};
  std::vector<double> sums;
  for (int round = 0; round < kRounds && rise.first < rise.second; ++round) {
    sums = shares.SumsAt(shares.TiltOf(rise.first, rise.second));
    rise = HighestRise(sums, at_s);
  }
  const auto [first, last] = rise;
  if (first == last) return reading.clip;
  // Where no more is against it than this, it may as well go on to the end of the piece.
  const double little = std::max(kMinAgainst, 0.02 * (sums[last] - sums[first]));
  ClipStretch stretch{.from_s = at_s[first], .to_s = at_s[last - 1]};
  for (const SourcePiece& piece : certain) {
    const Alignment& a = piece.alignment;
    const auto index_of = [&](double clip_s) {
      return static_cast<std::size_t>(std::lower_bound(at_s.begin(), at_s.end(), clip_s) - at_s.begin());
    };
    if (a.clip_start_s < stretch.from_s && stretch.from_s < a.clip_end_s &&
        sums[first] - sums[index_of(a.clip_start_s)] > -little)
      stretch.from_s = a.clip_start_s;
    if (a.clip_start_s < stretch.to_s && stretch.to_s < a.clip_end_s && sums[index_of(a.clip_end_s)] - sums[last] > -little)
      stretch.to_s = a.clip_end_s;
  }
  return stretch;
}

}  // namespace earmark
