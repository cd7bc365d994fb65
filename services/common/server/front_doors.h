// Where a daemon listens and how what it says is protected: the sections listen, tls and auth, read together.
#pragma once

#include <optional>

#include "dsp/core/result.h"
#include "services/common/server/address.h"
#include "services/common/server/config.h"
#include "services/common/server/tls_identity.h"

namespace earmark::server {

struct FrontDoors {
  Address grpc;
  Address http;
  std::optional<TlsFiles> tls;  // absent: no TLS
};

// Opens no file and no port. kInvalidArgument: no address; one of tls.cert and tls.key without the other, or tls.client_ca without
// them; an address off loopback where there is no TLS or calls need no token.
Result<FrontDoors> ReadFrontDoors(const Config& config);

// ReadFrontDoors, and the files of tls as TlsIdentity::Read reads them, with its errors.
Result<void> CheckFrontDoors(const Config& config);

}  // namespace earmark::server
