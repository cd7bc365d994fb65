// A daemon's life: serve, say so, drain on a signal, exit.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <vector>

#include "services/common/server/config.h"
#include "services/common/server/grpc_server.h"
#include "services/common/server/http_gateway.h"
#include "services/common/server/metrics.h"

namespace earmark::server {

// Whether the services themselves ask every caller for a token where `auth.required` is true.
enum class Guard { kNone, kTokens };

// Both front doors of a daemon, without signals: RunDaemon is made of it, and tests start it in their own process.
class Frontend {
 public:
  // Listens where `listen.grpc` and `listen.http` say. kInvalidArgument: tokens asked for, of which the services know nothing, or what
  // ReadFrontDoors refuses; the errors of TlsIdentity::Read; kAlreadyExists: a port is in use. `metrics` and the services must outlive it.
  static Result<std::unique_ptr<Frontend>> Start(const Config& config, const std::vector<ServedService>& services,
                                                 const std::vector<Upload>& uploads, Metrics& metrics,
                                                 Guard guard = Guard::kNone);

  const Address& grpc_address() const { return grpc_->address(); }
  const Address& http_address() const { return http_->address(); }
  // /readyz answers 503 and the health service NOT_SERVING from now on. Calls are still served.
  void AnnounceDrain();
  // Waits for running calls until the deadline, cancels the rest, closes both ports. Blocks.
  void Stop(std::chrono::milliseconds deadline);

 private:
  Frontend(std::unique_ptr<GrpcServer> grpc, std::unique_ptr<HttpGateway> http);

  std::unique_ptr<GrpcServer> grpc_;
  std::unique_ptr<HttpGateway> http_;
};

struct DaemonOptions {
  std::vector<ServedService> services;
  std::vector<Upload> uploads;
  Guard guard = Guard::kNone;
  Metrics* metrics = nullptr;  // must outlive RunDaemon
  // Called once when both ports are open, just before the ready line: begin what must not begin where the daemon cannot serve.
  std::function<void()> on_serving = [] {};
  // Called once when draining begins, while calls are still served: end what would not end by itself, such as streams to watchers.
  std::function<void()> on_drain = [] {};
  std::chrono::milliseconds drain_deadline{5000};
};

// Takes over SIGTERM and SIGINT (drain; a second one exits at once with 1) and SIGHUP (RunDaemon reads the configuration again), and ignores SIGPIPE. Call it first in main, so that a
// signal during a slow start is not lost: RunDaemon then drains as soon as it serves.
void InstallSignalHandlers();

// Sets up the log, serves, prints `ready grpc=HOST:PORT http=HOST:PORT` on stdout, and returns after a drain with the exit code:
// 0 after a clean drain, 2 for what the configuration got wrong, 1 for anything else, told on stderr in one line.
//
// On SIGHUP it reads the configuration again: log.level counts at once, of other keys that changed the log says that they count from the next
// start on. What cannot be read changes nothing. TLS files are read again without it (tls_watch.h).
int RunDaemon(const ProgramInfo& program, const Invocation& invocation, const DaemonOptions& options);

}  // namespace earmark::server
