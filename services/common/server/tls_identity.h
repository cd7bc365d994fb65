// What a server shows in a TLS handshake: certificate, private key, and whose client certificates it takes.
#pragma once

#include <openssl/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "dsp/core/result.h"

namespace earmark::server {

// Paths of PEM files.
struct TlsFiles {
  std::string cert;       // the server's certificate, then those between it and its authority
  std::string key;        // its private key, without a passphrase
  std::string client_ca;  // authorities of client certificates; empty: clients need none
};

// The files as they were at one time, checked. Immutable; safe from any thread.
class TlsIdentity {
 public:
  // Messages name the key of the configuration. kNotFound: no such file; kUnavailable: it cannot be read; kPermissionDenied: the
  // private key can be read by others, or a file not by us; kInvalidArgument: not PEM of what is wanted, longer than 1 MB, a key
  // with a passphrase or of another certificate, a certificate that is not valid now or too weak for OpenSSL.
  static Result<std::shared_ptr<const TlsIdentity>> Read(const TlsFiles& files);
  TlsIdentity(const TlsIdentity&) = delete;
  TlsIdentity& operator=(const TlsIdentity&) = delete;
  ~TlsIdentity();

  const std::string& cert_pem() const { return cert_pem_; }
  const std::string& key_pem() const { return key_pem_; }
  const std::string& client_ca_pem() const { return client_ca_pem_; }  // empty: clients need no certificate
  // When the server's certificate ends, in seconds of Unix time.
  std::int64_t expiry_s() const { return expiry_s_; }
  // Whether the certificate is for this name or address, by its subject alternative names. Without port and brackets.
  bool IsFor(const std::string& host) const;
  // Has this connection show it in the handshake that begins, and ask for the client's certificate. kInternal: OpenSSL refuses.
  Result<void> ApplyTo(SSL* connection) const;

 private:
  TlsIdentity() = default;
  Result<void> ReadCertificates(const std::string& path);
  Result<void> ReadKey(const std::string& path);
  Result<void> ReadClientAuthorities(const std::string& path);

  // Of OpenSSL: the first is the server's own.
  using Certificates = std::vector<std::shared_ptr<X509>>;

  std::string cert_pem_;
  std::string key_pem_;
  std::string client_ca_pem_;
  Certificates chain_;
  std::shared_ptr<EVP_PKEY> key_;
  Certificates client_authorities_;
  std::shared_ptr<X509_STORE> client_store_;
  std::int64_t expiry_s_ = 0;
};

}  // namespace earmark::server
