// Errors of the library as gRPC's status codes and back; and gRPC's codes as HTTP's.
#pragma once

#include <grpcpp/support/status.h>

#include "dsp/core/result.h"

namespace earmark::server {

// One to one: ToError(ToStatus(error)) is the error.
grpc::Status ToStatus(const Error& error);

// OK for a value, the error's status otherwise.
template <typename T>
grpc::Status ToStatus(const Result<T>& result) {
  return result ? grpc::Status::OK : ToStatus(result.error());
}

// For clients. Codes that no Result has (UNIMPLEMENTED, DEADLINE_EXCEEDED …) become the nearest one that it has.
Error ToError(const grpc::Status& status);

// As grpc-gateway maps them.
int ToHttpStatus(grpc::StatusCode code);

}  // namespace earmark::server
