// Told once that the daemon stops: what waits wakes up and ends.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>

namespace earmark::detectd {

// Thread-safe.
class DrainSignal {
 public:
  void Raise() {
    const std::lock_guard lock(mutex_);
    raised_ = true;
    changed_.notify_all();
  }
  bool IsRaised() const {
    const std::lock_guard lock(mutex_);
    return raised_;
  }
  // Waits so long or until it is raised; true: it is.
  bool WaitFor(std::chrono::milliseconds time) const {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, time, [&] { return raised_; });
  }

 private:
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  bool raised_ = false;
};

}  // namespace earmark::detectd
