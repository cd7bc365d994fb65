// A worker's hold on the scan that it carries out.
#pragma once

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "db/store.h"
#include "services/detectd/drain_signal.h"

namespace earmark::detectd {

// Why a worker has to stop before the end.
enum class StopReason {
  kNone,
  kCancelled,  // somebody called CancelScan
  kDraining,   // the daemon stops
  kLost,       // the scan is another worker's, or may be by now
};

// Extends the lease and tells the store how far the scan is, from a thread of its own with a connection of its own, since some stages of a scan
// say nothing for seconds. Thread-safe. The thread ends with the object.
class ScanLease {
 public:
  // `drain` must outlive it.
  ScanLease(std::string store_url, const ScanRecord& scan, std::int64_t lease_us, const DrainSignal& drain);
  ~ScanLease();

  // Where the scan is now; told at the next occasion, a few times a second. `stage` as the API tells it.
  void SetProgress(std::string stage, double fraction);
  StopReason stop_reason() const;
  // Waits so long or until there is a reason to stop; false: there is.
  bool Wait(std::chrono::milliseconds time) const;

 private:
  void Run();
  void Renew(std::unique_ptr<Store>& store);
  void Stop(StopReason reason);

  const std::string store_url_;
  const std::string scan_id_;
  const int attempt_;
  const std::int64_t lease_us_;
  const DrainSignal& drain_;
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  std::string stage_ = "decoding";
  double fraction_ = 0;
  StopReason reason_ = StopReason::kNone;
  bool ending_ = false;
  std::chrono::steady_clock::time_point valid_until_;
  std::thread thread_;  // last: it uses what is above
};

}  // namespace earmark::detectd
