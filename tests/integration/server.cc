// The daemons' frame around a Detection service made for the test: a real server on ports of its own, called by gRPC and by HTTP.
#include <grpcpp/grpcpp.h>
#include <httplib.h>

#include <catch2/catch.hpp>
#include <condition_variable>
#include <future>
#include <mutex>
#include <nlohmann/json.hpp>
#include <sstream>

#include "earmark/v1/detection.grpc.pb.h"
#include "services/common/server/daemon.h"
#include "services/common/server/raw_call.h"
#include "services/common/server/status.h"

namespace earmark::server {
namespace {

using Catch::Matchers::Contains;
using nlohmann::json;

// Answers by the id that it is asked for: "missing" is an error, others exist. Streams wait where the test says.
class TestDetection final : public v1::Detection::Service {
 public:
  grpc::Status GetScan(grpc::ServerContext*, const v1::GetScanRequest* request, v1::Scan* scan) override {
    if (request->scan_id() == "missing") return ToStatus(Error{ErrorCode::kNotFound, "scan_id: wanted a scan, got 'missing'"});
    scan->set_scan_id(request->scan_id());
    scan->set_state(v1::DONE);
    scan->mutable_finding()->mutable_created_at()->set_seconds(1);
    return grpc::Status::OK;
  }

  // Three messages; "fails" breaks off after them, "waits" goes on when the client is gone or the test says.
  grpc::Status WatchScan(grpc::ServerContext* context, const v1::WatchScanRequest* request,
                         grpc::ServerWriter<v1::Progress>* writer) override {
    if (request->scan_id() == "missing") return {grpc::StatusCode::NOT_FOUND, "no scan"};
    for (int i = 0; i < 3; ++i) {
      v1::Progress progress;
      progress.set_stage("read");
      progress.set_fraction(i / 2.0);
      writer->Write(progress);
    }
    if (request->scan_id() == "fails") return {grpc::StatusCode::DATA_LOSS, "broken"};
    if (request->scan_id() != "waits") return grpc::Status::OK;
    std::unique_lock lock(mutex_);
    while (!context->IsCancelled() && !draining_) changed_.wait_for(lock, std::chrono::milliseconds(20));
    (context->IsCancelled() ? cancelled_ : drained_).set_value();
    return grpc::Status::OK;
  }

  grpc::Status SubmitScan(grpc::ServerContext* context, grpc::ServerReader<v1::SubmitScanRequest>* reader,
                          v1::Scan* scan) override {
    v1::SubmitScanRequest request;
    if (!reader->Read(&request) || !request.has_header()) return {grpc::StatusCode::INVALID_ARGUMENT, "no header"};
    header_ = request.header();
    data_.clear();
    largest_chunk_ = 0;
    while (reader->Read(&request)) {
      data_ += request.data();
      largest_chunk_ = std::max(largest_chunk_, request.data().size());
      if (header_.name() == "too large") return {grpc::StatusCode::RESOURCE_EXHAUSTED, "the file is too large"};
    }
    if (context->IsCancelled()) upload_cancelled_.set_value();
    scan->set_scan_id("uploaded");
    return grpc::Status::OK;
  }

  void Drain() {
    const std::lock_guard lock(mutex_);
    draining_ = true;
    changed_.notify_all();
  }

  v1::SubmitScanHeader header_;
  std::string data_;
  std::size_t largest_chunk_ = 0;
  std::promise<void> cancelled_;
  std::promise<void> drained_;
  std::promise<void> upload_cancelled_;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool draining_ = false;
};

Config TestConfig(const std::string& grpc = "127.0.0.1:0", const std::string& http = "127.0.0.1:0") {
  Config config(CommonConfigKeys());
  REQUIRE(config.SetFromOption("auth.required=false"));
  REQUIRE(config.SetFromOption("listen.grpc=" + grpc));
  REQUIRE(config.SetFromOption("listen.http=" + http));
  return config;
}

struct TestServer {
  TestServer() : frontend(Start(TestConfig()).value()), http(frontend->http_address().host, frontend->http_address().port) {
    http.set_keep_alive(true);
    http.set_read_timeout(20);
  }

