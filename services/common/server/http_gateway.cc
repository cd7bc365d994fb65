#include "services/common/server/http_gateway.h"

#include <google/protobuf/descriptor.h>
#include <httplib.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>

#include "services/common/server/host_guard.h"
#include "services/common/server/http_connection.h"
#include "services/common/server/http_tls.h"
#include "services/common/server/json_codec.h"
#include "services/common/server/raw_call.h"
#include "services/common/server/status.h"

namespace earmark::server {
namespace {

using std::chrono::milliseconds;

constexpr const char* kJson = "application/json";
constexpr const char* kJsonLines = "application/x-ndjson";
// Each connection holds one, also one that sends half a request, for as long as http_connection.h lets it; more than these wait their turn.
constexpr std::size_t kNumThreads = 512;
// Streams at one time, so that threads are left for other calls and for /healthz.
constexpr int kMaxStreams = 128;
constexpr std::chrono::seconds kUploadPeriod{1};
// A stream that says nothing for so long begins anyway, so that its client learns that it was accepted.
constexpr milliseconds kPatienceForFirst{1000};
// How often a quiet stream looks whether its client is still there.
constexpr milliseconds kDisconnectPoll{200};
constexpr milliseconds kForever = std::chrono::hours(24 * 365);

std::string ErrorJson(const grpc::Status& status) {
  const nlohmann::ordered_json body = {{"code", static_cast<int>(status.error_code())}, {"message", status.error_message()}};
  return body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

void Answer(httplib::Response& response, const grpc::Status& status) {
  response.status = ToHttpStatus(status.error_code());
  response.set_content(ErrorJson(status), kJson);
}

void Answer(httplib::Response& response, int http_status, grpc::StatusCode code, const std::string& message) {
  response.status = http_status;
  response.set_content(ErrorJson(grpc::Status(code, message)), kJson);
}

bool HasBody(const httplib::Request& request) {
  return request.has_header("Content-Length") || request.has_header("Transfer-Encoding");
}

// Passes the body to `take`, piece by piece. Reads it to its end whatever `take` says, since the connection's next request comes
// after it. False: it broke off, or take said false.
bool ReadBody(const httplib::Request& request, const httplib::ContentReader& reader,
              const std::function<bool(std::string_view)>& take) {
  // Without a length httplib would wait for the connection to close.
  if (!HasBody(request)) return true;
  bool taken = true;
  const bool whole = reader([&](const char* data, std::size_t size) {
    taken = taken && take(std::string_view(data, size));
    return true;
  });
  return whole && taken;
}

void Discard(const httplib::Request& request, const httplib::ContentReader& reader) {
  HttpConnection::EnoughBody();
  ReadBody(request, reader, [](std::string_view) { return true; });
}

// The header that gives a request away as that of somebody else's web page.
std::optional<std::string> ForeignName(const httplib::Request& request, const TlsWatch* tls) {
  const auto origin = request.has_header("Origin") ? std::optional(request.get_header_value("Origin")) : std::nullopt;
  const auto identity = tls == nullptr ? nullptr : tls->identity();
  return ForeignHeader(request.get_header_value("Host"), origin, identity.get());
}

void Refuse(httplib::Response& response, const std::string& header) {
  Answer(response, 403, grpc::StatusCode::PERMISSION_DENIED,
         header + ": wanted a loopback address or a name of the certificate, got another");
}

// Refused after its body was read: what is left of one request would be taken for the next one.
httplib::Server::HandlerWithContentReader Guarded(const TlsWatch* tls, httplib::Server::HandlerWithContentReader handler) {
  return [tls, handler = std::move(handler)](const httplib::Request& request, httplib::Response& response,
                                             const httplib::ContentReader& reader) {
    const auto foreign = ForeignName(request, tls);
    if (!foreign) return handler(request, response, reader);
    Discard(request, reader);
    Refuse(response, *foreign);
  };
}

// What would let others see another request in these bytes than we do; empty: nothing.
std::string FramingMistake(const httplib::Request& request) {
  for (const char* once : {"Host", "Authorization", "Content-Length", "Transfer-Encoding"}) {
    if (request.get_header_value_count(once) > 1) return std::string(once) + ": wanted one, got several";
  }
  const std::string length = request.get_header_value("Content-Length");
  const bool is_number =
      length.size() <= 18 && std::all_of(length.begin(), length.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (request.has_header("Content-Length") && (length.empty() || !is_number))
    return "Content-Length: wanted a number of bytes, got another";
  if (!request.has_header("Transfer-Encoding")) return "";
  if (request.has_header("Content-Length")) return "Content-Length: wanted none beside Transfer-Encoding, got one";
  return request.get_header_value("Transfer-Encoding") == "chunked" ? "" : "Transfer-Encoding: wanted chunked, got another";
}

// What httplib says no to by itself.
std::string RefusalOf(const httplib::Request& request, int status) {
  if (request.path.empty() || status == 414)
    return "wanted an HTTP/1.1 request whose head is whole within 3 s and whose lines have at most 8 kB, got something else";
  return request.method + " " + request.path + (status == 416 ? ": wanted no Range, got one" : ": no such page");
}

// httplib's own default shares the port with whoever else wants it.
void SetSocketOptions(socket_t socket) {
  const int on = 1;
  ::setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
}

std::string FullMethod(const google::protobuf::MethodDescriptor& method) {
  return "/" + method.service()->full_name() + "/" + method.name();
}

// Counts the calls that run.
class CallCount {
 public:
  // The call runs until the token is gone.
  std::shared_ptr<void> Enter() {
    const std::lock_guard lock(mutex_);
    ++num_calls_;
    return {this, [this](void*) { Leave(); }};
  }
  void WaitUntilNone(milliseconds patience) {
    std::unique_lock lock(mutex_);
    none_.wait_for(lock, patience, [this] { return num_calls_ == 0; });
  }

 private:
  void Leave() {
    const std::lock_guard lock(mutex_);
    if (--num_calls_ == 0) none_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable none_;
  int num_calls_ = 0;
};

}  // namespace

class HttpGateway::Impl {
 public:
  Impl(std::shared_ptr<grpc::Channel> channel, GatewayOptions options, Metrics& metrics)
      : channel_(std::move(channel)),
        options_(std::move(options)),
        metrics_(metrics),
        owned_server_(NewHttpServer(options_.tls.get())),
        server_(*owned_server_) {}
  ~Impl() { Stop(); }

  Result<void> Start(const Address& address);
  void Stop();
  void AnnounceReady() { ready_ = true; }
  void AnnounceDrain() { ready_ = false; }
  void WaitForCalls(milliseconds patience) { calls_.WaitUntilNone(patience); }
  const Address& address() const { return address_; }

 private:
  // Null without TLS.
  const TlsWatch* tls() const { return options_.tls.get(); }
  Result<void> CheckOptions() const;
  void AddRoutes();
  void AddGuards();
  void AddProbes();
  const google::protobuf::MethodDescriptor* Find(const std::string& service, const std::string& method) const;
  void Call(const httplib::Request& request, httplib::Response& response, const httplib::ContentReader& reader);
  void CallUnary(const google::protobuf::MethodDescriptor& method, RawCall& call, httplib::Response& response);
  std::atomic<int> num_streams_ = 0;
  void CallStream(const google::protobuf::MethodDescriptor& method, std::shared_ptr<RawCall> call, httplib::Response& response);
  void CallUpload(const google::protobuf::MethodDescriptor& method, const httplib::Request& request, httplib::Response& response,
                  const httplib::ContentReader& reader);

  std::shared_ptr<grpc::Channel> channel_;
  GatewayOptions options_;
  Metrics& metrics_;
  Address address_;
  std::atomic<bool> ready_ = false;
  CallCount calls_;
  std::unique_ptr<httplib::Server> owned_server_;
  httplib::Server& server_;
  std::thread thread_;
};

Result<void> HttpGateway::Impl::CheckOptions() const {
  for (const std::string& service : options_.services) {
    if (google::protobuf::DescriptorPool::generated_pool()->FindServiceByName(service) == nullptr) {
      return Fail(ErrorCode::kInvalidArgument, "gateway: there is no service " + service);
    }
  }
  for (const Upload& upload : options_.uploads) {
    const auto* method = FindMethod(upload.service, upload.method);
    const auto* type = method == nullptr ? nullptr : method->input_type();
    if (type == nullptr || !method->client_streaming() || type->FindFieldByName("header") == nullptr ||
        type->FindFieldByName("data") == nullptr) {
      return Fail(ErrorCode::kInvalidArgument, "gateway: " + upload.method + ": wanted a client stream of header and data");
    }
  }
  return {};
}

Result<void> HttpGateway::Impl::Start(const Address& address) {
  if (const auto right = CheckOptions(); !right) return Pass(right);
  server_.new_task_queue = [] { return new httplib::ThreadPool(kNumThreads); };
  server_.set_socket_options(&SetSocketOptions);
  // A connection that idles in between requests holds up Stop for so long.
  server_.set_keep_alive_timeout(1);
  server_.set_keep_alive_max_count(1000);
  server_.set_tcp_nodelay(true);
  AddGuards();
  AddProbes();
  AddRoutes();
  address_ = address;
  if (address.port == 0) {
    address_.port = server_.bind_to_any_port(address.host);
  } else if (!server_.bind_to_port(address.host, address.port)) {
    address_.port = -1;
  }
  if (address_.port <= 0) {
    return Fail(ErrorCode::kAlreadyExists, "listen.http: wanted a free port, got " + address.ToString() +
                                               ", which cannot be listened on; is another daemon running?");
  }
  thread_ = std::thread([this] { server_.listen_after_bind(); });
  while (!server_.is_running()) std::this_thread::yield();
  return {};
}

void HttpGateway::Impl::Stop() {
  if (!thread_.joinable()) return;
  server_.stop();
  thread_.join();
}

void HttpGateway::Impl::AddGuards() {
  // Requests with a body are guarded where the body is read.
  server_.set_pre_routing_handler([this](const httplib::Request& request, httplib::Response& response) {
    HttpConnection::HeadIsRead();
    if (const std::string mistake = FramingMistake(request); !mistake.empty()) {
      HttpConnection::Abandon();
      Answer(response, 400, grpc::StatusCode::INVALID_ARGUMENT, mistake);
      return httplib::Server::HandlerResponse::Handled;
    }
    const auto foreign = request.method == "GET" || request.method == "HEAD" || request.method == "OPTIONS"
                             ? ForeignName(request, tls())
                             : std::nullopt;
    if (!foreign) return httplib::Server::HandlerResponse::Unhandled;
    Refuse(response, *foreign);
    return httplib::Server::HandlerResponse::Handled;
  });
  server_.set_exception_handler([](const httplib::Request& request, httplib::Response& response, const std::exception_ptr&) {
    spdlog::error("http: {} {} threw", request.method, request.path);
    Answer(response, 500, grpc::StatusCode::INTERNAL, "internal error");
  });
  // What httplib refuses by itself has no body yet.
  server_.set_error_handler([](const httplib::Request& request, httplib::Response& response) {
    if (!response.body.empty()) return;
    const auto code = response.status == 404 ? grpc::StatusCode::NOT_FOUND : grpc::StatusCode::INVALID_ARGUMENT;
    Answer(response, response.status, code, RefusalOf(request, response.status));
  });
  server_.set_logger([this](const httplib::Request& request, const httplib::Response& response) {
    metrics_.Counter("earmark_http_responses_total", "HTTP responses by status", {{"status", std::to_string(response.status)}})
        .Increment();
    spdlog::debug("http: {} {} {}", request.method, request.path, response.status);
  });
}

void HttpGateway::Impl::AddProbes() {
  server_.Get("/healthz",
              [](const httplib::Request&, httplib::Response& response) { response.set_content("ok\n", "text/plain"); });
  server_.Get("/readyz", [this](const httplib::Request&, httplib::Response& response) {
    response.status = ready_ ? 200 : 503;
    response.set_content(ready_ ? "ready\n" : "not ready\n", "text/plain");
  });
  server_.Get("/metrics", [this](const httplib::Request&, httplib::Response& response) {
    response.set_content(metrics_.ToText(), "text/plain; version=0.0.4");
  });
}

void HttpGateway::Impl::AddRoutes() {
  for (const Upload& upload : options_.uploads) {
    const auto* method = FindMethod(upload.service, upload.method);
    server_.Post(upload.path, Guarded(tls(), [this, method](const httplib::Request& request, httplib::Response& response,
                                                            const httplib::ContentReader& reader) {
                   CallUpload(*method, request, response, reader);
                 }));
  }
  server_.Post(R"(/v1/([A-Za-z0-9_]+)/([A-Za-z0-9_]+))",
               Guarded(tls(), [this](const httplib::Request& request, httplib::Response& response,
                                     const httplib::ContentReader& reader) { Call(request, response, reader); }));
  // Without these httplib would hold the whole body of a request that nobody serves.
  const auto refuse = [this](int status, grpc::StatusCode code) {
    return Guarded(
        tls(), [=](const httplib::Request& request, httplib::Response& response, const httplib::ContentReader& reader) {
          Discard(request, reader);
          Answer(response, status, code, request.method + " " + request.path + ": no such call; wanted POST /v1/Service/Method");
        });
  };
  server_.Post(".*", refuse(404, grpc::StatusCode::NOT_FOUND));
  server_.Put(".*", refuse(405, grpc::StatusCode::UNIMPLEMENTED));
  server_.Patch(".*", refuse(405, grpc::StatusCode::UNIMPLEMENTED));
  server_.Delete(".*", refuse(405, grpc::StatusCode::UNIMPLEMENTED));
  server_.Get("/v1/.*", [](const httplib::Request& request, httplib::Response& response) {
    response.set_header("Allow", "POST");
    Answer(response, 405, grpc::StatusCode::UNIMPLEMENTED, "GET " + request.path + ": wanted POST");
  });
}

// `service` without its package, as in paths.
const google::protobuf::MethodDescriptor* HttpGateway::Impl::Find(const std::string& service, const std::string& method) const {
  for (const std::string& full_name : options_.services) {
    if (full_name.substr(full_name.rfind('.') + 1) == service) return FindMethod(full_name, method);
  }
  return nullptr;
}

void HttpGateway::Impl::Call(const httplib::Request& request, httplib::Response& response, const httplib::ContentReader& reader) {
  const auto running = calls_.Enter();
  std::string body;
  const bool read = ReadBody(request, reader, [&](std::string_view piece) {
    body += piece;
    return body.size() <= kMaxJsonBytes;
  });
  const auto* method = Find(request.matches[1], request.matches[2]);
  if (method == nullptr || method->client_streaming()) {
    const char* const why = method == nullptr ? ": no such call" : ": a call that takes a stream is for gRPC alone";
    return Answer(response, 404, grpc::StatusCode::NOT_FOUND, request.path + why);
  }
  if (!read) {
    const int status = body.size() > kMaxJsonBytes ? 413 : 400;
    return Answer(response, status, grpc::StatusCode::INVALID_ARGUMENT,
                  "body: wanted a whole request of at most " + std::to_string(kMaxJsonBytes) + " bytes");
  }
  const auto message = JsonToBytes(*method->input_type(), body);
  if (!message) return Answer(response, ToStatus(message.error()));
  auto call = std::make_shared<RawCall>(channel_, FullMethod(*method), request.get_header_value("Authorization"));
  if (call->Write(*message)) call->WritesDone();
  if (method->server_streaming()) return CallStream(*method, std::move(call), response);
  CallUnary(*method, *call, response);
}

void HttpGateway::Impl::CallUnary(const google::protobuf::MethodDescriptor& method, RawCall& call, httplib::Response& response) {
  const bool answered = call.Read(kForever) == RawCall::ReadState::kMessage;
  const std::string message = answered ? call.message() : "";
  const grpc::Status status = call.Finish();
  if (!status.ok()) return Answer(response, status);
  const auto json = BytesToJson(*method.output_type(), message);
  if (!json) return Answer(response, ToStatus(json.error()));
  response.status = 200;
  response.set_content(*json + "\n", kJson);
}

void HttpGateway::Impl::CallStream(const google::protobuf::MethodDescriptor& method, std::shared_ptr<RawCall> call,
                                   httplib::Response& response) {
  auto place = std::shared_ptr<void>(nullptr, [this](void*) { --num_streams_; });
  if (++num_streams_ > kMaxStreams) {
    return Answer(response,
                  grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "streams over HTTP: " + std::to_string(kMaxStreams) +
                                                                         " are open already; try again later, or use gRPC"));
  }
  // The first message decides between an HTTP error and a stream.
  auto state = std::make_shared<RawCall::ReadState>(call->Read(kPatienceForFirst));
  if (*state == RawCall::ReadState::kEnd) {
    const grpc::Status status = call->Finish();
    if (!status.ok()) return Answer(response, status);
    response.set_content("", kJsonLines);
    return;
  }
  response.status = 200;
  const auto* type = method.output_type();
  // Called again and again until it says done or false. Its captures go when the response does, and with them the call.
  response.set_chunked_content_provider(
      kJsonLines, [type, call, state, place, running = calls_.Enter()](std::size_t, httplib::DataSink& sink) {
        if (*state == RawCall::ReadState::kNothingYet) *state = call->Read(kDisconnectPoll);
        if (*state == RawCall::ReadState::kNothingYet) return sink.is_writable();
        std::string line;
        if (*state == RawCall::ReadState::kMessage) {
          line = BytesToJson(*type, call->message()).value_or("{}") + "\n";
        } else if (const grpc::Status status = call->Finish(); !status.ok()) {
          line = "{\"error\":" + ErrorJson(status) + "}\n";
        }
        const bool written = line.empty() || sink.write(line.data(), line.size());
        if (*state == RawCall::ReadState::kEnd) sink.done();
        *state = RawCall::ReadState::kNothingYet;
        return written;
      });
}

void HttpGateway::Impl::CallUpload(const google::protobuf::MethodDescriptor& method, const httplib::Request& request,
                                   httplib::Response& response, const httplib::ContentReader& reader) {
  const auto running = calls_.Enter();
  const auto& type = *method.input_type();
  const auto header = UploadHeader(type, request.params);
  if (!header || !HasBody(request)) {
    Discard(request, reader);
    if (!header) return Answer(response, ToStatus(header.error()));
    return Answer(response, 411, grpc::StatusCode::INVALID_ARGUMENT,
                  "body: wanted the file, with Content-Length or chunked, got none");
  }
  RawCall call(channel_, FullMethod(method), request.get_header_value("Authorization"));
  bool open = call.Write(*header);
  std::string chunk;
  auto written = std::chrono::steady_clock::now();
  const bool whole = ReadBody(request, reader, [&](std::string_view piece) {
    for (; open && !piece.empty();) {
      const std::size_t taken = std::min(piece.size(), kUploadChunkBytes - chunk.size());
      chunk += piece.substr(0, taken);
      piece.remove_prefix(taken);
      // What comes slowly goes on as it comes, so that a call that has ended is noticed.
      if (chunk.size() < kUploadChunkBytes && std::chrono::steady_clock::now() - written < kUploadPeriod) break;
      open = call.Write(UploadData(type, chunk));
      written = std::chrono::steady_clock::now();
      chunk.clear();
    }
    if (open)
      HttpConnection::MoreBody();
    else
      HttpConnection::EnoughBody();
    // A service that has heard enough ends the call; its status says why. The rest of the body goes nowhere.
    return true;
  });
  // The call's destructor cancels it, so that no half of a file is taken for the whole. One that has ended says why.
  if (!whole && open)
    return Answer(response, 400, grpc::StatusCode::INVALID_ARGUMENT,
                  "body: wanted the whole file, got a part of it, and then nothing for 10 s or the end of the connection");
  if (open && !chunk.empty()) open = call.Write(UploadData(type, chunk));
  if (open) call.WritesDone();
  CallUnary(method, call, response);
}

HttpGateway::HttpGateway(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
HttpGateway::~HttpGateway() = default;

Result<std::unique_ptr<HttpGateway>> HttpGateway::Start(const Address& address, std::shared_ptr<grpc::Channel> channel,
                                                        const GatewayOptions& options, Metrics& metrics) {
  auto impl = std::make_unique<Impl>(std::move(channel), options, metrics);
  if (const auto started = impl->Start(address); !started) return Pass(started);
  return std::unique_ptr<HttpGateway>(new HttpGateway(std::move(impl)));
}

const Address& HttpGateway::address() const { return impl_->address(); }
void HttpGateway::AnnounceReady() { impl_->AnnounceReady(); }
void HttpGateway::AnnounceDrain() { impl_->AnnounceDrain(); }
void HttpGateway::WaitForCalls(std::chrono::milliseconds patience) { impl_->WaitForCalls(patience); }
void HttpGateway::Stop() { impl_->Stop(); }

}  // namespace earmark::server
