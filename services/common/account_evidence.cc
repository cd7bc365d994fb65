#include "services/common/account_evidence.h"

#include <algorithm>
#include <span>

#include "dsp/scoring/combined_evidence.h"

namespace earmark {
namespace {

// Of all leaks of one account.
AccountEvidence SumUp(std::span<const Leak> leaks, std::int64_t num_scored) {
  AccountEvidence evidence{.account = leaks[0].account,
                           .num_streams = static_cast<std::int64_t>(leaks.size()),
                           .first_seen_unix_us = leaks[0].first_seen_unix_us};
  std::vector<double> bounds;
  for (const Leak& leak : leaks) {
    bounds.push_back(leak.log10_bound);
    if (evidence.finding_id == 0 || leak.log10_bound < evidence.log10_bound) {
      evidence.finding_id = leak.finding_id;
      evidence.log10_bound = leak.log10_bound;
    }
    evidence.first_seen_unix_us = std::min(evidence.first_seen_unix_us, leak.first_seen_unix_us);
    evidence.last_seen_unix_us = std::max(evidence.last_seen_unix_us, leak.last_seen_unix_us);
  }
  evidence.log10_combined_bound = CombinedLog10Bound(bounds, num_scored);
  return evidence;
}

Result<std::vector<Leak>> AllOf(Store& store, LeakFilter filter, const std::string& account) {
  filter.account = account;
  filter.after_account.clear();
  filter.after_stream.clear();
  filter.limit = 10000;
  std::vector<Leak> all;
  for (;;) {
    auto leaks = store.QueryLeaks(filter);
    if (!leaks) return Pass(leaks);
    all.insert(all.end(), leaks->begin(), leaks->end());
    if (static_cast<int>(leaks->size()) < filter.limit) return all;
    filter.after_account = account;
    filter.after_stream = all.back().stream;
  }
}

}  // namespace

Result<std::vector<AccountEvidence>> EvidenceOf(Store& store, const LeakFilter& filter, const std::vector<Leak>& page) {
  const auto num_scored = store.SumScored();
  if (!num_scored) return Pass(num_scored);
  std::vector<AccountEvidence> evidence;
  for (auto begin = page.begin(); begin != page.end();) {
    const auto end = std::find_if(begin, page.end(), [&](const Leak& leak) { return leak.account != begin->account; });
    // The first one may have begun on the page before, the last may go on after this one.
    const bool is_cut = (begin == page.begin() && begin->account == filter.after_account) || end == page.end();
    if (is_cut) {
      const auto all = AllOf(store, filter, begin->account);
      if (!all) return Pass(all);
      if (!all->empty()) evidence.push_back(SumUp(*all, *num_scored));
    } else {
      evidence.push_back(SumUp({begin, end}, *num_scored));
    }
    begin = end;
  }
  return evidence;
}

}  // namespace earmark
