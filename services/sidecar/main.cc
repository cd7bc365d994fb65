// earmark-sidecar: marks live rooms beside a media relay.
#include <sodium.h>
#include <unistd.h>

#include <cstdio>
#include <thread>

#include "services/access/admin_service.h"
#include "services/access/limits.h"
#include "services/common/server/daemon.h"
#include "services/sidecar/relay_handlers.h"

namespace earmark {
namespace {

std::vector<server::ConfigKey> ConfigKeys() {
  std::vector<server::ConfigKey> keys = server::CommonConfigKeys();
  keys.push_back({"relay", "name", std::string(),
                  "Name of this sidecar among those that share the store; empty: the machine's. Rooms are resumed under it."});
  keys.push_back({"media", "host", std::string("127.0.0.1"), "Address that takes the sources' RTP, in digits."});
  keys.push_back({"media", "port_min", std::int64_t{0}, "Lowest UDP port for sources; 0: any free port."});
  keys.push_back({"media", "port_max", std::int64_t{0}, "Highest UDP port for sources."});
  keys.push_back(
      {"failure", "on_failure", std::string("silence"), "What listeners get where a packet cannot be marked: silence."});
  keys.push_back(
      {"spool", "max_bytes", std::int64_t{256 << 20}, "Sealed reference that may wait for the store, in memory, in bytes."});
  return keys;
}

std::string MachineName() {
  char name[256] = {};
  return ::gethostname(name, sizeof name - 1) == 0 && name[0] != '\0' ? name : "sidecar";
}

Result<Sidecar::Options> OptionsFrom(const server::Config& config) {
  Sidecar::Options options;
  options.store_url = config.Text("store", "url");
  options.name = config.Text("relay", "name").empty() ? MachineName() : config.Text("relay", "name");
  options.media_host = config.Text("media", "host");
  const std::int64_t port_min = config.Integer("media", "port_min");
  const std::int64_t port_max = config.Integer("media", "port_max");
  if (port_min < 0 || port_max > 65535 || port_min > port_max || (port_min == 0 && port_max != 0)) {
    return Fail(ErrorCode::kInvalidArgument,
                "media.port_min, media.port_max: wanted 1 <= port_min <= port_max <= 65535, or 0 for both, got " +
                    std::to_string(port_min) + " and " + std::to_string(port_max));
  }
  options.port_min = static_cast<int>(port_min);
  options.port_max = static_cast<int>(port_max);
  if (config.Text("failure", "on_failure") != "silence") {
    return Fail(ErrorCode::kInvalidArgument,
                "failure.on_failure: this version knows silence alone, got '" + config.Text("failure", "on_failure") + "'");
  }
  const std::int64_t max_bytes = config.Integer("spool", "max_bytes");
  if (max_bytes < 1)
    return Fail(ErrorCode::kInvalidArgument, "spool.max_bytes: wanted 1 or more, got " + std::to_string(max_bytes));
  options.recorder.max_bytes = static_cast<std::size_t>(max_bytes);
  const std::int64_t days = config.Integer("retention", "days");
  if (days < 1 || days > 3650)
    return Fail(ErrorCode::kInvalidArgument, "retention.days: wanted 1 to 3650, got " + std::to_string(days));
  options.retention_days = static_cast<int>(days);
  if (auto host = UdpSocket::Bind(options.media_host, 0); !host) return Pass(host);
  return options;
}

Result<MasterKey> ReadMasterKey(const server::Config& config) {
  const std::string& path = config.Text("key", "file");
  if (path.empty())
    return Fail(ErrorCode::kInvalidArgument, "key.file: wanted the master key's file, got none; `earmark keys create` makes one");
  auto key = ReadKeyFile(path);
  if (!key && key.error().code == ErrorCode::kNotFound) {
    return Fail(ErrorCode::kInvalidArgument,
                path + ": there is no master key; `earmark keys create --key " + path + "` makes one");
  }
  return key;
}

int Refuse(const Error& error) {
  std::fprintf(stderr, "earmark-sidecar: %s\n", error.message.c_str());
  return error.code == ErrorCode::kInvalidArgument ? 2 : 1;
}

// Keeps the gauges up to date, about once a second.
void TellMetrics(Sidecar& sidecar, server::Metrics& metrics) {
  const Sidecar::Totals totals = sidecar.Count();
  const auto set = [&](const char* name, const char* help, std::int64_t value) {
    metrics.Gauge(name, help).Set(static_cast<double>(value));
  };
  set("earmark_rooms", "Streams that are open here.", totals.rooms);
  set("earmark_sources", "Sources of those.", totals.sources);
  set("earmark_listeners", "Open grants of those.", totals.listeners);
  set("earmark_packets_sent", "RTP packets sent to listeners.", totals.packets_sent);
  set("earmark_send_drops", "RTP packets that could not be sent.", totals.send_drops);
  set("earmark_reference_packets_stored", "Packets of reference in the store.", totals.reference_stored);
  set("earmark_reference_packets_dropped", "Packets of reference that are lost.", totals.reference_dropped);
  set("earmark_reference_bytes_waiting", "Sealed reference that waits for the store.", totals.reference_bytes_waiting);
}

int Main(int argc, char** argv) {
  server::InstallSignalHandlers();
  const server::ProgramInfo program{.name = "earmark-sidecar",
                                    .version = EARMARK_VERSION,
                                    .purpose = "Marks live rooms beside a media relay, one copy for each listener."};
  server::Invocation invocation = server::ReadInvocation(program, ConfigKeys(), argc, argv);
  if (!invocation.config) return invocation.exit_code;
  if (sodium_init() < 0) return Refuse({ErrorCode::kInternal, "the system gives no random numbers; libsodium cannot start"});
  const server::Config& config = *invocation.config;
  auto options = OptionsFrom(config);
  if (!options) return Refuse(options.error());
  auto master = ReadMasterKey(config);
  if (!master) return Refuse(master.error());
  auto sidecar = Sidecar::Start(*options, *master);
  if (!sidecar) return Refuse(sidecar.error());

  const auto limits = access::ReadLimits(config);
  if (!limits) return Refuse(limits.error());
  AccessControl access((*sidecar)->pool(), *limits);
  access::AdminService admin((*sidecar)->pool(), access);
  server::Metrics metrics;
  RelayHandlers relay(**sidecar, access);
  std::jthread housekeeping;
  server::DaemonOptions daemon{.services = {{v1::Relay::service_full_name(), &relay}, {v1::Admin::service_full_name(), &admin}},
                               .uploads = {},
                               .guard = server::Guard::kTokens,
                               .metrics = &metrics};
  // Not before the ports are ours: another process of this name may be running.
  daemon.on_serving = [&] {
    housekeeping = std::jthread([&](const std::stop_token& stop) {
      (*sidecar)->ResumeRooms();
      for (; !stop.stop_requested(); std::this_thread::sleep_for(std::chrono::milliseconds(500))) TellMetrics(**sidecar, metrics);
    });
  };
  daemon.on_drain = [&] { relay.Drain(); };
  return server::RunDaemon(program, invocation, daemon);
}

}  // namespace
}  // namespace earmark

int main(int argc, char** argv) { return earmark::Main(argc, argv); }
