// TLS for HTTP's port, from files that may change.
#pragma once

#include <httplib.h>

#include <memory>

#include "services/common/server/tls_watch.h"

namespace earmark::server {

// A server that speaks HTTPS, TLS 1.2 or later, and shows in each handshake what `tls` has then; plain HTTP where it is null. `tls`
// must outlive the server.
std::unique_ptr<httplib::Server> NewHttpServer(const TlsWatch* tls);

// Whether the client of a request over TLS has closed its side. httplib itself does not notice while a last message of TLS waits to
// be read. False without TLS.
bool HasClosed(const SSL* connection);

}  // namespace earmark::server
