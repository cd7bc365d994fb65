// Findings: what scans concluded, and whom they accuse.
//
// Thread safety: as Store (store.h). Times are microseconds since 1970 UTC.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "dsp/core/result.h"

namespace earmark {

struct AccusationRecord {
  std::string account;
  std::string stream;
  double log10_p = 0;
  double log10_bound = 0;
};

struct FindingRecord {
  std::int64_t id = 0;               // set when it is added, ascending, never used again
  std::int64_t created_unix_us = 0;  // set when it is added
  std::string clip_name;             // as given by the user, for people
  std::string clip_sha256;           // hex, of the file's bytes
  std::string verdict;               // accused | no_accusation | unknown_audio | unreadable
  std::string report_json;           // the whole `scan --json` object
  std::vector<AccusationRecord> accusations;
  std::string case_label = {};  // the investigator's; may be empty
  std::string scan_id = {};     // of the job that made it, set by FinishScan; empty for a scan of the command line's
  double alpha_spent = 0;       // the scan's bound on the chance of accusing anybody innocent, 0 … 1; 0 where nobody was scored
  std::int64_t num_scored = 0;  // in how many streams it scored anybody
};

enum class FindingOrder { kOldestFirst, kNewestFirst };

// Fields that are not set do not filter.
struct FindingFilter {
  std::optional<std::string> account = {};  // with an accusation of this account
  std::optional<std::string> stream = {};   // with an accusation in this stream
  std::optional<std::string> verdict = {};
  std::int64_t since_unix_us = 0;
  std::int64_t after_id = 0;  // for paging: ids beyond this one, in the order asked for; 0: from the first
  int limit = 1000;           // 1 to 10000
  std::optional<std::string> case_label = {};
  std::optional<std::int64_t> until_unix_us = {};  // exclusive
  FindingOrder order = FindingOrder::kOldestFirst;
};

// All that is known against one account in one stream.
struct Leak {
  std::string account;
  std::string stream;
  std::int64_t finding_id = 0;  // the strongest
  double log10_bound = 0;       // of that one
  std::int64_t first_seen_unix_us = 0;
  std::int64_t last_seen_unix_us = 0;

  bool operator==(const Leak&) const = default;
};

struct LeakFilter {
  std::optional<std::string> account = {};
  std::optional<std::string> stream = {};
  std::optional<std::string> case_label = {};
  std::int64_t since_unix_us = 0;                  // findings made at or after
  std::optional<std::int64_t> until_unix_us = {};  // … and before
  // for paging: what comes after this account and stream; empty: from the first
  std::string after_account = {};
  std::string after_stream = {};
  int limit = 1000;  // 1 to 10000
};

// What scans spent of the chance of accusing anybody innocent.
struct AlphaSpent {
  double alpha = 0;            // the sum: bounds the chance that any of these scans accused anybody innocent; may be above 1
  std::int64_t num_scans = 0;  // those that spent any

  bool operator==(const AlphaSpent&) const = default;
};

class FindingStore {
 public:
  virtual ~FindingStore() = default;

  virtual Result<std::int64_t> AddFinding(const FindingRecord& finding) = 0;
  virtual Result<std::vector<FindingRecord>> ListFindings(const FindingFilter& filter) = 0;
  // kNotFound: no such finding.
  virtual Result<FindingRecord> GetFinding(std::int64_t id) = 0;
  // By account, then stream.
  virtual Result<std::vector<Leak>> QueryLeaks(const LeakFilter& filter) = 0;
  // Of the findings made at or after `since_unix_us`, and before `until_unix_us` if that is set.
  virtual Result<AlphaSpent> SumAlphaSpent(std::int64_t since_unix_us, std::optional<std::int64_t> until_unix_us) = 0;
  // Sum of num_scored over all findings that there ever were.
  virtual Result<std::int64_t> SumScored() = 0;
};

}  // namespace earmark
