#include "services/common/scan/scoring.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <map>
#include <optional>
#include <utility>

#include "dsp/scoring/account_scorer.h"
#include "services/common/marking.h"
#include "services/common/scan/account_stretch.h"

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

// What all candidates of a reading are scored by: a stretch, or all that was heard.
using ScoredStretch = std::optional<ClipStretch>;

ScoreTable TableOf(const HypothesisReading& reading, const ScoredStretch& what) {
  return MakeScoreTable(what ? HeardIn(reading, *what) : HeardInAll(reading));
}

// Of the chance that may be taken, what stretches get among them all, where there are any (a weighted Bonferroni bound): so hardly anything is taken from what all of the clip
// can show, and a stretch by itself needs two digits more.
constexpr double kShareOfStretches = 0.01;

// What to score of a reading, all of it first. Stretches that could not name anybody, by how much was read in them, are left out, since each counts as a trial.
std::vector<ScoredStretch> WhatToScore(const HypothesisReading& reading, std::size_t num_candidates,
                                       double max_false_accusation) {
  constexpr std::size_t kMaxStretches = 200;
  constexpr double kMaxLookedUp = 2e10;  // candidates times symbols of all stretches: some ten seconds
  std::vector<ScoredStretch> scored{std::nullopt};
  const double wanted = std::log10(max_false_accusation * kShareOfStretches) -
                        std::log10(static_cast<double>(std::max<std::size_t>(1, num_candidates)));
  double looked_up = 0;
  for (const ClipStretch& stretch : StretchesToScore(reading, kMaxStretches)) {
    const ScoreTable table = TableOf(reading, stretch);
    const ScoreDistribution distribution(table, ScoreDistribution::Tails::kBound);
    if (distribution.Log10Bound(std::llround(ExpectedLeakerScore(table))) > wanted) continue;
    looked_up += static_cast<double>(num_candidates) * static_cast<double>(table.symbols.size());
    if (looked_up > kMaxLookedUp) break;
    scored.push_back(stretch);
  }
  return scored;
}

class Scoring {
 public:
  Scoring(Store& store, const MasterKey& master, const std::vector<HypothesisReading>& readings, double max_false_accusation,
          ScanContext& context)
      : store_(store), master_(master), readings_(readings), max_false_accusation_(max_false_accusation), context_(context) {}

  Result<Scores> Run() {
    std::map<std::string, StreamCandidates> by_stream;
    for (std::size_t r = 0; r < readings_.size(); ++r) {
      if (auto go_on = context_.Report("scoring", 0); !go_on) return Pass(go_on);
      auto candidates = CandidatesOf(store_, readings_[r]);
      if (!candidates) return Pass(candidates);
      to_score_.push_back(WhatToScore(readings_[r], candidates->size(), max_false_accusation_));
      num_tables_ += to_score_.back().size();
      scores_.of.push_back({.candidates = static_cast<std::int64_t>(candidates->size())});
      scores_.trials += scores_.of.back().candidates;
      stretch_trials_ += scores_.of.back().candidates * static_cast<std::int64_t>(to_score_.back().size() - 1);
      by_stream[readings_[r].stream].Add(r, std::move(*candidates));
    }
    for (const auto& [stream, candidates] : by_stream) {
      if (auto scored = ScoreStream(stream, candidates); !scored) return Pass(scored);
    }
    return std::move(scores_);
  }

 private:
  // By how much the bound is weaker than one account's chance in one table.
  double Log10Trials(const ScoredStretch& what) const {
    if (what) return std::log10(static_cast<double>(stretch_trials_) / kShareOfStretches);
    const double share = stretch_trials_ > 0 ? 1 - kShareOfStretches : 1;
    return std::log10(static_cast<double>(std::max<std::int64_t>(1, scores_.trials)) / share);
  }

