// The HTTP server, with or without TLS, from files that may change.
#pragma once

#include <httplib.h>

#include <memory>

#include "services/common/server/tls_watch.h"

namespace earmark::server {

// A server that speaks HTTPS, TLS 1.2 or later, and shows in each handshake what `tls` has then; plain HTTP where it is null. `tls`
// must outlive the server.
std::unique_ptr<httplib::Server> NewHttpServer(const TlsWatch* tls);

}  // namespace earmark::server
