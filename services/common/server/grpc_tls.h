// TLS for gRPC's port, from files that may change.
#pragma once

#include <grpcpp/security/server_credentials.h>

#include <memory>

#include "services/common/server/tls_watch.h"

namespace earmark::server {

// For one port. Each handshake shows what the watch has then; TLS 1.2 or later. The credentials must outlive the server.
std::shared_ptr<grpc::ServerCredentials> TlsCredentials(std::shared_ptr<const TlsWatch> tls);

}  // namespace earmark::server
