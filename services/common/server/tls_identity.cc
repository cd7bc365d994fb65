#include "services/common/server/tls_identity.h"

#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>
#include <system_error>

namespace earmark::server {
namespace {

constexpr std::size_t kMaxFileBytes = 1 << 20;

using Bio = std::unique_ptr<BIO, decltype(&BIO_free)>;

class File {
 public:
  // A pipe under this name must not hold up a start or a reload.
  explicit File(const std::string& path) : fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {}
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  ~File() {
    if (fd_ >= 0) ::close(fd_);
  }
  int fd() const { return fd_; }

 private:
  int fd_;
};

tl::unexpected<Error> CannotRead(const std::string& path, const std::string& field, int error) {
  const ErrorCode code = error == ENOENT || error == ENOTDIR ? ErrorCode::kNotFound
                         : error == EACCES || error == EPERM ? ErrorCode::kPermissionDenied
                                                             : ErrorCode::kUnavailable;
  return Fail(code, field + ": wanted a file, got " + path + ", which cannot be read: " + std::generic_category().message(error));
}

// `forbidden_mode`: bits that a private file does not have.
Result<std::string> ReadFile(const std::string& path, const std::string& field, mode_t forbidden_mode) {
  const File file(path);
  struct stat status {};
  if (file.fd() < 0 || ::fstat(file.fd(), &status) != 0) return CannotRead(path, field, errno);
  if (!S_ISREG(status.st_mode))
    return Fail(ErrorCode::kInvalidArgument, field + ": wanted a file, got " + path + ", which is none");
  if ((status.st_mode & forbidden_mode) != 0) {
    return Fail(ErrorCode::kPermissionDenied, field + ": wanted a private key that its owner alone can read, got " + path +
                                                  ", which can be read by others; run: chmod 600 " + path);
  }
  std::string text(kMaxFileBytes + 1, '\0');
  std::size_t size = 0;
  while (size < text.size()) {
    const ssize_t num_read = ::read(file.fd(), text.data() + size, text.size() - size);
    if (num_read < 0 && errno == EINTR) continue;
    if (num_read < 0) return CannotRead(path, field, errno);
    if (num_read == 0) break;
    size += static_cast<std::size_t>(num_read);
  }
  if (size > kMaxFileBytes) return Fail(ErrorCode::kInvalidArgument, field + ": wanted at most 1 MB, got more, in " + path);
  std::string bytes = text.substr(0, size);
  OPENSSL_cleanse(text.data(), size);
  return bytes;
}

Bio ReadFrom(const std::string& pem) { return {BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())), &BIO_free}; }

// All certificates of the text; none where one of them is broken.
std::vector<std::shared_ptr<X509>> ParseCertificates(const std::string& pem) {
  std::vector<std::shared_ptr<X509>> certificates;
  const Bio bio = ReadFrom(pem);
  ERR_clear_error();
  while (X509* certificate = PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr))
    certificates.emplace_back(certificate, &X509_free);
  // The end of the text is the one mistake that there must be.
  const bool at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
  ERR_clear_error();
  if (!at_end) certificates.clear();
  return certificates;
}

tl::unexpected<Error> NoCertificate(const std::string& path, const std::string& field) {
  return Fail(ErrorCode::kInvalidArgument,
              field + ": wanted certificates in PEM, got " + path + ", which holds none or a broken one");
}

// Called for a key with a passphrase. OpenSSL's own would ask on the terminal.
int NoPassphrase(char*, int, int, void*) { return -1; }

std::string WhyOpenSslRefuses() {
  const char* const reason = ERR_reason_error_string(ERR_peek_last_error());
  ERR_clear_error();
  return reason == nullptr ? "no reason given" : reason;
}

std::int64_t UnixTime(const ASN1_TIME* time) {
  std::tm broken_down{};
  return ASN1_TIME_to_tm(time, &broken_down) == 1 ? ::timegm(&broken_down) : 0;
}

std::string DateOf(const ASN1_TIME* time) {
  std::tm broken_down{};
  char text[32] = "an unknown time";
  if (ASN1_TIME_to_tm(time, &broken_down) == 1) std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &broken_down);
  return text;
}

Result<void> CheckValidNow(X509* certificate, const std::string& path) {
  const ASN1_TIME* const begin = X509_get0_notBefore(certificate);
  const ASN1_TIME* const end = X509_get0_notAfter(certificate);
  const std::string wanted = "tls.cert: wanted a certificate that is valid now, got " + path + ", which ";
  if (X509_cmp_current_time(end) <= 0) return Fail(ErrorCode::kInvalidArgument, wanted + "expired at " + DateOf(end));
  if (X509_cmp_current_time(begin) >= 0)
    return Fail(ErrorCode::kInvalidArgument, wanted + "is valid from " + DateOf(begin) + " on");
  return {};
}

}  // namespace

TlsIdentity::~TlsIdentity() { OPENSSL_cleanse(key_pem_.data(), key_pem_.size()); }

