// Scans that wait for a detector: a queue that survives restarts and that any number of detectors may share.
//
// A detector claims a scan under a lease and a new attempt number; what it says of the scan afterwards names that attempt. When the lease
// runs out the scan may be claimed again, and the earlier attempt's words are refused, so that every scan ends with one finding.
//
// Thread safety: as Store (store.h). Times are microseconds since 1970 UTC.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "db/finding_store.h"
#include "dsp/core/result.h"

namespace earmark {

enum class ScanState { kQueued = 0, kRunning = 1, kDone = 2, kCancelled = 3, kFailed = 4 };

struct NewScan {
  std::string id;                          // chosen by the caller, unique
  std::string idempotency_key;             // empty: none
  std::string request_digest;              // tells whether a second request of the same key is the same one
  std::string name;                        // of the clip, for people
  std::optional<std::string> stream = {};  // search this stream alone
  std::string case_label = {};
  double max_false_accusation = 1e-6;
  std::string clip_sha256;        // hex
  std::int64_t keep_clip_us = 0;  // how long the clip is kept once the scan has a finding; >= 0
};

struct ScanRecord : NewScan {
  std::int64_t created_unix_us = 0;
  ScanState state = ScanState::kQueued;
  int attempt = 0;       // how often it was claimed
  int num_released = 0;  // … and given back unharmed
  std::string worker = {};
  bool cancel_wanted = false;
  std::string stage = {};
  double fraction = 0;                          // of the stage, 0 … 1
  std::optional<std::int64_t> finding_id = {};  // where state is kDone
  std::string error = {};                       // where state is kFailed
};

class JobQueue {
 public:
  virtual ~JobQueue() = default;

  // Gives a part of the clip's file, counted from 0: kClipPartBytes of it, less at the end, none beyond. It may be asked for the same part again, since
  // a transaction may have to run again. The span is valid until the next call.
  static constexpr std::size_t kClipPartBytes = 1 << 20;
  using ClipSource = std::function<Result<std::span<const std::uint8_t>>(std::int64_t part)>;
  using ClipSink = std::function<Result<void>(std::span<const std::uint8_t>)>;

  // Puts a scan and its clip into the queue, in one transaction. With an idempotency key that is known: the scan of that key if the digest
  // is the same, else kAlreadyExists. An error of `clip` is passed on, and nothing is kept.
  virtual Result<ScanRecord> EnqueueScan(const NewScan& scan, const ClipSource& clip) = 0;
  // kNotFound: no such scan.
  virtual Result<ScanRecord> GetScan(std::string_view scan_id) = 0;
  // The scan that has waited longest, now running; none where none waits. `lease_us`: how long without RenewScan.
  virtual Result<std::optional<ScanRecord>> ClaimScan(std::string_view worker, std::int64_t lease_us) = 0;
  // The clip, part by part, of a scan that is not over or whose clip is kept for a while. kNotFound: there is none, or none any more.
  virtual Result<void> ReadClip(std::string_view scan_id, const ClipSink& sink) = 0;
  // Extends the lease and tells how far the scan is. The record says whether somebody wants it cancelled. kNotFound;
  // kFailedPrecondition: another attempt has it, or it is over.
  virtual Result<ScanRecord> RenewScan(std::string_view scan_id, int attempt, std::int64_t lease_us, std::string_view stage,
                                       double fraction) = 0;
  // Keeps the finding, ends the scan and drops its clip unless that is to be kept, in one transaction; the finding's id. Errors as RenewScan.
  virtual Result<std::int64_t> FinishScan(std::string_view scan_id, int attempt, const FindingRecord& finding) = 0;
  // Ends the scan without a finding, and drops the clip: kFailed with the reason, or kCancelled if that was wanted. Errors as RenewScan.
  virtual Result<void> AbandonScan(std::string_view scan_id, int attempt, std::string_view error) = 0;
  // Puts a running scan back into the queue, for a detector that stops. Errors as RenewScan.
  virtual Result<void> ReleaseScan(std::string_view scan_id, int attempt) = 0;
  // A waiting scan is cancelled at once, a running one when its detector next renews, or when its lease has run out; one that is over stays
  // as it is. kNotFound.
  virtual Result<ScanRecord> CancelScan(std::string_view scan_id) = 0;
  // Drops one clip that has been kept for long enough; false: there is none. Of several callers each drops another.
  virtual Result<bool> DropExpiredClip() = 0;
  // How many wait, and how many run.
  struct QueueLength {
    std::int64_t waiting = 0;
    std::int64_t running = 0;
  };
  virtual Result<QueueLength> CountScans() = 0;
};

}  // namespace earmark
