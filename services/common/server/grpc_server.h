// A gRPC server for a list of services, with health and reflection.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "dsp/core/result.h"
#include "services/common/server/address.h"
#include "services/common/server/tls_watch.h"

namespace grpc {
class Channel;
class Server;
class ServerCredentials;
class Service;
}  // namespace grpc

namespace earmark::server {

// A service to serve, such as {v1::Relay::service_full_name(), &relay}.
struct ServedService {
  std::string full_name;   // earmark.v1.Relay
  grpc::Service* service;  // must outlive the server; called from many threads at once
};

// Largest message that is taken or sent, in bytes.
inline constexpr int kMaxMessageBytes = 4 << 20;

// Serves from Start until Shutdown or destruction. Thread-safe.
class GrpcServer {
 public:
  // `tls`: null for none. kAlreadyExists: not an address of this machine, or another process has the port.
  static Result<std::unique_ptr<GrpcServer>> Start(const Address& address, const std::vector<ServedService>& services,
                                                   std::shared_ptr<const TlsWatch> tls);
  ~GrpcServer();

  // With the port that was found.
  const Address& address() const { return address_; }
  // Calls of this process, without a socket. Fails with UNAVAILABLE after Shutdown.
  std::shared_ptr<grpc::Channel> InProcessChannel();
  // The health service answers NOT_SERVING from now on; calls go on.
  void AnnounceDrain();
  // Takes no new calls, waits for those that run, and cancels what is left at the deadline. Returns when none is left; again:
  // does nothing.
  void Shutdown(std::chrono::milliseconds deadline);

 private:
  GrpcServer(std::shared_ptr<grpc::ServerCredentials> credentials, std::unique_ptr<grpc::Server> server, Address address);

  std::shared_ptr<grpc::ServerCredentials> credentials_;  // the server asks them until it is gone
  std::unique_ptr<grpc::Server> server_;
  Address address_;
};

}  // namespace earmark::server