  Result<std::unique_ptr<Frontend>> Start(const Config& config) {
    return Frontend::Start(config, {{v1::Detection::service_full_name(), &detection}},
                           {{.path = "/v1/scans", .service = v1::Detection::service_full_name(), .method = "SubmitScan"}},
                           metrics);
  }
  std::shared_ptr<grpc::Channel> Channel() const {
    return grpc::CreateChannel(frontend->grpc_address().ToString(), grpc::InsecureChannelCredentials());
  }
  httplib::Result Post(const std::string& path, const std::string& body) { return http.Post(path, body, "application/json"); }

  Metrics metrics;
  TestDetection detection;
  std::unique_ptr<Frontend> frontend;
  httplib::Client http;
};

// An answer that must have come.
struct Reply {
  explicit Reply(const httplib::Result& result) {
    REQUIRE(result);
    status = result->status;
    body = result->body;
  }
  int status = 0;
  std::string body;
};

TEST_CASE("Server: a call gives the same by gRPC and by HTTP", "[server]") {
  TestServer server;
  grpc::ClientContext context;
  v1::GetScanRequest request;
  request.set_scan_id("s1");
  v1::Scan scan;
  REQUIRE(v1::Detection::NewStub(server.Channel())->GetScan(&context, request, &scan).ok());
  CHECK(scan.scan_id() == "s1");

  const Reply reply(server.Post("/v1/Detection/GetScan", R"({"scan_id": "s1"})"));
  CHECK(reply.status == 200);
  const json object = json::parse(reply.body);
  CHECK(object["scan_id"] == "s1");
  CHECK(object["state"] == "DONE");
  CHECK(object["finding"]["created_at"] == "1970-01-01T00:00:01Z");
  // Fields that hold their default are there, by the names of the .proto files.
  CHECK(object["finding"]["clip_sha256"] == "");
  CHECK(object["finding"]["candidates"] == "0");
  CHECK(object["finding"]["accusations"].empty());
}

TEST_CASE("Server: errors have grpc-gateway's HTTP status, the code and the message", "[server]") {
  TestServer server;
  const Reply missing(server.Post("/v1/Detection/GetScan", R"({"scan_id": "missing"})"));
  CHECK(missing.status == 404);
  CHECK(json::parse(missing.body) == json({{"code", 5}, {"message", "scan_id: wanted a scan, got 'missing'"}}));
  const Reply unimplemented(server.Post("/v1/Detection/CancelScan", "{}"));
  CHECK(unimplemented.status == 501);
  CHECK(json::parse(unimplemented.body)["code"] == 12);
}

TEST_CASE("Server: requests that are not right are refused, and the connection goes on", "[server]") {
  TestServer server;
  const auto status = [&](const std::string& path, const std::string& body) { return Reply(server.Post(path, body)).status; };
  CHECK(status("/v1/Detection/GetScan", "{\"scan_id\": ") == 400);
  CHECK(status("/v1/Detection/GetScan", R"({"scan_di": "s1"})") == 400);
  CHECK(status("/v1/Detection/GetScan", R"({"scan_id": {}})") == 400);
  CHECK(status("/v1/Detection/Nonsense", "{}") == 404);
  CHECK(status("/v1/Relay/GetStream", "{}") == 404);  // compiled in, but not served
  CHECK(status("/v1/Detection/SubmitScan", "{}") == 404);
  CHECK(status("/v2/Detection/GetScan", "{}") == 404);
  CHECK(status("/v1/Detection/GetScan", std::string(kMaxJsonBytes + 1, ' ')) == 413);
  CHECK(Reply(server.http.Get("/v1/Detection/GetScan")).status == 405);
  CHECK(Reply(server.http.Put("/v1/Detection/GetScan", "{}", "application/json")).status == 405);
  CHECK(Reply(server.http.Get("/nowhere")).status == 404);
  CHECK(json::parse(Reply(server.http.Get("/nowhere")).body)["code"] == 5);
  CHECK(status("/v1/Detection/GetScan", R"({"scan_id": "s1"})") == 200);
  CHECK(status("/v1/Detection/GetScan", "") == 200);
}

TEST_CASE("Server: what a web page of another origin sends is refused", "[server]") {
  TestServer server;
  for (const char* origin : {"https://evil.example", "http://127.0.0.1.evil.example:7421", "null"}) {
    CHECK(Reply(server.http.Post("/v1/Detection/GetScan", {{"Origin", origin}}, "{}", "text/plain")).status == 403);
    CHECK(Reply(server.http.Post("/v1/scans?name=x", {{"Origin", origin}}, "{}", "text/plain")).status == 403);
    CHECK(Reply(server.http.Get("/metrics", {{"Origin", origin}})).status == 403);
  }
  CHECK(Reply(server.http.Post("/v1/Detection/GetScan", {{"Origin", "http://localhost:3000"}}, "{}", "text/plain")).status ==
        200);
}

TEST_CASE("Server: a refused request's body is not taken for the next request", "[server]") {
  TestServer server;
  const std::string hidden = "POST /v1/scans?name=smuggled HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx";
  CHECK(Reply(server.http.Post("/v1/Detection/GetScan", {{"Host", "evil.example"}}, hidden, "text/plain")).status == 403);
  CHECK(Reply(server.http.Post("/v1/Detection/GetScan", "{}", "application/json")).status == 200);
  server.frontend->Stop(std::chrono::milliseconds(1000));
  CHECK(server.detection.header_.name().empty());
}

TEST_CASE("Server: another name in Host is refused", "[server]") {
  TestServer server;
  for (const char* host : {"evil.example", "evil.example:7421", "127.0.0.1.evil.example", "localhost.evil.example:1"}) {
    CHECK(Reply(server.http.Post("/v1/Detection/GetScan", {{"Host", host}}, "{}", "application/json")).status == 403);
  }
  for (const char* host : {"localhost", "LOCALHOST", "localhost:7421", "127.0.0.1", "[::1]:7421"}) {
    CHECK(Reply(server.http.Post("/v1/Detection/GetScan", {{"Host", host}}, "{}", "application/json")).status == 200);
  }
}

TEST_CASE("Server: a stream is one JSON object a line, an error within it the last", "[server]") {
  TestServer server;
  const Reply whole(server.Post("/v1/Detection/WatchScan", R"({"scan_id": "s1"})"));
  CHECK(whole.status == 200);
  std::istringstream lines(whole.body);
  std::vector<json> objects;
  for (std::string line; std::getline(lines, line);) objects.push_back(json::parse(line));
  REQUIRE(objects.size() == 3);
  CHECK(objects[1]["fraction"] == 0.5);

  const Reply broken(server.Post("/v1/Detection/WatchScan", R"({"scan_id": "fails"})"));
  CHECK_THAT(broken.body, Catch::Matchers::EndsWith("{\"error\":{\"code\":15,\"message\":\"broken\"}}\n"));
  CHECK(Reply(server.Post("/v1/Detection/WatchScan", R"({"scan_id": "missing"})")).status == 404);
}

TEST_CASE("Server: a client that leaves a stream cancels the call", "[server]") {
  TestServer server;
  auto cancelled = server.detection.cancelled_.get_future();
  httplib::Request request;
  request.method = "POST";
  request.path = "/v1/Detection/WatchScan";
  request.body = R"({"scan_id": "waits"})";
  std::string first;
  // Leaves after the first piece: httplib closes the connection.
  request.content_receiver = [&](const char* data, std::size_t size, std::uint64_t, std::uint64_t) {
    first.assign(data, size);
    return false;
  };
  {
    httplib::Client leaving(server.frontend->http_address().host, server.frontend->http_address().port);
    CHECK_FALSE(leaving.send(request));
  }
  CHECK_THAT(first, Contains("\"stage\":\"read\""));
  CHECK(cancelled.wait_for(std::chrono::seconds(10)) == std::future_status::ready);
}

TEST_CASE("Server: an upload over HTTP arrives whole, in pieces, with the query as its header", "[server]") {
  TestServer server;
  std::string file(5 << 20, '\0');
  for (std::size_t i = 0; i < file.size(); ++i) file[i] = static_cast<char>(i * 2654435761U >> 13);
  const Reply reply(server.http.Post("/v1/scans?name=a%20clip.opus&case_label=K-1&max_false_accusation=1e-6", file,
                                     "application/octet-stream"));
  CHECK(reply.status == 200);
  CHECK(json::parse(reply.body)["scan_id"] == "uploaded");
  CHECK(server.detection.header_.name() == "a clip.opus");
  CHECK(server.detection.header_.case_label() == "K-1");
  CHECK(server.detection.header_.max_false_accusation() == 1e-6);
  CHECK((server.detection.data_ == file));
  CHECK(server.detection.largest_chunk_ == kUploadChunkBytes);
}

TEST_CASE("Server: an upload without a length comes in chunks and arrives as well", "[server]") {
  TestServer server;
  const std::string piece(100'000, 'x');
  const auto provider = [&](std::size_t offset, httplib::DataSink& sink) {
    if (offset < 3 * piece.size()) return sink.write(piece.data(), piece.size());
    sink.done();
    return true;
  };
  CHECK(Reply(server.http.Post("/v1/scans?name=x", provider, "application/octet-stream")).status == 200);
  CHECK(server.detection.data_.size() == 3 * piece.size());
}

TEST_CASE("Server: an upload that is refused says why", "[server]") {
  TestServer server;
  const std::string file(1 << 20, 'x');
  const Reply unknown(server.http.Post("/v1/scans?nmae=x", file, "application/octet-stream"));
  CHECK(unknown.status == 400);
  CHECK_THAT(unknown.body, Contains("nmae"));
  CHECK(Reply(server.http.Post("/v1/scans?name=x&name=y", file, "application/octet-stream")).status == 400);
  const Reply large(server.http.Post("/v1/scans?name=too%20large", file, "application/octet-stream"));
  CHECK(large.status == 429);
  CHECK_THAT(large.body, Contains("too large"));
  CHECK(Reply(server.http.Post("/v1/scans?name=x", file, "application/octet-stream")).status == 200);
}

TEST_CASE("Server: half an upload is no upload", "[server]") {
  TestServer server;
  auto cancelled = server.detection.upload_cancelled_.get_future();
  const auto breaks_off = [](std::size_t offset, std::size_t, httplib::DataSink& sink) {
    if (offset >= 200'000) return false;
    const std::string piece(100'000, 'x');
    return sink.write(piece.data(), piece.size());
  };
  httplib::Client leaving(server.frontend->http_address().host, server.frontend->http_address().port);
  CHECK_FALSE(leaving.Post("/v1/scans?name=x", 1'000'000, breaks_off, "application/octet-stream"));
  CHECK(cancelled.wait_for(std::chrono::seconds(10)) == std::future_status::ready);
}

// The answer of a unary call whose messages have no compiled-in type here: health and reflection, by their wire format.
std::string CallBytes(const std::shared_ptr<grpc::Channel>& channel, const std::string& method, const std::string& request) {
  RawCall call(channel, method, "");
  REQUIRE(call.Write(request));
  call.WritesDone();
  REQUIRE(call.Read(std::chrono::seconds(10)) == RawCall::ReadState::kMessage);
  const std::string message = call.message();
  CHECK(call.Finish().ok());
  return message;
}

TEST_CASE("Server: not loopback, or asking for protection that is not there, is refused", "[server]") {
  TestServer server;
  const auto message = [&](const Config& config) {
    const auto refused = server.Start(config);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == ErrorCode::kInvalidArgument);
    return refused.error().message;
  };
  CHECK_THAT(message(TestConfig("0.0.0.0:0")), Contains("listen.grpc") && Contains("tls.cert and tls.key are not set"));
  CHECK_THAT(message(TestConfig("127.0.0.1:0", "192.168.0.1:0")), Contains("listen.http"));
  Config tokens = TestConfig();
  REQUIRE(tokens.SetFromOption("auth.required=true"));
  CHECK_THAT(message(tokens), Contains("auth.required"));
  Config tls = TestConfig();
  REQUIRE(tls.SetFromOption("tls.cert=cert.pem"));
  CHECK_THAT(message(tls), Contains("tls.key: wanted"));
}

TEST_CASE("Server: a port in use is one clear line", "[server]") {
  TestServer server;
  const auto grpc_taken = server.Start(TestConfig(server.frontend->grpc_address().ToString()));
  REQUIRE_FALSE(grpc_taken);
  CHECK(grpc_taken.error().code == ErrorCode::kAlreadyExists);
  CHECK_THAT(grpc_taken.error().message, Contains(server.frontend->grpc_address().ToString()) && !Contains("\n"));
  const auto http_taken = server.Start(TestConfig("127.0.0.1:0", server.frontend->http_address().ToString()));
  REQUIRE_FALSE(http_taken);
  CHECK(http_taken.error().code == ErrorCode::kAlreadyExists);
  CHECK_THAT(http_taken.error().message, Contains(server.frontend->http_address().ToString()));
}

TEST_CASE("Server: metrics, health and readiness, before and during a drain", "[server]") {
  TestServer server;
  server.metrics.Counter("earmark_test_total", "A test.", {{"kind", "x"}}).Increment();
  CHECK(Reply(server.http.Get("/healthz")).status == 200);
  CHECK(Reply(server.http.Get("/readyz")).status == 200);
  const Reply metrics(server.http.Get("/metrics"));
  CHECK_THAT(metrics.body,
             Contains("earmark_test_total{kind=\"x\"} 1") && Contains("earmark_http_responses_total{status=\"200\"}"));
  // HealthCheckResponse{status}: 1 SERVING, 2 NOT_SERVING, field 1.
  CHECK(CallBytes(server.Channel(), "/grpc.health.v1.Health/Check", "") == std::string("\x08\x01"));

  server.frontend->AnnounceDrain();
  CHECK(Reply(server.http.Get("/readyz")).status == 503);
  CHECK(Reply(server.http.Get("/healthz")).status == 200);
  CHECK(CallBytes(server.Channel(), "/grpc.health.v1.Health/Check", "") == std::string("\x08\x02"));
  CHECK(Reply(server.Post("/v1/Detection/GetScan", "{}")).status == 200);
}

TEST_CASE("Server: reflection lists the services", "[server]") {
  TestServer server;
  // ServerReflectionRequest{list_services: "*"}: field 7.
  const std::string answer =
      CallBytes(server.Channel(), "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", std::string("\x3a\x01*"));
  CHECK_THAT(answer, Contains("earmark.v1.Detection") && Contains("grpc.health.v1.Health"));
}

TEST_CASE("Server: a drain lets streams end by themselves, and cancels at the deadline what does not", "[server]") {
  TestServer server;
  const bool asked = GENERATE(true, false);
  auto ended = asked ? server.detection.drained_.get_future() : server.detection.cancelled_.get_future();
  std::promise<void> begun;
  auto reader = std::async(std::launch::async, [&] {
    grpc::ClientContext context;
    v1::WatchScanRequest request;
    request.set_scan_id("waits");
    const auto stub = v1::Detection::NewStub(server.Channel());
    const auto stream = stub->WatchScan(&context, request);
    v1::Progress progress;
    for (int i = 0; i < 3; ++i) stream->Read(&progress);
    begun.set_value();
    while (stream->Read(&progress)) {
    }
    return stream->Finish().ok();
  });
  begun.get_future().wait();
  server.frontend->AnnounceDrain();
  if (asked) server.detection.Drain();
  server.frontend->Stop(asked ? std::chrono::milliseconds(10'000) : std::chrono::milliseconds(50));
  CHECK(ended.wait_for(std::chrono::seconds(0)) == std::future_status::ready);
  CHECK(reader.get() == asked);
}

TEST_CASE("Status: errors and gRPC's codes map one to one", "[server]") {
  for (const ErrorCode code : {ErrorCode::kInvalidArgument, ErrorCode::kNotFound, ErrorCode::kAlreadyExists,
                               ErrorCode::kFailedPrecondition, ErrorCode::kPermissionDenied, ErrorCode::kResourceExhausted,
                               ErrorCode::kUnavailable, ErrorCode::kDataLoss, ErrorCode::kCancelled, ErrorCode::kInternal}) {
    const grpc::Status status = ToStatus(Error{code, "message"});
    CHECK(ToError(status).code == code);
    CHECK(ToError(status).message == "message");
  }
  CHECK(ToStatus(Result<int>(1)).ok());
}

}  // namespace
}  // namespace earmark::server
