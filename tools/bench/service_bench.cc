// The detection service as its clients find it, next to what it is made of: the engine called directly, and bare gRPC.
#include <grpcpp/grpcpp.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "dsp/core/resample.h"
#include "dsp/media/audio_file.h"
#include "services/common/scan/scan.h"
#include "services/common/server/daemon.h"
#include "services/detectd/detection_service.h"
#include "services/detectd/scan_workers.h"
#include "services/detectd/settings.h"
#include "tools/bench/archive.h"
#include "tools/bench/bench.h"

namespace earmark {
namespace {

using std::chrono::steady_clock;

constexpr double kClipS = 5;
constexpr int kNumScans = 40;
constexpr std::int64_t kUploadBytes = std::int64_t{128} << 20;
constexpr std::size_t kPieceBytes = 256 << 10;

double SecondsSince(steady_clock::time_point begin) { return std::chrono::duration<double>(steady_clock::now() - begin).count(); }

double ResidentMegabytes() {
  std::ifstream statm("/proc/self/statm");
  double pages = 0;
  double resident = 0;
  statm >> pages >> resident;
  return resident * 4096 / 1e6;
}

std::string WavOf(const std::filesystem::path& folder, const std::vector<float>& clip) {
  const std::string path = (folder / "clip.wav").string();
  const auto wav = OrExit(WavWriter::Create(path, kDetectRateHz, 1));
  OrExit(wav->Write(clip));
  OrExit(wav->Finish());
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// Takes uploads and forgets them: what gRPC itself costs.
class Sink final : public v1::Detection::Service {
  grpc::Status SubmitScan(grpc::ServerContext*, grpc::ServerReader<v1::SubmitScanRequest>* reader, v1::Scan*) override {
    v1::SubmitScanRequest message;
    while (reader->Read(&message)) {
    }
    return grpc::Status::OK;
  }
};

// A daemon in this process, and a client of it.
class Daemon {
 public:
  explicit Daemon(v1::Detection::Service& service) {
    server::Config config(detectd::DetectdConfigKeys());
    for (const char* setting : {"auth.required=false", "listen.grpc=127.0.0.1:0", "listen.http=127.0.0.1:0"})
      OrExit(config.SetFromOption(setting));
    frontend_ = OrExit(server::Frontend::Start(config, {{v1::Detection::service_full_name(), &service}}, {}, metrics_));
    stub = v1::Detection::NewStub(grpc::CreateChannel(frontend_->grpc_address().ToString(), grpc::InsecureChannelCredentials()));
  }

  std::string Submit(const std::string& name, const std::string& clip, std::int64_t num_bytes) {
    grpc::ClientContext context;
    v1::Scan scan;
    const auto writer = stub->SubmitScan(&context, &scan);
    v1::SubmitScanRequest message;
    message.mutable_header()->set_name(name);
    writer->Write(message);
    for (std::int64_t sent = 0; sent < num_bytes;) {
      const auto at = static_cast<std::size_t>(sent) % clip.size();
      const std::size_t count = std::min({kPieceBytes, clip.size() - at, static_cast<std::size_t>(num_bytes - sent)});
      message.set_data(clip.data() + at, count);
      if (!writer->Write(message)) break;
      sent += static_cast<std::int64_t>(count);
    }
    writer->WritesDone();
    Check(writer->Finish());
    return scan.scan_id();
  }

  std::string Await(const std::string& scan_id) {
    grpc::ClientContext context;
    v1::WatchScanRequest request;
    request.set_scan_id(scan_id);
    const auto reader = stub->WatchScan(&context, request);
    v1::Progress progress;
    while (reader->Read(&progress)) {
    }
    Check(reader->Finish());
    const v1::Finding& finding = progress.scan().finding();
    return finding.accusations_size() == 0 ? "nobody" : finding.accusations(0).account();
  }

  static void Check(const grpc::Status& status) {
    if (status.ok()) return;
    std::fprintf(stderr, "earmark_bench: service: %s\n", status.error_message().c_str());
    std::exit(1);
  }

  std::unique_ptr<v1::Detection::Stub> stub;

 private:
  server::Metrics metrics_;
  std::unique_ptr<server::Frontend> frontend_;
};

// The service on the archive.
struct Service {
  explicit Service(Archive& archive_in)
      : archive(archive_in), pool(archive.Url()), access(pool, {.token_needed = false}), daemon(detection) {}
  ~Service() { drain.Raise(); }

  void Start(int num_workers) {
    workers.emplace(
        detectd::WorkerOptions{
            .store_url = archive.Url(), .decoder = {.program = EARMARK_DECODE, .limits = {}}, .num_workers = num_workers},
        archive.master, metrics);
    // Until the fingerprints are in memory.
    while (metrics.Gauge("earmark_catalog_streams", "").Value() == 0) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }

  Archive& archive;
  StorePool pool;
  AccessControl access;
  detectd::DrainSignal drain;
  server::Metrics metrics;
  detectd::DetectionService detection{pool, access, drain, {.max_clip_bytes = 2 * kUploadBytes, .max_false_accusation = 1e-6}};
  Daemon daemon;
  std::optional<detectd::ScanWorkers> workers;
};

// Scans a second of so many threads that call the engine, with the fingerprints in memory, as a worker does.
double DirectRate(const Archive& archive, const std::string& path, int num_threads) {
  FingerprintCatalog catalog(archive.master);
  const Progress none;
  const ScanContext context(none);
  (void)OrExit(catalog.Refresh(*OrExit(OpenStore(archive.Url(), OpenMode::kReadWrite)), context));
  const auto begin = steady_clock::now();
  std::vector<std::jthread> threads;
  threads.reserve(static_cast<std::size_t>(num_threads));
  for (int t = 0; t < num_threads; ++t) {
    threads.emplace_back([&, t] {
      const auto store = OrExit(OpenStore(archive.Url(), OpenMode::kReadWrite));
      for (int i = t; i < kNumScans; i += num_threads) {
        DecodedClip clip = OrExit(DecodedClip::Decode(path, {}));
        (void)OrExit(ScanClip(*store, archive.master, catalog, SignalsOf(clip), {}, {}));
      }
    });
  }
  threads.clear();
  return kNumScans / SecondsSince(begin);
}

double ServiceRate(Service& service, const std::string& wav) {
  const auto begin = steady_clock::now();
  std::vector<std::string> scans;
  scans.reserve(kNumScans);
  for (int i = 0; i < kNumScans; ++i) scans.push_back(service.daemon.Submit("clip", wav, static_cast<std::int64_t>(wav.size())));
  for (const std::string& scan : scans) (void)service.daemon.Await(scan);
  return kNumScans / SecondsSince(begin);
}

void PrintRates(Archive& archive, const std::string& wav) {
  const std::string path = (archive.folder / "clip.wav").string();
  for (const int num_workers : {1, 2}) {
    Service service(archive);
    service.Start(num_workers);
    std::vector<double> rates;
    std::vector<double> ratios;
    for (int round = 0; round < 5; ++round) {
      const double direct = DirectRate(archive, path, num_workers);
      rates.push_back(ServiceRate(service, wav));
      ratios.push_back(rates.back() / direct);
    }
    std::printf(
        "service    %.0f s clips in %.0f stream-hours, %d worker%s: %.2f scans/s, %.2f of the engine called directly (goal 0.95)\n",
        kClipS, archive.hours(), num_workers, num_workers == 1 ? "" : "s", Median(rates), Median(ratios));
  }
}

void PrintLatency(Service& service, const std::string& wav) {
  std::vector<double> times;
  std::string named;
  for (int i = 0; i < 10; ++i) {
    const auto begin = steady_clock::now();
    named = service.daemon.Await(service.daemon.Submit("clip", wav, static_cast<std::int64_t>(wav.size())));
    times.push_back(SecondsSince(begin));
  }
  std::printf(
      "service    idle, %.0f s clip in %.0f stream-hours: submit to finding %.2f s, at most %.2f s (goal 1); named %s%s\n",
      kClipS, service.archive.hours(), Median(times), *std::max_element(times.begin(), times.end()), named.c_str(),
      named == service.archive.leaker ? "" : " (WRONG)");
}

void PrintUploads(Archive& archive, const std::string& wav) {
  Sink sink;
  Daemon bare(sink);
  Service service(archive);  // without workers
  std::vector<double> ratios;
  std::vector<double> rates;
  for (int round = 0; round < 3; ++round) {
    const double bare_s = Measure([&] { (void)bare.Submit("clip", wav, kUploadBytes); });
    const double served_s = Measure([&] {
      const std::string scan_id = service.daemon.Submit("clip", wav, kUploadBytes);
      OrExit(archive.store->CancelScan(scan_id));
    });
    ratios.push_back(bare_s / served_s);
    rates.push_back(static_cast<double>(kUploadBytes) / 1e6 / served_s);
  }
  std::printf("service    uploads: %.0f MB/s hashed and kept, %.2f of bare gRPC\n", Median(rates), Median(ratios));
}

// The middle and the 99th of a hundred.
void PrintTimes(const char* what, std::vector<double> times, std::int64_t num_findings) {
  std::sort(times.begin(), times.end());
  std::printf("service    %s at %lld findings: p50 %.2f ms, p99 %.2f ms\n", what, static_cast<long long>(num_findings),
              1e3 * times[times.size() / 2], 1e3 * times[times.size() * 99 / 100]);
}

void PrintQueries(Service& service, const std::string& scan_id, std::int64_t num_findings) {
  for (std::int64_t i = 0; i < num_findings; ++i) {
    FindingRecord finding{
        .clip_name = "clip", .clip_sha256 = std::string(64, '0'), .verdict = "accused", .report_json = "{}", .accusations = {}};
    finding.case_label = "case-" + std::to_string(i % 1000);
    finding.accusations.push_back(
        {.account = "account-" + std::to_string(i % 100'000), .stream = "leaked", .log10_p = -20, .log10_bound = -16});
    (void)OrExit(service.archive.store->AddFinding(finding));
  }
  std::vector<double> gets;
  std::vector<double> leaks;
  for (int i = 0; i < 500; ++i) {
    gets.push_back(Measure([&] {
      grpc::ClientContext context;
      v1::GetScanRequest request;
      request.set_scan_id(scan_id);
      v1::Scan scan;
      Daemon::Check(service.daemon.stub->GetScan(&context, request, &scan));
    }));
    leaks.push_back(Measure([&] {
      grpc::ClientContext context;
      v1::QueryLeaksRequest request;
      request.set_account("account-" + std::to_string(i * 199));
      v1::QueryLeaksResponse response;
      Daemon::Check(service.daemon.stub->QueryLeaks(&context, request, &response));
    }));
  }
  PrintTimes("GetScan", gets, num_findings);
  PrintTimes("QueryLeaks of an account", leaks, num_findings);
}

void PrintMemory(Service& service, const std::string& wav, int num_scans) {
  const auto scan = [&](int count) {
    for (int i = 0; i < count; ++i)
      (void)service.daemon.Await(service.daemon.Submit("clip", wav, static_cast<std::int64_t>(wav.size())));
  };
  scan(num_scans / 10);
  std::printf("service    memory: %.0f MB after %d scans; after each %d more:", ResidentMegabytes(), num_scans / 10,
              num_scans / 5);
  for (int fifth = 0; fifth < 5; ++fifth) {
    scan(num_scans / 5);
    std::printf(" %.0f", ResidentMegabytes());
  }
  std::printf(" MB\n");
}

}  // namespace

void BenchService(const std::string& audio, int hours, LongClip size) {
  if (audio.empty()) {
    std::fprintf(stderr, "earmark_bench: service needs --audio FILE, a recording of two minutes or more\n");
    std::exit(2);
  }
  spdlog::set_level(spdlog::level::warn);
  Archive archive(audio);
  archive.GrowTo(hours);
  const std::string wav = WavOf(archive.folder, archive.Clip(kClipS));
  PrintRates(archive, wav);
  PrintUploads(archive, wav);
  Service service(archive);
  service.Start(1);
  PrintLatency(service, wav);
  PrintMemory(service, wav, size == LongClip::kWhole ? 1000 : 50);
  const std::string scan_id = service.daemon.Submit("clip", wav, static_cast<std::int64_t>(wav.size()));
  (void)service.daemon.Await(scan_id);
  PrintQueries(service, scan_id, size == LongClip::kWhole ? 1'000'000 : 10'000);
}

}  // namespace earmark
