// A daemon as small as one can be, for the tests of what all daemons share: its one service knows one stream and ends no watch by
// itself.
#include <atomic>
#include <thread>

#include "earmark/v1/relay.grpc.pb.h"
#include "services/common/server/daemon.h"

namespace earmark::server {
namespace {

class TestRelay final : public v1::Relay::Service {
 public:
  grpc::Status GetStream(grpc::ServerContext*, const v1::GetStreamRequest* request, v1::Stream* stream) override {
    stream->set_stream_id(request->stream_id());
    return grpc::Status::OK;
  }
  grpc::Status WatchStats(grpc::ServerContext* context, const v1::WatchStatsRequest* request,
                          grpc::ServerWriter<v1::StreamStats>* writer) override {
    writer->Write(v1::StreamStats());
    const bool stubborn = request->stream_id() == "stubborn";
    while (!context->IsCancelled() && (stubborn || !draining)) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    return grpc::Status::OK;
  }

  std::atomic<bool> draining = false;
};

int Main(int argc, char** argv) {
  InstallSignalHandlers();
  const ProgramInfo program{.name = "earmark-testd", .version = "0", .purpose = "A daemon for tests."};
  Invocation invocation = ReadInvocation(program, CommonConfigKeys(), argc, argv);
  if (!invocation.config) return invocation.exit_code;
  Metrics metrics;
  TestRelay relay;
  DaemonOptions options{.services = {{v1::Relay::service_full_name(), &relay}}, .uploads = {}, .metrics = &metrics};
  options.on_drain = [&] { relay.draining = true; };
  options.drain_deadline = std::chrono::seconds(20);
  return RunDaemon(program, invocation, options);
}

}  // namespace
}  // namespace earmark::server

int main(int argc, char** argv) { return earmark::server::Main(argc, argv); }
