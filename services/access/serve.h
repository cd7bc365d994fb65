// How a handler begins: whoever calls is admitted, or told why not.
#pragma once

#include <grpcpp/server_context.h>

#include <string>
#include <utility>

#include "services/access/access_control.h"
#include "services/common/server/status.h"

namespace earmark::access {

// The caller of a call, named Service.Method. Errors as AccessControl::Admit.
inline Result<Caller> Admit(AccessControl& access, const grpc::ServerContextBase& context, std::string_view call) {
  const auto& metadata = context.client_metadata();
  const auto found = metadata.find("authorization");
  return access.Admit(found == metadata.end() ? std::string_view() : std::string_view(found->second.data(), found->second.size()),
                      call);
}

// Answers with what `body`, which takes a Caller and returns a Result<Response>, gives to those who may call.
template <typename Response, typename Body>
grpc::Status Serve(AccessControl& access, const grpc::ServerContextBase& context, std::string_view call, Response& response,
                   const Body& body) {
  const auto caller = Admit(access, context, call);
  if (!caller) return server::ToStatus(caller.error());
  Result<Response> answer = body(*caller);
  if (!answer) return server::ToStatus(answer.error());
  response = std::move(*answer);
  return grpc::Status::OK;
}

}  // namespace earmark::access
