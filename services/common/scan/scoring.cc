#include "services/common/scan/scoring.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <map>
#include <utility>

#include "dsp/scoring/account_scorer.h"
#include "services/common/marking.h"

namespace earmark {
namespace {

using Accounts = std::vector<std::string>;  // sorted, each once

// Accounts with a grant at some time of the stretch.
Result<Accounts> CandidatesOf(Store& store, const HypothesisReading& reading) {
  const auto from_us = static_cast<std::int64_t>(std::max(0.0, reading.from_stream_s) * 1e6);
  auto grants = store.ListGrants(reading.stream, from_us, static_cast<std::int64_t>(reading.to_stream_s * 1e6) + 1);
  if (!grants) return Pass(grants);
  Accounts accounts;
  accounts.reserve(grants->size());
  for (Grant& grant : *grants) {  // sorted by account
    if (accounts.empty() || accounts.back() != grant.account) accounts.push_back(std::move(grant.account));
  }
  return accounts;
}

class Scoring {
 public:
  Scoring(Store& store, const MasterKey& master, const std::vector<HypothesisReading>& readings, double max_false_accusation, ScanContext& context)
      : store_(store), master_(master), readings_(readings), max_false_accusation_(max_false_accusation), context_(context) {}

  Result<Scores> Run() {
    std::map<std::string, std::vector<std::size_t>> by_stream;
    for (std::size_t r = 0; r < readings_.size(); ++r) {
      auto candidates = CandidatesOf(store_, readings_[r]);
      if (!candidates) return Pass(candidates);
      scores_.of.push_back({.candidates = static_cast<std::int64_t>(candidates->size())});
      scores_.trials += scores_.of.back().candidates;
      candidates_.push_back(std::move(*candidates));
      by_stream[readings_[r].stream].push_back(r);
    }
    for (const auto& [stream, of_stream] : by_stream) {
      if (auto scored = ScoreStream(stream, of_stream); !scored) return Pass(scored);
    }
    KeepStrongest();
    return std::move(scores_);
  }

 private:
  double Log10Trials() const { return std::log10(static_cast<double>(std::max<std::int64_t>(1, scores_.trials))); }

  // All readings of a stream are scored with its accounts' keys derived once.
  Result<void> ScoreStream(const std::string& stream, const std::vector<std::size_t>& of_stream) {
    const auto record = store_.GetStream(stream);
    if (!record) return Pass(record);
    const auto keys = KeysOf(*record, master_);
    if (!keys) return Pass(keys);
    Accounts accounts;
    for (const std::size_t r : of_stream) {
      if (accounts == candidates_[r]) continue;
      Accounts both;
      std::set_union(accounts.begin(), accounts.end(), candidates_[r].begin(), candidates_[r].end(), std::back_inserter(both));
      accounts = std::move(both);
    }
    const AccountScorer scorer(keys->code, accounts);
    for (const std::size_t r : of_stream) {
      if (auto scored = ScoreReading(r, accounts, scorer); !scored) return scored;
      ++num_scored_;
    }
    return {};
  }

  Result<void> ScoreReading(std::size_t r, const Accounts& accounts, const AccountScorer& scorer) {
    const HypothesisReading& reading = readings_[r];
    const ScoreTable table = MakeScoreTable(reading.likelihoods);
    const auto advance = [&](double fraction) {
      return context_.Report("scoring", (static_cast<double>(num_scored_) + fraction) / static_cast<double>(readings_.size())).has_value();
    };
    const auto scores = scorer.Score(table, advance);
    if (!scores) return Pass(scores);
    const ScoreDistribution distribution(table);
    const std::int64_t least = distribution.LeastScore(std::log10(max_false_accusation_) - Log10Trials());
    ScoredReading& scored = scores_.of[r];
    for (std::size_t i = 0; i < accounts.size(); ++i) {
      if ((*scores)[i] < least || !std::binary_search(candidates_[r].begin(), candidates_[r].end(), accounts[i])) continue;
      const double log10_p = distribution.Log10Tail((*scores)[i]);
      scored.accuses = true;
      scores_.accusations.push_back({.account = accounts[i],
                                     .stream = reading.stream,
                                     .log10_p = log10_p,
                                     .log10_bound = std::min(0.0, log10_p + Log10Trials()),
                                     .score = table.step * (*scores)[i],
                                     .clip_start_s = reading.hypothesis.pieces.front().alignment.clip_start_s,
                                     .clip_end_s = reading.clip_end_s});
    }
    scored.symbols = static_cast<std::int64_t>(table.symbols.size());
    scored.expected_log10_p = distribution.Log10Tail(std::llround(ExpectedLeakerScore(table)));
    return {};
  }

  // Two readings of one stream may both name the same account; the stronger one is told.
  void KeepStrongest() {
    auto& accusations = scores_.accusations;
    std::sort(accusations.begin(), accusations.end(), [](const Accusation& a, const Accusation& b) { return a.log10_p < b.log10_p; });
    for (std::size_t i = 0; i < accusations.size(); ++i) {
      accusations.erase(std::remove_if(accusations.begin() + static_cast<std::ptrdiff_t>(i) + 1, accusations.end(),
                                       [&](const Accusation& a) { return a.account == accusations[i].account && a.stream == accusations[i].stream; }),
                        accusations.end());
    }
  }

  Store& store_;
  const MasterKey& master_;
  const std::vector<HypothesisReading>& readings_;
  const double max_false_accusation_;
  ScanContext& context_;
  std::vector<Accounts> candidates_;  // [reading]
  std::size_t num_scored_ = 0;
  Scores scores_;
};

}  // namespace

Result<Scores> ScoreReadings(Store& store, const MasterKey& master, const std::vector<HypothesisReading>& readings, double max_false_accusation,
                             ScanContext& context) {
  return Scoring(store, master, readings, max_false_accusation, context).Run();
}

}  // namespace earmark