  // All readings of a stream are scored with its accounts' keys derived once.
  Result<void> ScoreStream(const std::string& stream, const StreamCandidates& candidates) {
    const auto record = store_.GetStream(stream);
    if (!record) return Pass(record);
    const auto keys = KeysOf(*record, master_);
    if (!keys) return Pass(keys);
    const CodeKey& code_key = keys->code;
    const AccountScorer scorer(code_key, candidates.accounts());
    named_.clear();
    for (const auto& of : candidates.readings()) {
      for (const ScoredStretch& what : to_score_[of.reading]) {
        if (auto scored = ScoreTableOf(what, of, candidates.accounts(), scorer); !scored) return scored;
        ++num_scored_;
      }
    }
    for (auto& [account, named] : named_) {
      const ClipStretch stretch = StretchOfAccount(readings_[named.reading], code_key, account);
      named.accusation.clip_start_s = stretch.from_s;
      named.accusation.clip_end_s = stretch.to_s;
      scores_.accusations.push_back(std::move(named.accusation));
    }
    std::sort(scores_.accusations.begin(), scores_.accusations.end(),
              [](const Accusation& a, const Accusation& b) { return a.log10_bound < b.log10_bound; });
    return {};
  }

  Result<void> ScoreTableOf(const ScoredStretch& what, const StreamCandidates::OfReading& of, const Accounts& accounts,
                            const AccountScorer& scorer) {
    const ScoreTable table = TableOf(readings_[of.reading], what);
    const auto advance = [&](double fraction) {
      return context_.Report("scoring", (static_cast<double>(num_scored_) + fraction) / static_cast<double>(num_tables_))
          .has_value();
    };
    const auto scores = scorer.Score(table, advance);
    if (!scores) return Pass(scores);
    const ScoreDistribution distribution(table,
                                         what ? ScoreDistribution::Tails::kBound : ScoreDistribution::Tails::kExactWherePossible);
    const std::int64_t min = distribution.MinScore(std::log10(max_false_accusation_) - Log10Trials(what));
    ScoredReading& scored = scores_.of[of.reading];
    for (std::size_t i = 0; i < accounts.size(); ++i) {
      if ((*scores)[i] < min || !of.is_candidate[i]) continue;
      const double log10_p = distribution.Log10Tail((*scores)[i]);
      scored.accuses = true;
      Name({.account = accounts[i],
            .stream = readings_[of.reading].stream,
            .log10_p = log10_p,
            .log10_bound = std::min(0.0, log10_p + Log10Trials(what)),
            .score = table.step * (*scores)[i]},
           of.reading);
    }
    if (what) return {};
    scored.symbols = static_cast<std::int64_t>(table.symbols.size());
    scored.expected_log10_p = distribution.Log10Tail(std::llround(ExpectedLeakerScore(table)));
    return {};
  }

  // Several readings of one stream, and stretches of them, may name the same account; the strongest is told.
  void Name(Accusation accusation, std::size_t reading) {
    const auto [known, is_new] = named_.try_emplace(accusation.account);
    if (is_new || accusation.log10_bound < known->second.accusation.log10_bound)
      known->second = {.reading = reading, .accusation = std::move(accusation)};
  }

  Store& store_;
  const MasterKey& master_;
  const std::vector<HypothesisReading>& readings_;
  const double max_false_accusation_;
  ScanContext& context_;
  std::vector<std::vector<ScoredStretch>> to_score_;  // [reading]
  std::int64_t stretch_trials_ = 0;                   // scores of stretches that are compared
  std::size_t num_tables_ = 0;
  std::size_t num_scored_ = 0;
  struct Named {
    std::size_t reading = 0;
    Accusation accusation;
  };
  std::map<std::string, Named> named_;  // of the stream that is being scored
  Scores scores_;
};

}  // namespace

Result<Scores> ScoreReadings(Store& store, const MasterKey& master, const std::vector<HypothesisReading>& readings,
                             double max_false_accusation, ScanContext& context) {
  return Scoring(store, master, readings, max_false_accusation, context).Run();
}

}  // namespace earmark
