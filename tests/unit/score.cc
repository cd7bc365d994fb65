#include "dsp/scoring/score.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "dsp/scoring/account_scorer.h"
#include "dsp/tracing/trace_code.h"
#include "tests/support/marked_stream.h"
#include "tests/support/random.h"

namespace earmark {
namespace {

// Likelihoods as a reader might give them: informative here and there.
SymbolLikelihoods RandomLikelihoods(int num_variants, int num_symbols, double spread, std::uint64_t seed,
                                    std::int64_t first_symbol = 0) {
  Random random(seed);
  SymbolLikelihoods likelihoods{.num_variants = num_variants, .symbols = {}};
  for (int i = 0; i < num_symbols; ++i) {
    SymbolLikelihood symbol{.symbol = first_symbol + i, .log_likelihood = {}};
    for (auto& l : symbol.log_likelihood) l = static_cast<float>(spread * random.Gaussian() - 100);
    likelihoods.symbols.push_back(symbol);
  }
  return likelihoods;
}

// The distribution by going through all codes.
std::map<std::int64_t, double> Enumerate(const ScoreTable& table) {
  std::map<std::int64_t, double> now{{0, 1.0}};
  std::size_t codes = 1;
  for (std::size_t i = 0; i < table.symbols.size(); ++i) codes *= static_cast<std::size_t>(table.num_variants);
  std::map<std::int64_t, double> chance;
  for (std::size_t code = 0; code < codes; ++code) {
    std::int64_t score = 0;
    std::size_t rest = code;
    for (const auto& symbol : table.symbols) {
      score += symbol.steps[rest % static_cast<std::size_t>(table.num_variants)];
      rest /= static_cast<std::size_t>(table.num_variants);
    }
    chance[score] += 1.0 / static_cast<double>(codes);
  }
  return chance;
}

TEST_CASE("Score: a table keeps the order of the likelihoods, and only symbols that tell something", "[score]") {
  SymbolLikelihoods likelihoods{.num_variants = 4, .symbols = {}};
  likelihoods.symbols.push_back({.symbol = 3, .log_likelihood = {0, 0, 0, 0, 99, 99, 99, 99}});
  likelihoods.symbols.push_back({.symbol = 8, .log_likelihood = {-1, 2, 0, -30, 99, 99, 99, 99}});
  likelihoods.symbols.push_back({.symbol = 9, .log_likelihood = {1e6F, 0, 0, 0}});
  const ScoreTable table = MakeScoreTable(likelihoods);
  REQUIRE(table.symbols.size() == 2);
  CHECK(table.symbols[0].symbol == 8);
  CHECK(table.symbols[1].symbol == 9);
  const auto& steps = table.symbols[0].steps;
  CHECK(steps[1] > steps[2]);
  CHECK(steps[2] > steps[0]);
  CHECK(steps[0] > steps[3]);
  // One symbol gives at most log q and costs a bounded amount, however sure the reader is.
  CHECK(table.step * table.symbols[1].steps[0] <= std::log(4) + table.step);
  CHECK(table.step * table.symbols[1].steps[0] > 0.9 * std::log(4));
  CHECK(table.step * table.symbols[1].steps[1] > -20);
  CHECK(table.symbols[1].steps[1] < 0);
}

TEST_CASE("Score: a constant added to a symbol's likelihoods changes nothing", "[score]") {
  SymbolLikelihoods a = RandomLikelihoods(4, 50, 2, 1);
  const ScoreTable before = MakeScoreTable(a);
  for (auto& symbol : a.symbols) {
    for (auto& l : symbol.log_likelihood) l += 64;
  }
  const ScoreTable after = MakeScoreTable(a);
  REQUIRE(before.symbols.size() == after.symbols.size());
  for (std::size_t i = 0; i < before.symbols.size(); ++i) {
    for (std::size_t k = 0; k < 4; ++k) CHECK(std::abs(before.symbols[i].steps[k] - after.symbols[i].steps[k]) <= 1);
  }
}

TEST_CASE("Score: the exact distribution is that of all codes", "[score]") {
  for (const int q : {2, 4, 8}) {
    const int num_symbols = q == 2 ? 12 : q == 4 ? 7 : 5;
    for (const double spread : {0.1, 1.0, 6.0}) {
      const ScoreTable table = MakeScoreTable(RandomLikelihoods(q, num_symbols, spread, static_cast<std::uint64_t>(q)));
      const ScoreDistribution distribution(table);
      REQUIRE(distribution.exact());
      const auto chances = Enumerate(table);
      CHECK(distribution.min_score() == chances.begin()->first);
      CHECK(distribution.max_score() == chances.rbegin()->first);
      double mean = 0;
      double tail = 0;
      for (auto it = chances.rbegin(); it != chances.rend(); ++it) {
        tail += it->second;
        mean += it->second * static_cast<double>(it->first);
        REQUIRE(distribution.Log10Tail(it->first) == Approx(std::log10(tail)).margin(1e-9));
        // Between two scores that occur, the higher one's tail holds.
        if (it->first - 1 >= distribution.min_score() && !chances.contains(it->first - 1) && std::next(it) != chances.rend()) {
          REQUIRE(distribution.Log10Tail(it->first - 1) == Approx(std::log10(tail)).margin(1e-9));
        }
      }
      CHECK(distribution.mean() == Approx(mean).margin(1e-6));
      CHECK(distribution.Log10Tail(distribution.min_score()) == 0);
      CHECK(distribution.Log10Tail(distribution.min_score() - 1000) == 0);
      CHECK(distribution.Log10Tail(distribution.max_score() + 1) == -std::numeric_limits<double>::infinity());
    }
  }
}

TEST_CASE("Score: the bound is never below the exact tail, and the saddle-point close to it", "[score]") {
  for (const int q : {2, 4, 8}) {
    for (const int num_symbols : {60, 400}) {
      const ScoreTable table = MakeScoreTable(RandomLikelihoods(q, num_symbols, 1.2, 77));
      const ScoreDistribution distribution(table);
      REQUIRE(distribution.exact());
      const double mean = distribution.mean();
      double last = 0;
      for (int i = 0; i <= 60; ++i) {
        const auto score = static_cast<std::int64_t>(mean + (static_cast<double>(distribution.max_score()) - mean) * i / 60);
        const double exact = distribution.Log10Tail(score);
        REQUIRE(exact <= last + 1e-12);
        last = exact;
        REQUIRE(exact <= distribution.Log10Bound(score) + 1e-9);
        if (num_symbols == 400 && exact > -10 && exact < -2) REQUIRE(distribution.Log10Bound(score) < exact + 0.6);
        if (exact > -15 && exact < -1)
          REQUIRE(distribution.Log10Saddlepoint(score) == Approx(exact).margin(num_symbols == 60 ? 0.1 : 0.03));
        REQUIRE(distribution.Log10Saddlepoint(score) <= distribution.Log10Bound(score) + 0.03);
      }
    }
  }
}

TEST_CASE("Score: the tail falls with the score, from one to nothing", "[score]") {
  const ScoreDistribution distribution(MakeScoreTable(RandomLikelihoods(4, 120, 0.7, 5)));
  double last = 0;
  for (std::int64_t score = distribution.min_score() - 2; score <= distribution.max_score() + 2; ++score) {
    const double tail = distribution.Log10Tail(score);
    REQUIRE(tail <= last);
    REQUIRE_FALSE(std::isnan(tail));
    last = tail;
  }
  CHECK(last == -std::numeric_limits<double>::infinity());
}

TEST_CASE("Score: far beyond what doubles hold the tail is still finite, monotone and bounded", "[score]") {
  // 2,000 symbols of 2 bits: the chance of the best code is 4^-2000.
  const ScoreTable table = MakeScoreTable(RandomLikelihoods(4, 2000, 12, 6));
  const ScoreDistribution distribution(table);
  double last = 0;
  for (int i = 0; i <= 200; ++i) {
    const auto score = distribution.min_score() + (distribution.max_score() - distribution.min_score()) * i / 200;
    const double tail = distribution.Log10Tail(score);
    REQUIRE(std::isfinite(tail));
    REQUIRE(tail <= last + 1e-9);
    last = tail;
  }
  CHECK(last < -900);
  CHECK(last >= -static_cast<double>(table.symbols.size()) * std::log10(4) - 1e-6);
}

TEST_CASE("Score: tables too large for the exact distribution get a bound, never too small", "[score]") {
  const int too_many = static_cast<int>(kMaxExactSymbols) + 200;
  const ScoreTable large = MakeScoreTable(RandomLikelihoods(4, too_many, 0.5, 8));
  const ScoreDistribution distribution(large);
  CHECK_FALSE(distribution.exact());
  double last = 0;
  for (int i = 0; i <= 30; ++i) {
    const auto score = static_cast<std::int64_t>(distribution.mean()) +
                       (distribution.max_score() - static_cast<std::int64_t>(distribution.mean())) * i / 30;
    const double tail = distribution.Log10Tail(score);
    REQUIRE_FALSE(std::isnan(tail));
    REQUIRE(tail <= last + 1e-6);
    REQUIRE(tail <= distribution.Log10Bound(score) + 1e-12);
    last = tail;
  }
  // A claim about real codes: 20,000 of them. Beyond the score that the saddle-point says one in a hundred reaches, just under 200 are expected, 100 to 400 accepted: chance
  // of failing below 1e-12. The tail that is claimed may be larger, by about a digit, never smaller.
  std::int64_t score = static_cast<std::int64_t>(distribution.mean());
  while (distribution.Log10Saddlepoint(score) > -2) score += 8;
  std::vector<std::string> names;
  for (int i = 0; i < 20'000; ++i) names.push_back(std::to_string(i));
  const auto scores = AccountScorer(TestCodeKey(1), names).Score(large).value();
  const auto beyond = std::count_if(scores.begin(), scores.end(), [&](std::int32_t s) { return s >= score; });
  CHECK(beyond > 100);
  CHECK(beyond < 400);
  CHECK(distribution.Log10Tail(score) >= distribution.Log10Saddlepoint(score) - 1e-9);
  CHECK(distribution.Log10Tail(score) < distribution.Log10Saddlepoint(score) + 1.5);
}

TEST_CASE("Score: nothing read is no evidence", "[score]") {
  const ScoreTable empty = MakeScoreTable({.num_variants = 4, .symbols = {}});
  CHECK(empty.symbols.empty());
  const ScoreDistribution distribution(empty);
  for (const std::int64_t score : {-1, 0, 1}) CHECK(distribution.Log10Tail(score) == 0);
  const std::vector<std::string> names = {"a", "b"};
  CHECK(AccountScorer(TestCodeKey(1), names).Score(empty).value() == std::vector<std::int32_t>{0, 0});
  CHECK(AccountScorer(TestCodeKey(1), {}).Score(empty).value().empty());
  CHECK(ExpectedLeakerScore(empty) == 0);
}

TEST_CASE("Score: accounts' scores are the sums over their trace codes", "[score]") {
  const CodeKey key = TestCodeKey(42);
  std::vector<std::string> names = {"", "a", "b", "a much longer name of an account, with spaces and Ünicode",
                                    std::string(255, 'x')};
  for (int i = 0; i < 60; ++i) names.push_back("account-" + std::to_string(i));
  for (const int q : {2, 4, 8}) {
    SymbolLikelihoods likelihoods = RandomLikelihoods(q, 300, 2, 4);
    Random random(static_cast<std::uint64_t>(q));
    SECTION("all symbols, q = " + std::to_string(q)) {}
    SECTION("every third symbol, q = " + std::to_string(q)) {
      for (std::size_t i = 0; i < likelihoods.symbols.size(); ++i)
        likelihoods.symbols[i].symbol = 7 + 3 * static_cast<std::int64_t>(i);
    }
    SECTION("sparse and far apart, q = " + std::to_string(q)) {
      std::int64_t at = 0;
      for (auto& symbol : likelihoods.symbols)
        symbol.symbol = at += 1 + (random.Below(4) == 0 ? random.Below(1'000'000) : random.Below(3000));
    }
    SECTION("in the hundredth year, q = " + std::to_string(q)) {
      for (auto& symbol : likelihoods.symbols) symbol.symbol += 78'894'000'000;
    }
    const ScoreTable table = MakeScoreTable(likelihoods);
    const auto scores = AccountScorer(key, names).Score(table).value();
    REQUIRE(scores.size() == names.size());
    for (std::size_t i = 0; i < names.size(); ++i) {
      TraceCode code(key, names[i], q);
      std::int32_t naive = 0;
      for (const auto& symbol : table.symbols) naive += symbol.steps[static_cast<std::size_t>(code.VariantAt(symbol.symbol))];
      REQUIRE(scores[i] == naive);
    }
  }
}

TEST_CASE("Score: any number of accounts, along a clip of many blocks with holes", "[score]") {
  const CodeKey key = TestCodeKey(43);
  std::vector<std::string> names;
  for (int i = 0; i < 35; ++i) names.push_back("account-" + std::to_string(i));
  for (const int q : {2, 4, 8}) {
    SymbolLikelihoods likelihoods = RandomLikelihoods(q, 75 * SymbolsPerBlock(q), 2, 5);
    // From within a block, and the hole ends within another.
    const std::int64_t hole = SymbolsPerBlock(q) * 40 + 3;
    std::erase_if(likelihoods.symbols, [&](const SymbolLikelihood& s) {
      return s.symbol < 5 || (s.symbol >= hole && s.symbol < hole + 2 * SymbolsPerBlock(q));
    });
    const ScoreTable table = MakeScoreTable(likelihoods);
    std::vector<std::int32_t> naive;
    for (const std::string& name : names) {
      TraceCode code(key, name, q);
      naive.push_back(0);
      for (const auto& symbol : table.symbols)
        naive.back() += symbol.steps[static_cast<std::size_t>(code.VariantAt(symbol.symbol))];
    }
    for (const std::size_t num_accounts : {1, 2, 15, 16, 17, 31, 32, 33, 35}) {
      const auto scores = AccountScorer(key, std::span(names).first(num_accounts)).Score(table).value();
      CHECK(scores == std::vector<std::int32_t>(naive.begin(), naive.begin() + static_cast<std::ptrdiff_t>(num_accounts)));
    }
  }
}

TEST_CASE("Score: whoever is told how far it is can stop it", "[score]") {
  const ScoreTable table = MakeScoreTable(RandomLikelihoods(4, 40 * 256, 2, 6));  // two runs of blocks
  std::vector<std::string> names;
  for (int i = 0; i < 10'000; ++i) names.push_back("account-" + std::to_string(i));
  const AccountScorer scorer(TestCodeKey(1), names);
  std::vector<double> told;
  REQUIRE(scorer
              .Score(table,
                     [&](double fraction) {
                       told.push_back(fraction);
                       return true;
                     })
              .has_value());
  CHECK(told.size() == 6);
  CHECK(std::is_sorted(told.begin(), told.end()));
  CHECK(told.front() == 0);
  CHECK(told.back() < 1);
  int num_asked = 0;
  const auto stopped = scorer.Score(table, [&](double) { return ++num_asked < 3; });
  REQUIRE_FALSE(stopped.has_value());
  CHECK(stopped.error().code == ErrorCode::kCancelled);
  CHECK(num_asked == 3);
}

TEST_CASE("Score: what the leaker is expected to score lies between chance and the best", "[score]") {
  const ScoreTable table = MakeScoreTable(RandomLikelihoods(4, 200, 2, 9));
  const ScoreDistribution distribution(table);
  const double expected = ExpectedLeakerScore(table);
  CHECK(expected > distribution.mean());
  CHECK(expected <= static_cast<double>(distribution.max_score()));
  CHECK(expected > 0);
}

}  // namespace
}  // namespace earmark
