// Which requests over HTTP come from a web page of somebody else.
//
// A page that somebody looks at can have the browser send requests here: under a name of its own that it points at us, which Host
// shows, or across origins, which Origin shows. The rule:
//
//   Host     is a loopback name or address, or, with TLS, a name or address that the certificate is for (subject alternative names)
//   Origin   is absent; or both it and Host are loopback ones; or it is https:// and what Host says, port included
#pragma once

#include <optional>
#include <string>

#include "services/common/server/tls_identity.h"

namespace earmark::server {

// The header that breaks the rule, "Host" or "Origin". `identity`: null without TLS.
std::optional<std::string> ForeignHeader(const std::string& host, const std::optional<std::string>& origin,
                                         const TlsIdentity* identity);

}  // namespace earmark::server
