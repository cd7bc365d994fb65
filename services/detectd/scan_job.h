// Carrying out one scan that was claimed: from the clip in the store to the finding in the store.
#pragma once

#include <cstdint>
#include <string>

#include "db/store.h"
#include "dsp/media/key_file.h"
#include "services/common/scan/scan.h"
#include "services/detectd/scan_lease.h"

namespace earmark::detectd {

// A scan that was begun so often is not begun again: whatever its clip does to the process, it has done it each time.
inline constexpr int kMaxAttempts = 3;

// For one thread. Everything it is given must outlive it.
class ScanJob {
 public:
  // `settle_us`: see WorkerOptions.
  ScanJob(Store& store, const MasterKey& master, const ScanRecord& scan, ScanLease& lease, std::int64_t settle_us)
      : store_(store), master_(master), scan_(scan), lease_(lease), settle_us_(settle_us) {}

  // How it ended: a verdict, or cancelled, failed, released (put back into the queue), lost (another worker has it, or will have it when the
  // lease is over). Error: the store could not be told, and the scan will be done again.
  Result<std::string> Run();

 private:
  Result<FindingRecord> Examine();
  bool Advance(const std::string& stage, double fraction);
  Result<ScanReport> Scan(const ClipSignals& clip);
  Result<bool> SoundMayCome();
  FindingRecord FindingFrom(const ScanReport& report) const;
  FindingRecord Unreadable(const std::string& reason) const;
  Result<std::string> Keep(const FindingRecord& finding);
  Result<std::string> GiveUp(const Error& error);

  Store& store_;
  const MasterKey& master_;
  const ScanRecord& scan_;
  ScanLease& lease_;
  const std::int64_t settle_us_;
};

}  // namespace earmark::detectd
