#include "services/common/server/daemon.h"

#include <fcntl.h>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>

#include "dsp/core/core_dumps.h"
#include "services/common/server/front_doors.h"
#include "services/common/server/log.h"
#include "services/common/server/tls_watch.h"

namespace earmark::server {
namespace {

int signal_pipe[2] = {-1, -1};
volatile std::sig_atomic_t num_signals = 0;

void Tell(char what) { [[maybe_unused]] const auto written = ::write(signal_pipe[1], &what, 1); }

void OnHangUp(int) { Tell('h'); }

void OnSignal(int) {
  // Whoever asks twice does not want to wait.
  if (num_signals != 0) ::_exit(1);
  num_signals = 1;
  Tell('t');
}

// Whether it was to reload; else to stop.
bool WaitForSignal() {
  pollfd waited{.fd = signal_pipe[0], .events = POLLIN, .revents = 0};
  while (::poll(&waited, 1, -1) < 0) {
  }
  char what = 't';
  return ::read(signal_pipe[0], &what, 1) == 1 && what == 'h';
}

void Reload(const Invocation& invocation) {
  const auto now = invocation.read_again();
  if (const auto set = now ? SetLogLevel(now->Text("log", "level")) : Result<void>(Pass(now)); !set) {
    spdlog::warn("reload: {}; everything stays as it was", set.error().message);
    return;
  }
  for (const std::string& key : now->KeysUnlike(*invocation.config)) {
    if (key != "log.level") spdlog::warn("reload: {} counts from the next start on", key);
  }
  spdlog::info("reloaded");
}

int Refuse(const ProgramInfo& program, const Error& error) {
  std::fprintf(stderr, "%s: %s\n", program.name.c_str(), error.message.c_str());
  // The last two are those of files that it names.
  const bool configuration = error.code == ErrorCode::kInvalidArgument || error.code == ErrorCode::kNotFound ||
                             error.code == ErrorCode::kPermissionDenied;
  return configuration ? 2 : 1;
}

// What the configuration asks for and this daemon cannot give must not be ignored: it would serve unprotected.
Result<void> CheckProtection(const Config& config, Guard guard) {
  if (config.Switch("auth", "required") && guard == Guard::kNone) {
    return Fail(ErrorCode::kInvalidArgument, "auth.required: wanted false, since this program knows no tokens, got true");
  }
  return {};
}

}  // namespace

Frontend::Frontend(std::unique_ptr<GrpcServer> grpc, std::unique_ptr<HttpGateway> http)
    : grpc_(std::move(grpc)), http_(std::move(http)) {}

Result<std::unique_ptr<Frontend>> Frontend::Start(const Config& config, const std::vector<ServedService>& services,
                                                  const std::vector<Upload>& uploads, Metrics& metrics, Guard guard) {
  if (const auto possible = CheckProtection(config, guard); !possible) return Pass(possible);
  const auto doors = ReadFrontDoors(config);
  if (!doors) return Pass(doors);
  std::shared_ptr<const TlsWatch> tls;
  if (doors->tls) {
    auto watch = TlsWatch::Start(*doors->tls, metrics);
    if (!watch) return Pass(watch);
    tls = std::move(*watch);
  }
  auto grpc = GrpcServer::Start(doors->grpc, services, tls);
  if (!grpc) return Pass(grpc);
  GatewayOptions gateway{.services = {}, .uploads = uploads, .tls = tls};
  for (const ServedService& service : services) gateway.services.push_back(service.full_name);
  auto http = HttpGateway::Start(doors->http, (*grpc)->InProcessChannel(), gateway, metrics);
  if (!http) return Pass(http);
  (*http)->AnnounceReady();
  return std::unique_ptr<Frontend>(new Frontend(std::move(*grpc), std::move(*http)));
}

void Frontend::AnnounceDrain() {
  http_->AnnounceDrain();
  grpc_->AnnounceDrain();
}

void Frontend::Stop(std::chrono::milliseconds deadline) {
  AnnounceDrain();
  const auto end = std::chrono::steady_clock::now() + deadline;
  // A shutdown of gRPC breaks off what comes from the same process at once, so HTTP's calls go first. Once gRPC's have ended,
  // none of HTTP is left.
  http_->WaitForCalls(deadline);
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
  grpc_->Shutdown(std::max(left, std::chrono::milliseconds(0)));
  http_->Stop();
}

void InstallSignalHandlers() {
  LeaveNoCoreDumps();  // here, since it comes first in every daemon
  if (::pipe2(signal_pipe, O_CLOEXEC | O_NONBLOCK) != 0) std::abort();
  struct sigaction action {};
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  action.sa_handler = &OnSignal;
  ::sigaction(SIGTERM, &action, nullptr);
  ::sigaction(SIGINT, &action, nullptr);
  action.sa_handler = &OnHangUp;
  ::sigaction(SIGHUP, &action, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
}

int RunDaemon(const ProgramInfo& program, const Invocation& invocation, const DaemonOptions& options) {
  const Config& config = *invocation.config;
  const auto log = SetUpLog(config.Text("log", "level"), config.Switch("log", "json") ? LogFormat::kJson : LogFormat::kText);
  if (!log) return Refuse(program, log.error());
  auto frontend = Frontend::Start(config, options.services, options.uploads, *options.metrics, options.guard);
  if (!frontend) return Refuse(program, frontend.error());
  options.on_serving();
  std::printf("ready grpc=%s http=%s\n", (*frontend)->grpc_address().ToString().c_str(),
              (*frontend)->http_address().ToString().c_str());
  std::fflush(stdout);
  while (WaitForSignal()) Reload(invocation);
  spdlog::info("draining");
  (*frontend)->AnnounceDrain();
  options.on_drain();
  (*frontend)->Stop(options.drain_deadline);
  spdlog::info("stopped");
  return 0;
}

}  // namespace earmark::server
