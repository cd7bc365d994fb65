// HTTP connections of those who send half of what they should, or more than one request at a time: raw bytes on a socket.
#include <arpa/inet.h>
#include <httplib.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "dsp/media/input_file.h"
#include "earmark/v1/detection.grpc.pb.h"
#include "services/common/server/daemon.h"

namespace earmark::server {
namespace {

using Catch::Matchers::Contains;
using namespace std::chrono_literals;

// Takes nobody's uploads, and tells GetScan's id back.
class TestDetection final : public v1::Detection::Service {
  grpc::Status GetScan(grpc::ServerContext*, const v1::GetScanRequest* request, v1::Scan* scan) override {
    scan->set_scan_id(request->scan_id());
    return grpc::Status::OK;
  }
  grpc::Status SubmitScan(grpc::ServerContext*, grpc::ServerReader<v1::SubmitScanRequest>*, v1::Scan*) override {
    return {grpc::StatusCode::UNAUTHENTICATED, "token: wanted one, got none"};
  }
};

struct TestServer {
  TestServer() {
    Config config(CommonConfigKeys());
    for (const char* setting : {"auth.required=false", "listen.grpc=127.0.0.1:0", "listen.http=127.0.0.1:0"})
      REQUIRE(config.SetFromOption(setting));
    frontend =
        Frontend::Start(config, {{v1::Detection::service_full_name(), &detection}},
                        {{.path = "/v1/scans", .service = v1::Detection::service_full_name(), .method = "SubmitScan"}}, metrics)
            .value();
  }

