// The command line's client against a Detection service made for the test, over a real connection.
#include "tools/earmark/client/client.h"

#include <grpcpp/grpcpp.h>
#include <sodium.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>

#include "earmark/v1/detection.grpc.pb.h"

namespace earmark::cli {
namespace {

using Catch::Matchers::Contains;

// Breaks off the first upload and the first watch, as a server that restarts does.
class TestDetection final : public v1::Detection::Service {
 public:
  grpc::Status SubmitScan(grpc::ServerContext* context, grpc::ServerReader<v1::SubmitScanRequest>* reader,
                          v1::Scan* scan) override {
    const auto token = context->client_metadata().find("authorization");
    if (token == context->client_metadata().end() || token->second != "Bearer secret")
      return {grpc::StatusCode::UNAUTHENTICATED, "token: wanted one"};
    v1::SubmitScanRequest request;
    reader->Read(&request);
    headers.push_back(request.header());
    if (headers.size() == 1) return {grpc::StatusCode::UNAVAILABLE, "restarting"};
    while (reader->Read(&request)) data += request.data();
    scan->set_scan_id("scan-1");
    scan->set_state(v1::QUEUED);
    return grpc::Status::OK;
  }

  grpc::Status WatchScan(grpc::ServerContext* context, const v1::WatchScanRequest* request,
                         grpc::ServerWriter<v1::Progress>* writer) override {
    ++num_watches;
    v1::Progress progress;
    progress.set_state(v1::RUNNING);
    progress.set_stage("search");
    writer->Write(progress);
    if (request->scan_id() == "missing") return {grpc::StatusCode::NOT_FOUND, "scan_id: wanted a scan, got 'missing'"};
    while (request->scan_id() == "endless" && !context->IsCancelled()) usleep(10'000);
    if (num_watches == 1) return {grpc::StatusCode::UNAVAILABLE, "restarting"};
    progress.set_state(v1::DONE);
    v1::Scan& scan = *progress.mutable_scan();
    scan.set_scan_id(request->scan_id());
    scan.set_state(v1::DONE);
    v1::Finding& finding = *scan.mutable_finding();
    finding.set_finding_id("7");
    finding.set_verdict("accused");
    finding.set_candidates(100);
    finding.set_report_json("{}");
    v1::Accusation& accusation = *finding.add_accusations();
    accusation.set_account("alice");
    accusation.set_stream_id("room");
    accusation.set_log10_bound(-9.5);
    writer->Write(progress);
    return grpc::Status::OK;
  }

  // Three pages of one row.
  grpc::Status QueryLeaks(grpc::ServerContext*, const v1::QueryLeaksRequest* request, v1::QueryLeaksResponse* response) override {
    leak_requests.push_back(*request);
    v1::Leak& leak = *response->add_leaks();
    leak.set_account("account-" + std::to_string(leak_requests.size()));
    leak.mutable_first_seen()->set_seconds(5);
    leak.mutable_first_seen()->set_nanos(2000);
    if (leak_requests.size() < 3) response->set_next_page_token("page-" + std::to_string(leak_requests.size()));
    return grpc::Status::OK;
  }

  std::vector<v1::SubmitScanHeader> headers;
  std::string data;
  int num_watches = 0;
  std::vector<v1::QueryLeaksRequest> leak_requests;
};

class Connection {
 public:
  explicit Connection(const std::string& token = "secret") {
    CHECK(sodium_init() >= 0);
    int port = 0;
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&service);
    server_ = builder.BuildAndStart();
    auto created =
        Client::Create({.server = "127.0.0.1:" + std::to_string(port), .token_file = {}, .token = token, .ca_file = {}});
    REQUIRE(created);
    client = std::move(*created);
  }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  ~Connection() { server_->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(1)); }

  TestDetection service;
  std::unique_ptr<Client> client;

