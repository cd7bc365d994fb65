#include "services/common/server/grpc_tls.h"

#include <grpc/grpc.h>
#include <grpc/grpc_security.h>

#include <mutex>
#include <string>
#include <utility>

namespace earmark::server {
namespace {

// gRPC 1.51 in C++ can reload files by itself, but puts a broken one in use. Its C interface asks for the certificate at each
// handshake.
class Credentials final : public grpc::ServerCredentials {
 public:
  explicit Credentials(std::shared_ptr<const TlsWatch> tls) : tls_(std::move(tls)) {
    const auto clients = tls_->identity()->client_ca_pem().empty() ? GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE
                                                                   : GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY;
    credentials_ = grpc_ssl_server_credentials_create_with_options(
        grpc_ssl_server_credentials_create_options_using_config_fetcher(clients, &Credentials::Fetch, this));
  }
  Credentials(const Credentials&) = delete;
  Credentials& operator=(const Credentials&) = delete;
  ~Credentials() override { grpc_server_credentials_release(credentials_); }

  void SetAuthMetadataProcessor(const std::shared_ptr<grpc::AuthMetadataProcessor>&) override {}

 private:
  int AddPortToServer(const std::string& address, grpc_server* server) override {
    return grpc_server_add_http2_port(server, address.c_str(), credentials_);
  }

  static grpc_ssl_certificate_config_reload_status Fetch(void* self, grpc_ssl_server_certificate_config** config) {
    return static_cast<Credentials*>(self)->FetchIfNew(config);
  }

  grpc_ssl_certificate_config_reload_status FetchIfNew(grpc_ssl_server_certificate_config** config) {
    auto identity = tls_->identity();
    const std::lock_guard lock(mutex_);
    if (identity == shown_) return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_UNCHANGED;
    const grpc_ssl_pem_key_cert_pair pair{.private_key = identity->key_pem().c_str(), .cert_chain = identity->cert_pem().c_str()};
    // gRPC aborts without authorities of clients, though it looks at them only where it asks clients for certificates.
    const std::string& authorities = identity->client_ca_pem().empty() ? identity->cert_pem() : identity->client_ca_pem();
    *config = grpc_ssl_server_certificate_config_create(authorities.c_str(), &pair, 1);
    shown_ = std::move(identity);
    return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_NEW;
  }

  const std::shared_ptr<const TlsWatch> tls_;
  grpc_server_credentials* credentials_ = nullptr;
  std::mutex mutex_;
  std::shared_ptr<const TlsIdentity> shown_;  // under mutex_: what gRPC has
};

}  // namespace

std::shared_ptr<grpc::ServerCredentials> TlsCredentials(std::shared_ptr<const TlsWatch> tls) {
  return std::make_shared<Credentials>(std::move(tls));
}

}  // namespace earmark::server
