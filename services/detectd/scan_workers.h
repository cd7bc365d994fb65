// Threads that carry out the scans that wait in the store.
#pragma once

#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include "db/store.h"
#include "dsp/media/key_file.h"
#include "services/common/scan/catalog.h"
#include "services/common/server/metrics.h"
#include "services/detectd/drain_signal.h"
#include "services/detectd/worker_options.h"

namespace earmark::detectd {

// Each worker claims a scan under a lease, decodes the clip, scans it and stores the finding; any number of workers, in any number of processes,
// may share a store. What has been kept for long enough they drop (expiry.h). The fingerprints of all streams stay in memory, and are kept up to date while nothing is scanned, too. A scan whose worker dies is claimed again when its lease is over. Workers outlive trouble with the store: they try again.
class ScanWorkers {
 public:
  // Starts them. `metrics` must outlive it; the store must exist.
  ScanWorkers(WorkerOptions options, MasterKey master, server::Metrics& metrics);
  ScanWorkers(const ScanWorkers&) = delete;
  ScanWorkers& operator=(const ScanWorkers&) = delete;
  // Drains.
  ~ScanWorkers();

  // Puts running scans back into the queue and returns when all workers have ended. Again: does nothing. From one thread at a time.
  void Drain();

 private:
  void Work(int number);
  Result<void> CarryOut(Store& store, const ScanRecord& scan);
  void CountQueue();
  void KeepWarm();
  void DropExpired();

  const WorkerOptions options_;
  const MasterKey master_;
  server::Metrics& metrics_;
  FingerprintCatalog catalog_;  // these two are shared by all
  decode::DecoderHost decoders_;
  DrainSignal drain_;
  std::vector<std::thread> threads_;
};

}  // namespace earmark::detectd