Result<std::shared_ptr<const TlsIdentity>> TlsIdentity::Read(const TlsFiles& files) {
  const std::shared_ptr<TlsIdentity> identity(new TlsIdentity());
  if (const auto read = identity->ReadCertificates(files.cert); !read) return Pass(read);
  if (const auto read = identity->ReadKey(files.key); !read) return Pass(read);
  if (!files.client_ca.empty()) {
    if (const auto read = identity->ReadClientAuthorities(files.client_ca); !read) return Pass(read);
  }
  // What OpenSSL has against it, such as a key that is too short, is to be told now and not to every client.
  const std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context(SSL_CTX_new(TLS_server_method()), &SSL_CTX_free);
  const std::unique_ptr<SSL, decltype(&SSL_free)> trial(SSL_new(context.get()), &SSL_free);
  if (const auto applied = identity->ApplyTo(trial.get()); !applied) {
    return Fail(ErrorCode::kInvalidArgument,
                "tls.cert: wanted a certificate that OpenSSL takes, got " + files.cert + ": " + applied.error().message);
  }
  return std::shared_ptr<const TlsIdentity>(identity);
}

Result<void> TlsIdentity::ReadCertificates(const std::string& path) {
  auto pem = ReadFile(path, "tls.cert", 0);
  if (!pem) return Pass(pem);
  cert_pem_ = std::move(*pem);
  chain_ = ParseCertificates(cert_pem_);
  if (chain_.empty()) return NoCertificate(path, "tls.cert");
  expiry_s_ = UnixTime(X509_get0_notAfter(chain_.front().get()));
  return CheckValidNow(chain_.front().get(), path);
}

Result<void> TlsIdentity::ReadKey(const std::string& path) {
  auto pem = ReadFile(path, "tls.key", S_IRWXG | S_IRWXO);
  if (!pem) return Pass(pem);
  key_pem_ = std::move(*pem);
  const Bio bio = ReadFrom(key_pem_);
  key_ = std::shared_ptr<EVP_PKEY>(PEM_read_bio_PrivateKey(bio.get(), nullptr, &NoPassphrase, nullptr), &EVP_PKEY_free);
  ERR_clear_error();
  if (key_ == nullptr) {
    return Fail(ErrorCode::kInvalidArgument,
                "tls.key: wanted a private key in PEM without a passphrase, got " + path + ", which holds none");
  }
  const bool match = X509_check_private_key(chain_.front().get(), key_.get()) == 1;
  ERR_clear_error();
  if (match) return {};
  return Fail(ErrorCode::kInvalidArgument,
              "tls.key: wanted the private key of tls.cert, got " + path + ", which is that of another certificate");
}

Result<void> TlsIdentity::ReadClientAuthorities(const std::string& path) {
  auto pem = ReadFile(path, "tls.client_ca", 0);
  if (!pem) return Pass(pem);
  client_ca_pem_ = std::move(*pem);
  client_authorities_ = ParseCertificates(client_ca_pem_);
  if (client_authorities_.empty()) return NoCertificate(path, "tls.client_ca");
  client_store_ = std::shared_ptr<X509_STORE>(X509_STORE_new(), &X509_STORE_free);
  for (const auto& authority : client_authorities_) {
    if (X509_STORE_add_cert(client_store_.get(), authority.get()) != 1)
      return Fail(ErrorCode::kInvalidArgument, "tls.client_ca: " + path + ": " + WhyOpenSslRefuses());
  }
  return {};
}

bool TlsIdentity::IsFor(const std::string& host) const {
  if (host.empty()) return false;
  X509* const certificate = chain_.front().get();
  const bool named = X509_check_ip_asc(certificate, host.c_str(), 0) == 1 ||
                     X509_check_host(certificate, host.data(), host.size(), X509_CHECK_FLAG_NEVER_CHECK_SUBJECT, nullptr) == 1;
  ERR_clear_error();
  return named;
}

Result<void> TlsIdentity::ApplyTo(SSL* connection) const {
  ERR_clear_error();
  const std::unique_ptr<STACK_OF(X509), void (*)(STACK_OF(X509)*)> between(sk_X509_new_null(),
                                                                           [](STACK_OF(X509) * stack) { sk_X509_free(stack); });
  for (std::size_t i = 1; i < chain_.size(); ++i) sk_X509_push(between.get(), chain_[i].get());
  if (SSL_use_cert_and_key(connection, chain_.front().get(), key_.get(), between.get(), 1) != 1)
    return Fail(ErrorCode::kInternal, WhyOpenSslRefuses());
  if (client_store_ == nullptr) return {};
  SSL_set_verify(connection, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  bool applied = SSL_set1_verify_cert_store(connection, client_store_.get()) == 1;
  for (const auto& authority : client_authorities_) applied = applied && SSL_add_client_CA(connection, authority.get()) == 1;
  if (!applied) return Fail(ErrorCode::kInternal, WhyOpenSslRefuses());
  return {};
}

}  // namespace earmark::server
