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

// Which of `all` are among `some`, all of whom are in it.
std::vector<bool> MarksOf(const Accounts& some, const Accounts& all) {
  std::vector<bool> marks(all.size(), false);
  auto next = some.begin();
  for (std::size_t i = 0; i < all.size() && next != some.end(); ++i) {
    if (all[i] != *next) continue;
    marks[i] = true;
    ++next;
  }
  return marks;
}

// The candidates of one stream's readings. Names are kept once, however many readings there are: of a million accounts they take a hundred megabytes.
class StreamCandidates {
 public:
  struct OfReading {
    std::size_t reading = 0;
    std::vector<bool> is_candidate;  // [account]
  };

  void Add(std::size_t reading, Accounts candidates) {
    if (readings_.empty()) {
      accounts_ = std::move(candidates);
      readings_.push_back({.reading = reading, .is_candidate = std::vector<bool>(accounts_.size(), true)});
      return;
    }
    if (candidates != accounts_) Include(candidates);
    readings_.push_back({.reading = reading, .is_candidate = MarksOf(candidates, accounts_)});
  }

  const Accounts& accounts() const { return accounts_; }
  const std::vector<OfReading>& readings() const { return readings_; }

 private:
  void Include(const Accounts& candidates) {
    Accounts both;
    std::set_union(accounts_.begin(), accounts_.end(), candidates.begin(), candidates.end(), std::back_inserter(both));
    const std::vector<bool> were_there = MarksOf(accounts_, both);
    for (OfReading& of : readings_) {
      std::vector<bool> is_candidate(both.size(), false);
      std::size_t before = 0;
      for (std::size_t i = 0; i < both.size(); ++i) {
        if (were_there[i]) is_candidate[i] = of.is_candidate[before++];
      }
      of.is_candidate = std::move(is_candidate);
    }
    accounts_ = std::move(both);
  }

  Accounts accounts_;
  std::vector<OfReading> readings_;
};

class Scoring {
 public:
  Scoring(Store& store, const MasterKey& master, const std::vector<HypothesisReading>& readings, double max_false_accusation, ScanContext& context)
      : store_(store), master_(master), readings_(readings), max_false_accusation_(max_false_accusation), context_(context) {}

  Result<Scores> Run() {
    std::map<std::string, StreamCandidates> by_stream;
    for (std::size_t r = 0; r < readings_.size(); ++r) {
      if (auto go_on = context_.Report("scoring", 0); !go_on) return Pass(go_on);
      auto candidates = CandidatesOf(store_, readings_[r]);
      if (!candidates) return Pass(candidates);
      scores_.of.push_back({.candidates = static_cast<std::int64_t>(candidates->size())});
      scores_.trials += scores_.of.back().candidates;
      by_stream[readings_[r].stream].Add(r, std::move(*candidates));
    }
    for (const auto& [stream, candidates] : by_stream) {
      if (auto scored = ScoreStream(stream, candidates); !scored) return Pass(scored);
    }
    KeepStrongest();
    return std::move(scores_);
  }

 private:
  double Log10Trials() const { return std::log10(static_cast<double>(std::max<std::int64_t>(1, scores_.trials))); }

  // All readings of a stream are scored with its accounts' keys derived once.
  Result<void> ScoreStream(const std::string& stream, const StreamCandidates& candidates) {
    const auto record = store_.GetStream(stream);
    if (!record) return Pass(record);
    const auto keys = KeysOf(*record, master_);
    if (!keys) return Pass(keys);
    const AccountScorer scorer(keys->code, candidates.accounts());
    for (const auto& of : candidates.readings()) {
      if (auto scored = ScoreReading(of, candidates.accounts(), scorer); !scored) return scored;
      ++num_scored_;
    }
    return {};
  }

  Result<void> ScoreReading(const StreamCandidates::OfReading& of, const Accounts& accounts, const AccountScorer& scorer) {
    const HypothesisReading& reading = readings_[of.reading];
    const ScoreTable table = MakeScoreTable(reading.likelihoods);
    const auto advance = [&](double fraction) {
      return context_.Report("scoring", (static_cast<double>(num_scored_) + fraction) / static_cast<double>(readings_.size())).has_value();
    };
    const auto scores = scorer.Score(table, advance);
    if (!scores) return Pass(scores);
    const ScoreDistribution distribution(table);
    const std::int64_t least = distribution.LeastScore(std::log10(max_false_accusation_) - Log10Trials());
    ScoredReading& scored = scores_.of[of.reading];
    for (std::size_t i = 0; i < accounts.size(); ++i) {
      if ((*scores)[i] < least || !of.is_candidate[i]) continue;
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
  std::size_t num_scored_ = 0;
  Scores scores_;
};

}  // namespace

Result<Scores> ScoreReadings(Store& store, const MasterKey& master, const std::vector<HypothesisReading>& readings, double max_false_accusation,
                             ScanContext& context) {
  return Scoring(store, master, readings, max_false_accusation, context).Run();
}

}  // namespace earmark
