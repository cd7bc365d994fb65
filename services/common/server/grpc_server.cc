#include "services/common/server/grpc_server.h"

#include <grpc/support/log.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/resource_quota.h>
#include <spdlog/spdlog.h>

#include <mutex>

#include "services/common/server/grpc_tls.h"

namespace earmark::server {
namespace {

constexpr int kMaxThreads = 256;

void LogFromGrpc(gpr_log_func_args* args) { spdlog::debug("grpc: {}", args->message); }

// Both are global to the process and not thread-safe.
void SetUpGrpcOnce() {
  static std::once_flag once;
  std::call_once(once, [] {
    // What gRPC says of a port in use is five lines; we say it in one.
    gpr_set_log_function(&LogFromGrpc);
    grpc::EnableDefaultHealthCheckService(true);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  });
}

// The server and its port; 0 and no server: the port cannot be had.
std::pair<std::unique_ptr<grpc::Server>, int> Build(const Address& address, const std::vector<ServedService>& services,
                                                    const std::shared_ptr<grpc::ServerCredentials>& credentials) {
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort(address.ToString(), credentials, &port);
  for (const ServedService& served : services) builder.RegisterService(served.service);
  builder.SetMaxReceiveMessageSize(kMaxMessageBytes);
  builder.SetMaxSendMessageSize(kMaxMessageBytes);
  // A stream holds a thread for as long as it lasts. Beyond the bound calls fail with RESOURCE_EXHAUSTED.
  builder.SetResourceQuota(grpc::ResourceQuota("server").SetMaxThreads(kMaxThreads));
  // With it two daemons would share one port, each getting half of the calls.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  return {std::move(server), port};
}

}  // namespace

GrpcServer::GrpcServer(std::shared_ptr<grpc::ServerCredentials> credentials, std::unique_ptr<grpc::Server> server,
                       Address address)
    : credentials_(std::move(credentials)), server_(std::move(server)), address_(std::move(address)) {}

GrpcServer::~GrpcServer() { Shutdown(std::chrono::milliseconds(0)); }

Result<std::unique_ptr<GrpcServer>> GrpcServer::Start(const Address& address, const std::vector<ServedService>& services,
                                                      std::shared_ptr<const TlsWatch> tls) {
  SetUpGrpcOnce();
  auto credentials = tls == nullptr ? grpc::InsecureServerCredentials() : TlsCredentials(std::move(tls));
  auto [server, port] = Build(address, services, credentials);
  if (server == nullptr || port == 0) {
    return Fail(ErrorCode::kAlreadyExists, "listen.grpc: wanted a free port, got " + address.ToString() +
                                               ", which cannot be listened on; is another daemon running?");
  }
  return std::unique_ptr<GrpcServer>(
      new GrpcServer(std::move(credentials), std::move(server), {.host = address.host, .port = port}));
}

std::shared_ptr<grpc::Channel> GrpcServer::InProcessChannel() {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMaxMessageBytes);
  arguments.SetMaxSendMessageSize(kMaxMessageBytes);
  return server_->InProcessChannel(arguments);
}

void GrpcServer::AnnounceDrain() { server_->GetHealthCheckService()->SetServingStatus(false); }

void GrpcServer::Shutdown(std::chrono::milliseconds deadline) { server_->Shutdown(std::chrono::system_clock::now() + deadline); }

}  // namespace earmark::server
