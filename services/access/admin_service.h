// The calls of earmark.v1.Admin, which both daemons serve.
#pragma once

#include "db/store_pool.h"
#include "earmark/v1/admin.grpc.pb.h"
#include "services/access/access_control.h"
#include "services/common/idempotency.h"

namespace earmark::access {

// Thread-safe: gRPC calls it from many threads at once.
class AdminService final : public v1::Admin::Service {
 public:
  // Both must outlive it.
  AdminService(StorePool& stores, AccessControl& access) : stores_(stores), access_(access) {}

  grpc::Status CreateToken(grpc::ServerContext* context, const v1::CreateTokenRequest* request,
                           v1::CreateTokenResponse* response) override;
  grpc::Status RevokeToken(grpc::ServerContext* context, const v1::RevokeTokenRequest* request, v1::Token* response) override;
  grpc::Status ListTokens(grpc::ServerContext* context, const v1::ListTokensRequest* request,
                          v1::ListTokensResponse* response) override;
  grpc::Status ListAccess(grpc::ServerContext* context, const v1::ListAccessRequest* request,
                          v1::ListAccessResponse* response) override;
  grpc::Status ExpireNow(grpc::ServerContext* context, const v1::ExpireNowRequest* request,
                         v1::ExpireNowResponse* response) override;
  grpc::Status AlphaSpent(grpc::ServerContext* context, const v1::AlphaSpentRequest* request,
                          v1::AlphaSpentResponse* response) override;

 private:
  // Admits the caller, and answers with what `body` makes of a store.
  template <typename Response, typename Body>
  grpc::Status Answer(const grpc::ServerContext& context, std::string_view call, Response& response, const Body& body);

  StorePool& stores_;
  AccessControl& access_;
  KeyLocks key_locks_;
};

}  // namespace earmark::access