  FileHandle Connect() const {
    FileHandle socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(frontend->http_address().port));
    ::inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
    REQUIRE(::connect(socket.fd(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
    return socket;
  }

  Metrics metrics;
  TestDetection detection;
  std::unique_ptr<Frontend> frontend;
};

bool Send(const FileHandle& socket, const std::string& bytes) {
  return ::send(socket.fd(), bytes.data(), bytes.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size());
}

// All that comes until the server closes the connection.
std::string ReadToEnd(const FileHandle& socket) {
  std::string all;
  char buffer[4096];
  struct pollfd polled {
    socket.fd(), POLLIN, 0
  };
  while (::poll(&polled, 1, 30'000) > 0) {
    const ssize_t got = ::recv(socket.fd(), buffer, sizeof buffer, 0);
    if (got <= 0) return all;
    all.append(buffer, static_cast<std::size_t>(got));
  }
  return all + "(and no end)";
}

int CountOf(const std::string& text, const std::string& part) {
  int count = 0;
  for (std::size_t at = 0; (at = text.find(part, at)) != std::string::npos; at += part.size()) ++count;
  return count;
}

TEST_CASE("HttpConnection: hundreds who send half a request hold nobody up for long, and are let go", "[http_connection]") {
  TestServer server;
  std::vector<FileHandle> half;
  for (int i = 0; i < 300; ++i) {
    half.push_back(server.Connect());
    REQUIRE(Send(half.back(), "GET /healthz HTTP/1.1\r\nHost: local"));
  }
  httplib::Client client(server.frontend->http_address().ToString());
  client.set_read_timeout(20s);
  const auto asked = std::chrono::steady_clock::now();
  const auto answer = client.Get("/healthz");
  REQUIRE(answer);
  CHECK(answer->status == 200);
  CHECK(std::chrono::steady_clock::now() - asked < 15s);  // 3 s on a machine that is not busy
  for (const FileHandle& socket : half) CHECK_THAT(ReadToEnd(socket), Contains("HTTP/1.1 400"));
}

TEST_CASE("HttpConnection: a head that drips is let go as one that stops", "[http_connection]") {
  TestServer server;
  const FileHandle socket = server.Connect();
  const auto began = std::chrono::steady_clock::now();
  const std::string drip = "GET /healthz HTTP/1.1\r\nX: " + std::string(10'000, 'x');
  bool sent = true;
  for (std::size_t i = 0; sent && i < drip.size(); ++i) {
    sent = Send(socket, drip.substr(i, 1));
    struct pollfd polled {
      socket.fd(), POLLIN, 0
    };
    if (::poll(&polled, 1, 100) > 0) break;
  }
  CHECK(std::chrono::steady_clock::now() - began < 20s);
}

TEST_CASE("HttpConnection: a body that stops is an error, and an upload that nobody takes is told why", "[http_connection]") {
  TestServer server;
  const FileHandle json = server.Connect();
  const FileHandle upload = server.Connect();
  Send(json, "POST /v1/Detection/GetScan HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{");
  Send(upload,
       "POST /v1/scans?name=x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n" + std::string(200'000, 'x'));
  CHECK_THAT(ReadToEnd(json), Contains("HTTP/1.1 400") && Contains("a whole request"));
  CHECK_THAT(ReadToEnd(upload), Contains("HTTP/1.1 401") && Contains("wanted one, got none"));
}

TEST_CASE("HttpConnection: requests that come at once are answered one by one", "[http_connection]") {
  TestServer server;
  const FileHandle socket = server.Connect();
  const auto request = [](const std::string& id, const std::string& more) {
    const std::string body = R"({"scan_id": ")" + id + "\"}";
    return "POST /v1/Detection/GetScan HTTP/1.1\r\nHost: localhost\r\n" + more +
           "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
  };
  REQUIRE(Send(socket, request("one", "") + request("two", "") + request("three", "Connection: close\r\n")));
  const std::string answers = ReadToEnd(socket);
  CHECK(CountOf(answers, "HTTP/1.1 200") == 3);
  for (const char* id : {"one", "two", "three"}) CHECK(CountOf(answers, "\"" + std::string(id) + "\"") == 1);
  CHECK(answers.find("\"one\"") < answers.find("\"two\""));
}

TEST_CASE("HttpConnection: a slow upload goes on, and one that is refused by its head is not waited for", "[http_connection]") {
  TestServer server;
  const std::string head = "POST /v1/scans?name=x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n";
  const FileHandle refused = server.Connect();  // the service takes nobody's uploads
  const FileHandle nowhere = server.Connect();
  const auto began = std::chrono::steady_clock::now();
  REQUIRE(Send(refused, head));
  REQUIRE(Send(nowhere, "POST /v1/nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n"));
  for (int i = 0; i < 15; ++i) {
    if (!Send(refused, "x") || !Send(nowhere, "x")) break;
    ::usleep(200'000);
  }
  CHECK_THAT(ReadToEnd(refused), Contains("HTTP/1.1 401"));
  CHECK_THAT(ReadToEnd(nowhere), Contains("HTTP/1.1 404"));
  CHECK(std::chrono::steady_clock::now() - began < 9s);
}

TEST_CASE("HttpConnection: what a proxy might take for another request is refused", "[http_connection]") {
  TestServer server;
  for (const char* headers : {"Content-Length: 2\r\nTransfer-Encoding: chunked", "Content-Length: 2, 30", "Content-Length: 2abc",
                              "Content-Length: -2", "Content-Length: 99999999999999999999", "Transfer-Encoding: gzip, chunked"}) {
    INFO(headers);
    const FileHandle socket = server.Connect();
    REQUIRE(Send(socket, "POST /v1/Detection/GetScan HTTP/1.1\r\nHost: localhost\r\n" + std::string(headers) +
                             "\r\n\r\n{}GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    const std::string answer = ReadToEnd(socket);
    CHECK_THAT(answer, Contains("HTTP/1.1 400") && Contains("wanted"));
    CHECK(CountOf(answer, "HTTP/1.1 ") == 1);
  }
}

TEST_CASE("HttpConnection: what is no HTTP is told what is wanted", "[http_connection]") {
  TestServer server;
  for (const std::string& bytes :
       {std::string("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n", 13), std::string("garbage\r\n\r\n")}) {
    const FileHandle socket = server.Connect();
    REQUIRE(Send(socket, bytes));
    CHECK_THAT(ReadToEnd(socket), Contains("HTTP/1.1 400") && Contains("wanted an HTTP/1.1 request"));
  }
}

TEST_CASE("HttpConnection: a header that must be there once is refused where there are two", "[http_connection]") {
  TestServer server;
  for (const char* header : {"Host: localhost", "Authorization: Bearer x", "Content-Length: 2"}) {
    INFO(header);
    const FileHandle socket = server.Connect();
    REQUIRE(Send(socket,
                 "POST /v1/Detection/GetScan HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer x\r\nContent-Length: 2\r\n" +
                     std::string(header) + "\r\n\r\n{}" + "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    const std::string answer = ReadToEnd(socket);
    CHECK_THAT(answer, Contains("HTTP/1.1 400") && Contains("wanted one, got several"));
    CHECK(CountOf(answer, "HTTP/1.1") == 1);
  }
}

}  // namespace
}  // namespace earmark::server
