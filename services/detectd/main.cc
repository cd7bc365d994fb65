// earmark-detectd: scans clips for those who ask.
#include <cstdio>
#include <memory>
#include <optional>

#include "services/access/admin_service.h"
#include "services/access/limits.h"
#include "services/common/server/daemon.h"
#include "services/decode/sandboxed_tracks.h"
#include "services/detectd/detection_service.h"
#include "services/detectd/scan_workers.h"
#include "services/detectd/settings.h"

namespace earmark::detectd {
namespace {

int Refuse(const server::ProgramInfo& program, const Error& error, int exit_code) {
  std::fprintf(stderr, "%s: %s\n", program.name.c_str(), error.message.c_str());
  return exit_code;
}

Result<MasterKey> ReadKey(const std::string& path) {
  auto key = ReadKeyFile(path);
  if (key || key.error().code != ErrorCode::kNotFound) return key;
  return Fail(ErrorCode::kNotFound, "key.file: wanted a key file, got none at " + path + "; `earmark keys create` makes one");
}

Result<void> CheckDecoder(const decode::DecoderOptions& options) {
  decode::DecoderHost decoders(options);
  return decode::SandboxedTracks::Check(decoders);
}

int Serve(const server::ProgramInfo& program, const server::Invocation& invocation) {
  const server::Config& config = *invocation.config;
  const auto settings = ReadSettings(config);
  if (!settings) return Refuse(program, settings.error(), 2);
  const auto master = ReadKey(settings->key_file);
  if (!master) return Refuse(program, master.error(), 2);
  // Makes the store or brings it up to date; what serves it opens connections of its own.
  if (const auto store = OpenStore(settings->store_url, OpenMode::kReadWriteCreate); !store) {
    return Refuse(program, store.error(), store.error().code == ErrorCode::kInvalidArgument ? 2 : 1);
  }
  if (const auto checked = CheckDecoder(settings->decoder); !checked)
    return Refuse(program, {checked.error().code, "scan.decoder: " + checked.error().message}, 2);
  const auto limits = access::ReadLimits(config);
  if (!limits) return Refuse(program, limits.error(), 2);
  server::Metrics metrics;
  StorePool stores(settings->store_url);
  AccessControl access(stores, *limits);
  access::AdminService admin(stores, access);
  DrainSignal drain;
  DetectionService detection(stores, access, drain, settings->uploads);
  std::optional<ScanWorkers> workers;
  server::DaemonOptions options;
  options.services = {{v1::Detection::service_full_name(), &detection}, {v1::Admin::service_full_name(), &admin}};
  options.guard = server::Guard::kTokens;
  options.uploads = {{.path = "/v1/scans", .service = v1::Detection::service_full_name(), .method = "SubmitScan"}};
  options.metrics = &metrics;
  options.on_serving = [&] {
    workers.emplace(WorkerOptions{.store_url = settings->store_url,
                                  .decoder = settings->decoder,
                                  .num_workers = settings->num_workers,
                                  .lease_us = settings->lease_us,
                                  .max_clip_hours = settings->max_clip_hours},
                    *master, metrics);
  };
  options.on_drain = [&] {
    drain.Raise();
    workers->Drain();
  };
  return server::RunDaemon(program, invocation, options);
}

}  // namespace
}  // namespace earmark::detectd

int main(int argc, char** argv) {
  using namespace earmark;
  server::InstallSignalHandlers();
  const server::ProgramInfo program{
      .name = "earmark-detectd", .version = EARMARK_VERSION, .purpose = "Scans clips and names whose copies they are."};
  const server::Invocation invocation = server::ReadInvocation(program, detectd::DetectdConfigKeys(), argc, argv);
  if (!invocation.config) return invocation.exit_code;
  return detectd::Serve(program, invocation);
}
