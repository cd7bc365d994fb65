// What a store's findings say of an account together.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "db/store.h"
#include "dsp/core/result.h"

namespace earmark {

struct AccountEvidence {
  std::string account;
  std::int64_t num_streams = 0;  // in which it was accused
  std::int64_t finding_id = 0;   // the strongest
  double log10_bound = 0;        // of that one
  // … and of all together, over all scans of the store (dsp/scoring/combined_evidence.h)
  double log10_combined_bound = 0;
  std::int64_t first_seen_unix_us = 0;
  std::int64_t last_seen_unix_us = 0;

  bool operator==(const AccountEvidence&) const = default;
};

// Of each account of `page`, which is what QueryLeaks gave for `filter`, over all the streams that the filter leaves, also those before and after the page.
// By account. Errors are the store's.
Result<std::vector<AccountEvidence>> EvidenceOf(Store& store, const LeakFilter& filter, const std::vector<Leak>& page);

}  // namespace earmark