 private:
  std::unique_ptr<grpc::Server> server_;
};

const Progress kGoOn = [](const char*, double) { return true; };

class TemporaryClip {
 public:
  explicit TemporaryClip(const std::string& bytes)
      : path_(std::filesystem::temp_directory_path() / ("earmark-clip-" + std::to_string(getpid()))) {
    std::ofstream(path_, std::ios::binary) << bytes;
  }
  TemporaryClip(const TemporaryClip&) = delete;
  TemporaryClip& operator=(const TemporaryClip&) = delete;
  ~TemporaryClip() { std::filesystem::remove(path_); }
  std::string path() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

TEST_CASE("Client: an upload that breaks off is tried again under the same key", "[client]") {
  Connection connection;
  const std::string bytes(1'500'000, 'x');
  const TemporaryClip clip(bytes);
  const auto scan =
      connection.client->Submit({.path = clip.path(), .name = "clip.mp4", .stream = "room", .case_label = "17"}, kGoOn);
  REQUIRE(scan);
  CHECK(scan->id == "scan-1");
  CHECK(connection.service.data == bytes);
  REQUIRE(connection.service.headers.size() == 2);
  const v1::SubmitScanHeader& first = connection.service.headers[0];
  const v1::SubmitScanHeader& second = connection.service.headers[1];
  CHECK(first.idempotency_key().size() == 32);
  CHECK(first.idempotency_key() == second.idempotency_key());
  CHECK(first.sha256().size() == 64);
  CHECK(first.case_label() == "17");
}

TEST_CASE("Client: a wrong token is refused once, and not shown", "[client]") {
  Connection connection("wrong-one");
  const TemporaryClip clip("x");
  const auto scan = connection.client->Submit({.path = clip.path(), .name = "x", .stream = {}, .case_label = {}}, kGoOn);
  REQUIRE_FALSE(scan);
  CHECK(scan.error().code == ErrorCode::kUnauthenticated);
  CHECK_THAT(scan.error().message, !Contains("wrong-one"));
  CHECK(connection.service.headers.empty());
}

TEST_CASE("Client: waiting goes on over a broken connection, to the finding", "[client]") {
  Connection connection;
  const auto scan = connection.client->Await("scan-1", kGoOn);
  REQUIRE(scan);
  CHECK(connection.service.num_watches == 2);
  CHECK(scan->state == RemoteState::kDone);
  REQUIRE(scan->finding);
  CHECK(scan->finding->id == "7");
  REQUIRE(scan->finding->report.accusations.size() == 1);
  CHECK(scan->finding->report.accusations[0].account == "alice");
  CHECK(scan->finding->report.verdict == Verdict::kAccused);
}

TEST_CASE("Client: waiting ends when it is told to, and for a scan that is not there", "[client]") {
  Connection connection;
  int asked = 0;
  const auto stopped = connection.client->Await("endless", [&](const char*, double) { return ++asked < 5; });
  REQUIRE_FALSE(stopped);
  CHECK(stopped.error().code == ErrorCode::kCancelled);
  const auto missing = connection.client->Await("missing", kGoOn);
  REQUIRE_FALSE(missing);
  CHECK(missing.error().code == ErrorCode::kNotFound);
}

TEST_CASE("Client: all pages of leaks are read", "[client]") {
  Connection connection;
  LeakFilter filter;
  filter.account = "alice";
  filter.since_unix_us = 1'500'000;
  const auto leaks = connection.client->QueryLeaks(filter);
  REQUIRE(leaks);
  REQUIRE(leaks->leaks.size() == 3);
  CHECK(leaks->leaks.back().account == "account-3");
  CHECK(leaks->leaks.back().first_seen_unix_us == 5'000'002);
  CHECK(connection.service.leak_requests[2].page_token() == "page-2");
  CHECK(connection.service.leak_requests[0].account() == "alice");
  CHECK(connection.service.leak_requests[0].since().nanos() == 500'000'000);
}

}  // namespace
}  // namespace earmark::cli
