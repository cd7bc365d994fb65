// The Relay service over a Sidecar.
#pragma once

#include <atomic>

#include "earmark/v1/relay.grpc.pb.h"
#include "services/common/idempotency.h"
#include "services/sidecar/sidecar.h"

namespace earmark {

class RelayHandlers final : public v1::Relay::Service {
 public:
  explicit RelayHandlers(Sidecar& sidecar) : sidecar_(sidecar) {}

  // Ends all WatchStats.
  void Drain() { draining_ = true; }

  grpc::Status OpenStream(grpc::ServerContext* context, const v1::OpenStreamRequest* request, v1::Stream* stream) override;
  grpc::Status CloseStream(grpc::ServerContext* context, const v1::CloseStreamRequest* request, v1::Stream* stream) override;
  grpc::Status GetStream(grpc::ServerContext* context, const v1::GetStreamRequest* request, v1::Stream* stream) override;
  grpc::Status ListStreams(grpc::ServerContext* context, const v1::ListStreamsRequest* request, v1::ListStreamsResponse* response) override;
  grpc::Status AddSource(grpc::ServerContext* context, const v1::AddSourceRequest* request, v1::AddSourceResponse* response) override;
  grpc::Status RemoveSource(grpc::ServerContext* context, const v1::RemoveSourceRequest* request, v1::RemoveSourceResponse* response) override;
  grpc::Status Grant(grpc::ServerContext* context, const v1::GrantRequest* request, v1::GrantResponse* response) override;
  grpc::Status Revoke(grpc::ServerContext* context, const v1::RevokeRequest* request, v1::RevokeResponse* response) override;
  grpc::Status WatchStats(grpc::ServerContext* context, const v1::WatchStatsRequest* request, grpc::ServerWriter<v1::StreamStats>* writer) override;

 private:
  Sidecar& sidecar_;
  KeyLocks key_locks_;
  std::atomic<bool> draining_ = false;
};

}  // namespace earmark
