// The detection service in this process, over gRPC, on a SQLite store: from a leaked clip to a name, and what goes wrong on the way.
//
// Chance of failing: each scan may name an innocent account with chance 1e-6 by the bound it is given; there are fewer than 10 here.
#include <SQLiteCpp/SQLiteCpp.h>
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <chrono>
#include <fstream>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "services/common/expiry.h"
#include "services/common/marking.h"
#include "services/common/server/daemon.h"
#include "services/detectd/detection_service.h"
#include "services/detectd/scan_workers.h"
#include "services/detectd/settings.h"
#include "tests/integration/store_temp_folder.h"
#include "tests/support/marked_stream.h"
#include "tests/support/memory_reader.h"
#include "tests/support/random.h"
#include "tests/support/sanitizers.h"
#include "tests/support/synthetic_audio.h"

namespace earmark::detectd {
namespace {

using Catch::Matchers::Contains;

// A store with the stream "room", heard by account-0 to account-99, and the service on it; workers where the test starts them.
struct TestService {
  TestService()
      : master{.key = TestKey(9), .id = KeyId(TestKey(9))},
        store(Get(OpenStore(folder.Url(), OpenMode::kReadWriteCreate))),
        pool(folder.Url()) {
    std::vector<std::string> accounts;
    for (int i = 0; i < 100; ++i) accounts.push_back("account-" + std::to_string(i));
    MonoMemoryReader host(SpeechLike(14, 11));
    (void)Get(
        RegisterStream(*store, master, host, {.stream_id = "room", .format = {}, .accounts = accounts, .input_digest = ""}, {}));
    server::Config config(DetectdConfigKeys());
    for (const char* setting : {"auth.required=false", "listen.grpc=127.0.0.1:0", "listen.http=127.0.0.1:0"})
      REQUIRE(config.SetFromOption(setting));
    frontend = Get(server::Frontend::Start(config, {{v1::Detection::service_full_name(), &service}}, {}, metrics));
    stub = v1::Detection::NewStub(grpc::CreateChannel(frontend->grpc_address().ToString(), grpc::InsecureChannelCredentials()));
  }
  ~TestService() { drain.Raise(); }

  std::unique_ptr<ScanWorkers> StartWorkers(const std::string& decoder = EARMARK_DECODE) {
    return std::make_unique<ScanWorkers>(
        WorkerOptions{.store_url = folder.Url(), .decoder = {.program = decoder, .limits = {.cpu_s = 1}}, .max_clip_hours = 0.1},
        master, metrics);
  }

