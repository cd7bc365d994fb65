#include "services/detectd/scan_lease.h"

#include <utility>

namespace earmark::detectd {
namespace {

using std::chrono::steady_clock;

// A cancel takes effect within half a second, of which this is the larger part.
constexpr std::chrono::milliseconds kRenewPeriod{200};

}  // namespace

ScanLease::ScanLease(std::string store_url, const ScanRecord& scan, std::int64_t lease_us, const DrainSignal& drain)
    : store_url_(std::move(store_url)),
      scan_id_(scan.id),
      attempt_(scan.attempt),
      lease_us_(lease_us),
      drain_(drain),
      valid_until_(steady_clock::now() + std::chrono::microseconds(lease_us)),
      thread_([this] { Run(); }) {}

ScanLease::~ScanLease() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
    changed_.notify_all();
  }
  thread_.join();
}

void ScanLease::SetProgress(std::string stage, double fraction) {
  const std::lock_guard lock(mutex_);
  stage_ = std::move(stage);
  fraction_ = fraction;
}

StopReason ScanLease::stop_reason() const {
  const std::lock_guard lock(mutex_);
  if (reason_ == StopReason::kNone && drain_.IsRaised()) return StopReason::kDraining;
  return reason_;
}

bool ScanLease::Wait(std::chrono::milliseconds time) const {
  constexpr std::chrono::milliseconds kStep{50};
  for (const auto end = steady_clock::now() + time; steady_clock::now() < end;) {
    std::unique_lock lock(mutex_);
    if (changed_.wait_for(lock, kStep, [&] { return reason_ != StopReason::kNone; })) return false;
    if (drain_.IsRaised()) return false;
  }
  return true;
}

void ScanLease::Stop(StopReason reason) {
  const std::lock_guard lock(mutex_);
  reason_ = reason;
  changed_.notify_all();
}

void ScanLease::Renew(std::unique_ptr<Store>& store) {
  std::unique_lock lock(mutex_);
  const std::string stage = stage_;
  const double fraction = fraction_;
  lock.unlock();
  const auto asked = steady_clock::now();
  Result<ScanRecord> scan = Fail(ErrorCode::kUnavailable, "the store cannot be opened");
  if (!store) {
    if (auto opened = OpenStore(store_url_, OpenMode::kReadWrite)) store = std::move(*opened);
  }
  if (store) scan = store->RenewScan(scan_id_, attempt_, lease_us_, stage, fraction);
  if (scan) {
    lock.lock();
    valid_until_ = asked + std::chrono::microseconds(lease_us_);
    lock.unlock();
    if (scan->cancel_wanted) Stop(StopReason::kCancelled);
    return;
  }
  const bool refused = scan.error().code == ErrorCode::kFailedPrecondition || scan.error().code == ErrorCode::kNotFound;
  if (refused || steady_clock::now() >= valid_until_) return Stop(StopReason::kLost);
  store = nullptr;  // the connection may be what is wrong
}

void ScanLease::Run() {
  std::unique_ptr<Store> store;
  for (;;) {
    Renew(store);
    std::unique_lock lock(mutex_);
    const auto over = [&] { return ending_ || reason_ != StopReason::kNone; };
    if (changed_.wait_for(lock, kRenewPeriod, over)) return;
  }
}

}  // namespace earmark::detectd
