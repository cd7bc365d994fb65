// The Relay service over a Sidecar.
#pragma once

#include <atomic>

#include "earmark/v1/relay.grpc.pb.h"
#include "services/access/access_control.h"
#include "services/common/idempotency.h"
#include "services/sidecar/relay_calls.h"
#include "services/sidecar/sidecar.h"

namespace earmark {

class RelayHandlers final
    : public v1::Relay::WithCallbackMethod_Variants<v1::Relay::WithCallbackMethod_Choices<v1::Relay::Service>> {
 public:
  // Both must outlive it.
  RelayHandlers(Sidecar& sidecar, AccessControl& access) : sidecar_(sidecar), access_(access), calls_(sidecar) {}

  // Ends all calls that would go on.
  void Drain() {
    draining_ = true;
    calls_.Drain();
  }

  grpc::Status OpenStream(grpc::ServerContext* context, const v1::OpenStreamRequest* request, v1::Stream* stream) override;
  grpc::Status CloseStream(grpc::ServerContext* context, const v1::CloseStreamRequest* request, v1::Stream* stream) override;
  grpc::Status GetStream(grpc::ServerContext* context, const v1::GetStreamRequest* request, v1::Stream* stream) override;
  grpc::Status ListStreams(grpc::ServerContext* context, const v1::ListStreamsRequest* request,
                           v1::ListStreamsResponse* response) override;
  grpc::Status AddSource(grpc::ServerContext* context, const v1::AddSourceRequest* request,
                         v1::AddSourceResponse* response) override;
  grpc::Status RemoveSource(grpc::ServerContext* context, const v1::RemoveSourceRequest* request,
                            v1::RemoveSourceResponse* response) override;
  grpc::Status Grant(grpc::ServerContext* context, const v1::GrantRequest* request, v1::GrantResponse* response) override;
  grpc::Status Revoke(grpc::ServerContext* context, const v1::RevokeRequest* request, v1::RevokeResponse* response) override;
  grpc::Status WatchStats(grpc::ServerContext* context, const v1::WatchStatsRequest* request,
                          grpc::ServerWriter<v1::StreamStats>* writer) override;
  grpc::ServerBidiReactor<v1::SourcePacket, v1::VariantSlot>* Variants(grpc::CallbackServerContext* context) override;
  grpc::ServerWriteReactor<v1::ChoiceBlock>* Choices(grpc::CallbackServerContext* context,
                                                     const v1::ChoicesRequest* request) override;

 private:
  grpc::Status Admit(const grpc::ServerContextBase& context, const char* call);

  Sidecar& sidecar_;
  AccessControl& access_;
  RelayCalls calls_;
  KeyLocks key_locks_;
  std::atomic<bool> draining_ = false;
};

}  // namespace earmark
