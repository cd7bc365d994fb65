#include "services/detectd/scan_workers.h"

#include <sodium.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <utility>

#include "services/common/expiry.h"
#include "services/detectd/scan_job.h"
#include "services/detectd/scan_lease.h"

namespace earmark::detectd {
namespace {

using std::chrono::steady_clock;

constexpr std::chrono::milliseconds kIdlePeriod{100};
constexpr std::chrono::milliseconds kTroublePeriod{1000};
constexpr std::chrono::milliseconds kCountPeriod{1000};
constexpr std::chrono::milliseconds kExpirePeriod{std::chrono::minutes(5)};
constexpr std::chrono::milliseconds kRefreshPeriod{
    2000};  // of the catalog while nothing is scanned; every scan refreshes it as well

// Tells workers apart in the store, for people who look into it.
std::string WorkerName(int number) {
  char host[64] = "";
  if (::gethostname(host, sizeof host - 1) != 0) host[0] = '\0';
  return std::string(host) + ":" + std::to_string(::getpid()) + ":" + std::to_string(number);
}

// A connection that lasts until there is trouble with it.
class Connection {
 public:
  explicit Connection(std::string url) : url_(std::move(url)) {}
  // nullptr: the store cannot be reached; that is logged.
  Store* Get() {
    if (store_) return store_.get();
    auto opened = OpenStore(url_, OpenMode::kReadWrite);
    if (!opened) return Lose(opened.error()), nullptr;
    store_ = std::move(*opened);
    return store_.get();
  }
  void Lose(const Error& error) {
    spdlog::warn("store: {}", error.message);
    store_ = nullptr;
  }

 private:
  std::string url_;
  std::unique_ptr<Store> store_;
};

}  // namespace

ScanWorkers::ScanWorkers(WorkerOptions options, MasterKey master, server::Metrics& metrics)
    : options_(std::move(options)),
      master_(std::move(master)),
      metrics_(metrics),
      catalog_(master_),
      decoders_(options_.decoder) {
  for (int i = 0; i < options_.num_workers; ++i) threads_.emplace_back([this, i] { Work(i); });
  threads_.emplace_back([this] { CountQueue(); });
  threads_.emplace_back([this] { KeepWarm(); });
  threads_.emplace_back([this] { DropExpired(); });
}

ScanWorkers::~ScanWorkers() { Drain(); }

void ScanWorkers::Drain() {
  drain_.Raise();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

void ScanWorkers::Work(int number) {
  const std::string name = WorkerName(number);
  Connection connection(options_.store_url);
  while (!drain_.IsRaised()) {
    Store* const store = connection.Get();
    auto scan = store ? store->ClaimScan(name, options_.lease_us) : Fail(ErrorCode::kUnavailable, "");
    if (!scan) {
      if (store) connection.Lose(scan.error());
      drain_.WaitFor(kTroublePeriod);
    } else if (!*scan) {
      drain_.WaitFor(kIdlePeriod);
    } else if (const auto told = CarryOut(*store, **scan); !told) {
      connection.Lose(told.error());
    }
  }
}

Result<void> ScanWorkers::CarryOut(Store& store, const ScanRecord& scan) {
  const auto begin = steady_clock::now();
  ScanLease lease(options_.store_url, scan, options_.lease_us, drain_);
  ScanJob job(store, master_, catalog_, decoders_, options_, scan, lease);
  const auto outcome = job.Run();
  const double took_s = std::chrono::duration<double>(steady_clock::now() - begin).count();
  const std::string word = outcome.value_or("lost");
  metrics_
      .Counter("earmark_scans_total",
               "Scans that a worker left, by how they ended: a verdict, or cancelled, failed, released, lost.",
               {{"outcome", word}})
      .Increment();
  metrics_.Counter("earmark_scan_seconds_total", "Seconds that workers spent on scans.").Increment(took_s);
  for (const auto& [stage, seconds] : job.stage_seconds())
    metrics_.Counter("earmark_scan_stage_seconds_total", "Seconds that workers spent on scans, by stage.", {{"stage", stage}})
        .Increment(seconds);
  metrics_.Counter("earmark_alpha_spent_total", "What findings spent of the bound on false accusations, summed.")
      .Increment(job.alpha_spent());
  metrics_.Counter("earmark_decoder_failures_total", "Decoders that crashed, were stopped or killed, or reached a limit.")
      .Increment(job.num_decoder_failures());
  spdlog::info("scan {}: {} after {:.2f} s, attempt {}", scan.id, word, took_s, scan.attempt);
  if (!outcome) return Pass(outcome);
  return {};
}

void ScanWorkers::KeepWarm() {
  auto& hours = metrics_.Gauge("earmark_catalog_hours", "Hours of sound that clips are compared with, all sources counted.");
  auto& streams = metrics_.Gauge("earmark_catalog_streams", "Streams that clips are compared with.");
  const Progress go_on = [&](const char*, double) { return !drain_.IsRaised(); };
  const ScanContext context(go_on);
  Connection connection(options_.store_url);
  do {
    Store* const store = connection.Get();
    if (!store) continue;
    if (const auto catalog = catalog_.Refresh(*store, context)) {
      const FingerprintIndex& index = (*catalog)->index;
      hours.Set(static_cast<double>(index.num_words() - index.num_lost_words()) * kFingerprintWordS / 3600);
      streams.Set((*catalog)->num_streams());
    } else if (catalog.error().code != ErrorCode::kCancelled) {
      connection.Lose(catalog.error());
    }
  } while (!drain_.WaitFor(kRefreshPeriod));
}

void ScanWorkers::DropExpired() {
  constexpr char kHelp[] = "What was dropped because it had been kept for long enough.";
  auto& streams = metrics_.Counter("earmark_expired_total", kHelp, {{"what", "stream"}});
  auto& clips = metrics_.Counter("earmark_expired_total", kHelp, {{"what", "clip"}});
  Connection connection(options_.store_url);
  do {
    Store* const store = connection.Get();
    if (!store) continue;
    Expired expired;
    const auto dropped = Expire(*store, expired, [&] { return !drain_.IsRaised(); });
    streams.Increment(static_cast<double>(expired.num_streams));
    clips.Increment(static_cast<double>(expired.num_clips));
    if (expired.num_streams > 0 || expired.num_clips > 0)
      spdlog::info("expired: {} streams, {} clips", expired.num_streams, expired.num_clips);
    if (!dropped) connection.Lose(dropped.error());
  } while (!drain_.WaitFor(kExpirePeriod));
}

void ScanWorkers::CountQueue() {
  constexpr char kHelp[] = "Scans in the store that wait for a worker, and that run, in all processes.";
  auto& waiting = metrics_.Gauge("earmark_scan_queue", kHelp, {{"state", "waiting"}});
  auto& running = metrics_.Gauge("earmark_scan_queue", kHelp, {{"state", "running"}});
  Connection connection(options_.store_url);
  do {
    Store* const store = connection.Get();
    if (!store) continue;
    if (const auto length = store->CountScans()) {
      waiting.Set(static_cast<double>(length->waiting));
      running.Set(static_cast<double>(length->running));
    } else {
      connection.Lose(length.error());
    }
  } while (!drain_.WaitFor(kCountPeriod));
}

}  // namespace earmark::detectd
