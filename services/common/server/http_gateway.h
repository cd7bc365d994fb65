// HTTP/JSON in front of gRPC: every call of every service, by what its descriptor says.
//
//   POST /v1/Service/Method        the request as JSON (protobuf's mapping, names as in the .proto files; an unknown field is an
//   error)
//     unary                        200 and the answer as JSON
//     server stream                200 and one JSON object a line (application/x-ndjson); an error after the first line is a last
//     line {"error": …}
//     client stream, both ways     404: these are for gRPC alone, but for uploads
//   POST UPLOAD-PATH?name=value    an upload: the first message from the query, the body as its data
//   GET /healthz /readyz /metrics
//
// Errors have the HTTP status that grpc-gateway gives them and a body {"code": gRPC's number, "message": "…"}. Requests
// whose Host or Origin breaks the rule of host_guard.h are refused with 403, so that no web page can reach the API through the
// browser of somebody who can reach this daemon.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "dsp/core/result.h"
#include "services/common/server/address.h"
#include "services/common/server/metrics.h"
#include "services/common/server/tls_watch.h"

namespace grpc {
class Channel;
}

namespace earmark::server {

// Largest JSON request, in bytes.
inline constexpr std::size_t kMaxJsonBytes = 1 << 20;
// Uploads are passed on in pieces of this many bytes.
inline constexpr std::size_t kUploadChunkBytes = 64 << 10;

// A client-stream call whose request has a message field `header`, made from the query parameters, and a bytes field `data`.
struct Upload {
  std::string path;     // /v1/scans
  std::string service;  // earmark.v1.Detection
  std::string method;   // SubmitScan
};

struct GatewayOptions {
  std::vector<std::string> services;  // full names: earmark.v1.Relay
  std::vector<Upload> uploads;
  std::shared_ptr<const TlsWatch> tls;  // null: plain HTTP
};

// Serves from Start until Stop or destruction, on threads of its own; a call or stream takes one for as long as it lasts.
class HttpGateway {
 public:
  // `channel` carries the calls. `metrics` must outlive the gateway. kInvalidArgument: a service or upload that is not compiled
  // in; kAlreadyExists: another process has the port.
  static Result<std::unique_ptr<HttpGateway>> Start(const Address& address, std::shared_ptr<grpc::Channel> channel,
                                                    const GatewayOptions& options, Metrics& metrics);
  ~HttpGateway();

  // With the port that was found.
  const Address& address() const;
  // /readyz answers 503 until AnnounceReady, and again from AnnounceDrain on. Calls are served all the time.
  void AnnounceReady();
  void AnnounceDrain();
  // Waits until no call runs, at most so long.
  void WaitForCalls(std::chrono::milliseconds patience);
  // Returns when no request is left; calls that run must have ended or end by themselves. Again: does nothing.
  void Stop();

 private:
  class Impl;
  explicit HttpGateway(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace earmark::server
