#include "services/common/server/http_tls.h"

#include <openssl/ssl.h>
#include <spdlog/spdlog.h>

#include <functional>

#include "services/common/server/http_connection.h"

namespace earmark::server {
namespace {

int ShowIdentity(SSL* connection, void* tls) {
  const auto applied = static_cast<const TlsWatch*>(tls)->identity()->ApplyTo(connection);
  if (applied) return 1;
  spdlog::warn("http: tls: {}", applied.error().message);
  return 0;
}

bool SetUp(SSL_CTX& context, const TlsWatch* tls) {
  SSL_CTX_set_options(&context,
                      SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_NO_TICKET);
  // A resumed session would pass by authorities of clients that were taken away since.
  SSL_CTX_set_session_cache_mode(&context, SSL_SESS_CACHE_OFF);
  // OpenSSL does not write to what it is handed here.
  SSL_CTX_set_cert_cb(&context, &ShowIdentity, const_cast<TlsWatch*>(tls));
  return SSL_CTX_set_min_proto_version(&context, TLS1_2_VERSION) == 1 && SSL_CTX_set_num_tickets(&context, 0) == 1;
}

}  // namespace

std::unique_ptr<httplib::Server> NewHttpServer(const TlsWatch* tls) {
  if (tls == nullptr) return std::make_unique<BoundedServer<httplib::Server>>();
  return std::make_unique<BoundedServer<httplib::SSLServer>>(
      std::function<bool(SSL_CTX&)>([tls](SSL_CTX& context) { return SetUp(context, tls); }));
}

}  // namespace earmark::server
