#include "dsp/scoring/score.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "dsp/marking/trace_code.h"

namespace earmark {
namespace {

// Share of symbols at which the channel model is allowed to be plain wrong (a splice, a dropout, an overlapping sound): bounds what one symbol
// can cost the right account.
constexpr double kModelError = 0.004;
constexpr double kFinestStep = 1.0 / 128;
constexpr int kMaxCells = 1 << 16;  // of the exact distribution

}  // namespace

ScoreTable MakeScoreTable(const SymbolLikelihoods& likelihoods) {
  const auto q = static_cast<std::size_t>(likelihoods.num_variants);
  const double range = std::log(static_cast<double>(q)) - std::log(kModelError);
  ScoreTable table;
  table.num_variants = likelihoods.num_variants;
  table.step = std::max(kFinestStep, static_cast<double>(likelihoods.symbols.size()) * range / kMaxCells);
  for (const SymbolLikelihood& symbol : likelihoods.symbols) {
    const auto& l = symbol.log_likelihood;
    const float top = *std::max_element(l.begin(), l.begin() + static_cast<std::ptrdiff_t>(q));
    double sum = 0;
    for (std::size_t k = 0; k < q; ++k) sum += std::exp(static_cast<double>(l[k] - top));
    SymbolScores scores{.symbol = symbol.symbol, .steps = {}};
    for (std::size_t k = 0; k < q; ++k) {
      const double posterior = std::exp(static_cast<double>(l[k] - top)) / sum;
      const double score = std::log((1 - kModelError) * static_cast<double>(q) * posterior + kModelError);
      scores.steps[k] = static_cast<std::int16_t>(std::lround(std::clamp(score / table.step, -32000.0, 32000.0)));
    }
    const bool tells_nothing = std::all_of(scores.steps.begin(), scores.steps.begin() + static_cast<std::ptrdiff_t>(q),
                                           [&](std::int16_t s) { return s == scores.steps[0]; });
    if (!tells_nothing) table.symbols.push_back(scores);
  }
  return table;
}

ScoreDistribution::ScoreDistribution(const ScoreTable& table) : table_(table) {
  const auto q = static_cast<std::ptrdiff_t>(table.num_variants);
  for (const SymbolScores& symbol : table.symbols) {
    const auto [low, high] = std::minmax_element(symbol.steps.begin(), symbol.steps.begin() + q);
    min_score_ += *low;
    max_score_ += *high;
    for (std::ptrdiff_t k = 0; k < q; ++k) mean_ += static_cast<double>(symbol.steps[static_cast<std::size_t>(k)]) / static_cast<double>(q);
  }
  if (table.symbols.size() <= kMaxExactSymbols) ComputeExact();
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

ScoreDistribution::Cumulants ScoreDistribution::At(double x) const {
  const auto q = static_cast<std::size_t>(table_.num_variants);
  Cumulants sum{0, 0, 0};
  for (const SymbolScores& symbol : table_.symbols) {
    double top = -std::numeric_limits<double>::infinity();
    for (std::size_t k = 0; k < q; ++k) top = std::max(top, x * symbol.steps[k]);
    double m0 = 0;
    double m1 = 0;
    double m2 = 0;
    for (std::size_t k = 0; k < q; ++k) {
      const double value = symbol.steps[k];
      const double weight = std::exp(x * value - top);
      m0 += weight;
      m1 += weight * value;
      m2 += weight * value * value;
    }
    const double mean = m1 / m0;
    sum.k0 += top + std::log(m0 / static_cast<double>(q));
    sum.k1 += mean;
    sum.k2 += std::max(0.0, m2 / m0 - mean * mean);
  }
  return sum;
}

// x with K'(x) = score, by bisection (K' is increasing). Capped where the tilted distribution has become a point for our purposes.
double ScoreDistribution::SolveTilt(double score) const {
  double low = 0;
  double high = 1e-3;
  constexpr double kMostTilt = 50;  // per step
  while (high < kMostTilt && At(high).k1 < score) high *= 2;
  for (int i = 0; i < 60; ++i) {
    const double middle = (low + high) / 2;
    (At(middle).k1 < score ? low : high) = middle;
  }
  return (low + high) / 2;
}

double ScoreDistribution::Log10Chernoff(std::int64_t score) const {
  if (static_cast<double>(score) <= mean_) return 0;
  if (score > max_score_) return -std::numeric_limits<double>::infinity();
  const double x = SolveTilt(static_cast<double>(score));
  return std::min(0.0, (At(x).k0 - x * static_cast<double>(score)) / std::numbers::ln10);
}

double ScoreDistribution::Log10Saddlepoint(std::int64_t score) const {
  if (static_cast<double>(score) <= mean_) return 0;  // a ceiling; the far tail is what is asked for
  if (score > max_score_) return -std::numeric_limits<double>::infinity();
  const double x = SolveTilt(static_cast<double>(score));
  const Cumulants k = At(x);
  const double exponent = k.k0 - x * static_cast<double>(score);  // <= 0
  const double w = std::sqrt(std::max(0.0, -2 * exponent));
  // The continuity-corrected form for integers (Daniels, Int. Stat. Rev. 55, 1987).
  const double u = (1 - std::exp(-x)) * std::sqrt(k.k2);
  if (w < 1e-3 || u < 1e-9) return Log10Chernoff(score);
  // log of phi(w)·(1/u - 1/w) + Phi(-w), with phi(w) taken out; Mills' ratio by its continued fraction where erfc underflows.
  const double mills = w < 25 ? std::sqrt(std::numbers::pi / 2) * std::erfc(w / std::numbers::sqrt2) * std::exp(w * w / 2)
                              : 1 / (w + 1 / (w + 2 / (w + 3 / (w + 4 / w))));
  const double factor = 1 / u - 1 / w + mills;
  if (!(factor > 0)) return Log10Chernoff(score);
  const double log_phi = exponent - 0.5 * std::log(2 * std::numbers::pi);
  return std::min(Log10Chernoff(score), (log_phi + std::log(factor)) / std::numbers::ln10);
}

double ScoreDistribution::Log10Tail(std::int64_t score) const {
  if (table_.symbols.empty() || score <= min_score_) return 0;
  if (score > max_score_) return -std::numeric_limits<double>::infinity();
  if (!exact()) return Log10Chernoff(score);
  const double tail = log10_tail_[static_cast<std::size_t>(score - min_score_)];
  return std::isfinite(tail) ? tail : Log10Chernoff(score);
}

namespace {

// The keystream is read a byte at a time: one look-up adds the scores of all symbols in that byte.
struct ByteScores {
  std::int64_t byte = 0;  // of the keystream
  std::array<std::int16_t, 256> sum{};  // of at most 8 symbols of at most 1,000 steps
};

std::vector<ByteScores> MakeByteScores(const ScoreTable& table) {
  const int bits = BitsPerSymbol(table.num_variants);
  const int per_byte = 8 / bits;
  std::vector<ByteScores> bytes;
  for (const SymbolScores& symbol : table.symbols) {
    const std::int64_t byte = symbol.symbol / per_byte;
    const int shift = static_cast<int>(symbol.symbol % per_byte) * bits;
    if (bytes.empty() || bytes.back().byte != byte) bytes.push_back({.byte = byte, .sum = {}});
    for (std::size_t value = 0; value < 256; ++value) {
      const auto variant = (value >> shift) & static_cast<std::size_t>(table.num_variants - 1);
      bytes.back().sum[value] = static_cast<std::int16_t>(bytes.back().sum[value] + symbol.steps[variant]);
    }
  }
  return bytes;
}

// A stretch of keystream without large holes, and the look-ups in it.
struct Run {
  std::int64_t first_block = 0;
  std::int64_t num_blocks = 0;
  std::size_t first_byte = 0;  // in the vector of ByteScores
  std::size_t end_byte = 0;
};

std::vector<Run> MakeRuns(const std::vector<ByteScores>& bytes) {
  constexpr std::int64_t kMostBlocks = 64;  // bounds the buffer; 4 KB stay in the first-level cache
  std::vector<Run> runs;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const std::int64_t block = bytes[i].byte / kCodeBlockBytes;
    if (runs.empty() || block >= runs.back().first_block + kMostBlocks || block > runs.back().first_block + runs.back().num_blocks) {
      runs.push_back({.first_block = block, .num_blocks = 1, .first_byte = i, .end_byte = i});
    }
    runs.back().num_blocks = block - runs.back().first_block + 1;
    runs.back().end_byte = i + 1;
  }
  // libsodium computes eight blocks at a time where the processor allows, and then faster than six one by one.
  for (Run& run : runs) {
    if (run.num_blocks > 4) run.num_blocks = (run.num_blocks + 7) / 8 * 8;
  }
  return runs;
}

}  // namespace

std::vector<std::int32_t> ScoreAccounts(const ScoreTable& table, const Key& code_key, std::span<const std::string> accounts) {
  const std::vector<ByteScores> bytes = MakeByteScores(table);
  const std::vector<Run> runs = MakeRuns(bytes);
  std::int64_t most_blocks = 0;
  for (const Run& run : runs) most_blocks = std::max(most_blocks, run.num_blocks);
  std::vector<std::uint8_t> keystream(static_cast<std::size_t>(most_blocks) * kCodeBlockBytes);
  std::vector<std::int32_t> scores;
  scores.reserve(accounts.size());
  for (const std::string& account : accounts) {
    const Key grant_key = DeriveGrantKey(code_key, account);
    std::int32_t score = 0;
    for (const Run& run : runs) {
      CodeKeystream(grant_key, run.first_block, std::span(keystream).first(static_cast<std::size_t>(run.num_blocks) * kCodeBlockBytes));
      const std::uint8_t* base = keystream.data() - run.first_block * kCodeBlockBytes;
      for (std::size_t i = run.first_byte; i < run.end_byte; ++i) score += bytes[i].sum[base[bytes[i].byte]];
    }
    scores.push_back(score);
  }
  return scores;
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