  // Bytes of a WAV file with six seconds of this account's copy.
  std::string LeakOf(const std::string& account, const std::string& stream_id = "room") {
    const StreamRecord stream = Get(store->GetStream(stream_id));
    Listener listener(1);
    std::vector<float> sound;
    const auto play = [&](std::span<const std::uint8_t> packet) -> Result<void> {
      listener.Play(packet, sound);
      return {};
    };
    REQUIRE(ChoosePackets(*store, stream, Get(KeysOf(stream, master)), account, play, {}));
    const auto wav = Get(WavWriter::Create(folder.File("clip.wav"), kSampleRateHz, 1));
    REQUIRE(wav->Write(CutSeconds(sound, 4, 10, kSampleRateHz)));
    REQUIRE(wav->Finish());
    std::ifstream file(folder.File("clip.wav"), std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  grpc::Status Submit(const v1::SubmitScanHeader& header, const std::string& clip) {
    grpc::ClientContext context;
    const auto writer = stub->SubmitScan(&context, &scan);
    v1::SubmitScanRequest message;
    *message.mutable_header() = header;
    writer->Write(message);
    message.set_data(clip);
    writer->Write(message);
    writer->WritesDone();
    return writer->Finish();
  }

  // Watches `scan` to its end.
  v1::Scan End() {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(120));
    v1::WatchScanRequest request;
    request.set_scan_id(scan.scan_id());
    const auto reader = stub->WatchScan(&context, request);
    v1::Progress progress;
    while (reader->Read(&progress)) {
    }
    REQUIRE(reader->Finish().ok());
    return progress.scan();
  }

  TempFolder folder;
  MasterKey master;
  std::unique_ptr<Store> store;
  StorePool pool;
  DrainSignal drain;
  server::Metrics metrics;
  AccessControl access{pool, {.token_needed = false}};
  DetectionService service{
      pool, access, drain, {.max_clip_bytes = 4 << 20, .max_false_accusation = 1e-6, .keep_clip_us = 3'600'000'000}};
  std::unique_ptr<server::Frontend> frontend;
  std::unique_ptr<v1::Detection::Stub> stub;
  v1::Scan scan;  // the latest that Submit gave
};

v1::SubmitScanHeader Named(const std::string& name, const std::string& key = "") {
  v1::SubmitScanHeader header;
  header.set_name(name);
  header.set_idempotency_key(key);
  return header;
}

TEST_CASE("Detectd: a leak is named, its key stays its own, and leaks are told by account", "[detectd]") {
  TestService test;
  const auto workers = test.StartWorkers();
  const std::string clip = test.LeakOf("account-42");
  REQUIRE(test.Submit(Named("clip", "k"), clip).ok());
  const v1::Scan done = test.End();
  REQUIRE(done.finding().accusations_size() == 1);
  CHECK(done.finding().accusations(0).account() == "account-42");
  CHECK(done.finding().created_at().seconds() > 0);
  REQUIRE(test.Submit(Named("clip", "k"), clip).ok());
  CHECK(test.scan.scan_id() == done.scan_id());
  CHECK(test.Submit(Named("other", "k"), clip).error_code() == grpc::StatusCode::ALREADY_EXISTS);

  REQUIRE(test.Submit(Named("clip 2"), test.LeakOf("account-7")).ok());
  (void)test.End();
  std::vector<std::string> accounts;
  v1::QueryLeaksRequest request;
  request.set_page_size(1);
  v1::QueryLeaksResponse page;
  do {
    grpc::ClientContext context;
    REQUIRE(test.stub->QueryLeaks(&context, request, &page).ok());
    for (const v1::Leak& leak : page.leaks()) accounts.push_back(leak.account());
    request.set_page_token(page.next_page_token());
  } while (!page.next_page_token().empty());
  CHECK(accounts == std::vector<std::string>{"account-42", "account-7"});
  const std::string metrics = test.metrics.ToText();
  for (const char* stage : {"decoding", "searching", "aligning", "reading", "scoring"})
    CHECK_THAT(metrics, Contains("earmark_scan_stage_seconds_total{stage=\"" + std::string(stage) + "\"}"));
  CHECK_THAT(metrics, Contains("earmark_alpha_spent_total 2e-06") && Contains("earmark_catalog_streams 1"));
  request.set_verdict("unreadable");
  grpc::ClientContext context;
  REQUIRE(test.stub->QueryLeaks(&context, request, &page).ok());
  CHECK(page.leaks().empty());
}

TEST_CASE("Detectd: what is not right about an upload is refused and leaves nothing", "[detectd]") {
  TestService test;
  v1::SubmitScanHeader header = Named("clip");
  header.set_sha256(std::string(64, '0'));
  CHECK(test.Submit(header, "bytes").error_code() == grpc::StatusCode::INVALID_ARGUMENT);
  CHECK(test.Submit(Named("clip"), "").error_code() == grpc::StatusCode::INVALID_ARGUMENT);
  CHECK(test.Submit(Named(""), "bytes").error_code() == grpc::StatusCode::INVALID_ARGUMENT);
  header = Named("clip");
  header.set_stream_id("nowhere");
  CHECK(test.Submit(header, "bytes").error_code() == grpc::StatusCode::NOT_FOUND);
  header = Named("clip");
  header.set_max_false_accusation(1e-3);
  CHECK(test.Submit(header, "bytes").error_code() == grpc::StatusCode::INVALID_ARGUMENT);
  CHECK(Get(test.store->CountScans()).waiting == 0);
}

TEST_CASE("Detectd: bytes that are no recording give the finding unreadable; a waiting scan is cancelled at once", "[detectd]") {
  TestService test;
  REQUIRE(test.Submit(Named("cancelled"), "bytes").ok());
  v1::CancelScanRequest request;
  request.set_scan_id(test.scan.scan_id());
  grpc::ClientContext context;
  v1::Scan cancelled;
  REQUIRE(test.stub->CancelScan(&context, request, &cancelled).ok());
  CHECK(cancelled.state() == v1::CANCELLED);
  REQUIRE(test.Submit(Named("garbage"), std::string(5000, 'x')).ok());
  const auto workers = test.StartWorkers();
  const v1::Scan done = test.End();
  CHECK(done.finding().verdict() == "unreadable");
  CHECK(Get(test.store->SumAlphaSpent(0, std::nullopt)) == AlphaSpent{});  // nobody was scored
  CHECK_THAT(done.finding().reason(), Contains("the clip"));
}

TEST_CASE("Detectd: a scan whose worker died is another's, and has one finding; one that kills them all is given up",
          "[detectd]") {
  TestService test;
  REQUIRE(test.Submit(Named("clip"), test.LeakOf("account-3")).ok());
  const auto claimed = Get(test.store->ClaimScan("dies", 1000));
  REQUIRE(claimed);
  const auto workers = test.StartWorkers();
  CHECK(test.End().finding().verdict() == "accused");
  FindingRecord late;
  late.verdict = "no_accusation";
  CHECK_FALSE(test.store->FinishScan(claimed->id, claimed->attempt, late));
  const auto findings = Get(test.store->ListFindings({}));
  REQUIRE(findings.size() == 1);
  CHECK(findings[0].alpha_spent == claimed->max_false_accusation);
  workers->Drain();

  REQUIRE(test.Submit(Named("put back"), test.LeakOf("account-3")).ok());
  for (int i = 0; i < 5; ++i) {
    const auto attempt = Get(test.store->ClaimScan("drains", 60'000'000));
    REQUIRE(attempt);
    REQUIRE(test.store->ReleaseScan(attempt->id, attempt->attempt));
  }
  const auto again = test.StartWorkers();
  CHECK(test.End().finding().verdict() == "accused");
  again->Drain();

  REQUIRE(test.Submit(Named("deadly"), "bytes").ok());
  for (int i = 0; i < 3; ++i) {
    REQUIRE(Get(test.store->ClaimScan("dies", 0)));
  }
  const auto more = test.StartWorkers();
  CHECK_THAT(test.End().finding().reason(), Contains("stopped before the end"));
}

TEST_CASE("Detectd: whatever a clip does to its decoder is a finding with the reason, and other scans go on", "[detectd]") {
  TestService test;
  const auto hostile = test.StartWorkers(EARMARK_HOSTILE_DECODER);
  std::vector<std::pair<std::string, std::string>> deeds = {{"spin", "processor time"},
                                                            {"crash late", kSanitized ? "its decoder" : "signal 11"},
                                                            {"killed", "killed, as for want of memory, 3 times of as many"},
                                                            {"flood", "longer than 0.1 h"},
                                                            {"samples first", "no decoder would"}};
  // Under sanitizers the decoder is not locked in (sandbox.cc).
  if (!kSanitized) deeds.insert(deeds.end(), {{"open", "not permitted"}, {"socket", "was stopped"}});
  for (const auto& [deed, reason] : deeds) {
    INFO(deed);
    REQUIRE(test.Submit(Named(deed), deed).ok());
    const v1::Finding finding = test.End().finding();
    CHECK(finding.verdict() == "unreadable");
    CHECK_THAT(finding.reason(), Contains(reason));
  }
  CHECK_THAT(test.metrics.ToText(), Contains("earmark_decoder_failures_total " + std::string(kSanitized ? "6" : "7")));
  hostile->Drain();
  const auto workers = test.StartWorkers();
  REQUIRE(test.Submit(Named("clip"), test.LeakOf("account-3")).ok());
  CHECK(test.End().finding().verdict() == "accused");
}

TEST_CASE("Detectd: a clip is given back as it came while it is kept, and its scan stays when it is gone", "[detectd]") {
  TestService test;
  Random random(3);
  std::string clip(2'500'000, '\0');
  std::generate(clip.begin(), clip.end(), [&] { return static_cast<char>(random.Bits()); });
  const auto fetch = [&](const std::string& scan_id, std::string& bytes) {
    grpc::ClientContext context;
    v1::GetClipRequest request;
    request.set_scan_id(scan_id);
    const auto reader = test.stub->GetClip(&context, request);
    bytes.clear();
    v1::ClipPart part;
    while (reader->Read(&part)) bytes += part.data();
    return reader->Finish().error_code();
  };
  REQUIRE(test.Submit(Named("noise"), clip).ok());
  const std::string scan_id = test.scan.scan_id();
  std::string got;
  CHECK(fetch(scan_id, got) == grpc::StatusCode::OK);
  CHECK(got == clip);
  const auto workers = test.StartWorkers();
  CHECK(test.End().finding().verdict() == "unreadable");
  CHECK(fetch(scan_id, got) == grpc::StatusCode::OK);
  CHECK(got == clip);
  CHECK(fetch("another", got) == grpc::StatusCode::NOT_FOUND);
  CHECK(fetch("", got) == grpc::StatusCode::INVALID_ARGUMENT);
  SQLite::Database(test.folder.File("store.db"), SQLite::OPEN_READWRITE).exec("UPDATE scans SET clip_until_unix_us = 1");
  CHECK(fetch(scan_id, got) == grpc::StatusCode::NOT_FOUND);
  CHECK(got.empty());
  Expired expired;
  REQUIRE(Expire(*test.store, expired, [] { return true; }));
  CHECK(expired.num_clips == 1);
  CHECK(test.End().finding().verdict() == "unreadable");
}

TEST_CASE("Detectd: a page token is good for the filters that it was given for", "[detectd]") {
  TestService test;
  for (const char* account : {"ann", "ben"}) {
    FindingRecord finding{.clip_name = "clip", .clip_sha256 = "", .verdict = "accused", .report_json = "{}", .accusations = {}};
    finding.case_label = "spring";
    finding.accusations.push_back({.account = account, .stream = "room", .log10_p = -12, .log10_bound = -9});
    (void)Get(test.store->AddFinding(finding));
  }
  const auto ask = [&](const v1::QueryLeaksRequest& request, v1::QueryLeaksResponse& page) {
    grpc::ClientContext context;
    return test.stub->QueryLeaks(&context, request, &page);
  };
  v1::QueryLeaksRequest request;
  request.set_page_size(1);
  request.set_case_label("spring");
  v1::QueryLeaksResponse page;
  REQUIRE(ask(request, page).ok());
  request.set_page_token(page.next_page_token());
  request.set_reason("another page");
  request.set_page_size(5);
  REQUIRE(ask(request, page).ok());
  REQUIRE(page.leaks_size() == 1);
  CHECK(page.leaks(0).account() == "ben");
  CHECK(page.accounts(0).account() == "ben");
  v1::ListFindingsRequest other_call;
  other_call.set_case_label("spring");
  other_call.set_page_token(request.page_token());
  v1::ListFindingsResponse findings;
  grpc::ClientContext context;
  CHECK(test.stub->ListFindings(&context, other_call, &findings).error_code() == grpc::StatusCode::INVALID_ARGUMENT);
  request.set_case_label("");
  CHECK_THAT(ask(request, page).error_message(), Contains("page_token: wanted that of an answer to the same call and filters"));
  for (const char* nonsense : {"x", "zz", "0123456789abcdef", "0123456789abcdefzz"}) {
    request.set_page_token(nonsense);
    CHECK(ask(request, page).error_code() == grpc::StatusCode::INVALID_ARGUMENT);
  }
}

TEST_CASE("Detectd: a scan whose decoder spins is cancelled within a second", "[detectd]") {
  TestService test;
  const auto workers = test.StartWorkers(EARMARK_HOSTILE_DECODER);
  REQUIRE(test.Submit(Named("sleep"), "sleep").ok());
  const auto state = [&] { return Get(test.store->GetScan(test.scan.scan_id())).state; };
  while (state() == ScanState::kQueued) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  const auto asked = std::chrono::steady_clock::now();
  v1::CancelScanRequest request;
  request.set_scan_id(test.scan.scan_id());
  grpc::ClientContext context;
  v1::Scan scan;
  REQUIRE(test.stub->CancelScan(&context, request, &scan).ok());
  CHECK(test.End().state() == v1::CANCELLED);
  CHECK(std::chrono::steady_clock::now() - asked < std::chrono::seconds(10));  // 1 s on a machine that is not busy
}

TEST_CASE("Detectd: a stream that came to the store after the detector began is searched, one that was removed is not",
          "[detectd]") {
  TestService test;
  const auto workers = test.StartWorkers();
  const std::string clip = test.LeakOf("account-3");
  REQUIRE(test.Submit(Named("clip"), clip).ok());
  CHECK(test.End().finding().verdict() == "accused");
  MonoMemoryReader host(SpeechLike(14, 77));
  (void)Get(RegisterStream(*test.store, test.master, host,
                           {.stream_id = "later", .format = {}, .accounts = {"kim"}, .input_digest = ""}, {}));
  REQUIRE(test.Submit(Named("later"), test.LeakOf("kim", "later")).ok());
  const v1::Finding finding = test.End().finding();
  REQUIRE(finding.accusations_size() == 1);
  CHECK(finding.accusations(0).stream_id() == "later");
  REQUIRE(test.store->RemoveStream("room"));
  REQUIRE(test.Submit(Named("removed"), clip).ok());
  CHECK(test.End().finding().verdict() == "unknown_audio");
}

}  // namespace
}  // namespace earmark::detectd
