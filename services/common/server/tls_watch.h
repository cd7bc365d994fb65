// The TLS files of a running server: read again when they change.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "dsp/core/result.h"
#include "services/common/server/metrics.h"
#include "services/common/server/tls_identity.h"

namespace earmark::server {

// Thread-safe. Looks at the files once a second, and reads them once they have been the same for two looks, so that a certificate
// is not read without the key that is copied after it. What TlsIdentity::Read refuses is told in the log as a warning, and the
// identity of before stays. The gauge earmark_tls_certificate_expiry_seconds says when the certificate in use ends.
class TlsWatch {
 public:
  // The errors of TlsIdentity::Read. `metrics` must outlive it.
  static Result<std::shared_ptr<TlsWatch>> Start(const TlsFiles& files, Metrics& metrics);
  TlsWatch(const TlsWatch&) = delete;
  TlsWatch& operator=(const TlsWatch&) = delete;
  ~TlsWatch();

  // What new connections are to be shown; never null.
  std::shared_ptr<const TlsIdentity> identity() const;

 private:
  TlsWatch(TlsFiles files, std::string version, std::shared_ptr<const TlsIdentity> identity, Metrics& metrics);
  void Watch(const std::stop_token& stop);
  void ReadAgain();
  void Use(std::shared_ptr<const TlsIdentity> identity);

  const TlsFiles files_;
  std::string read_version_;  // of the thread: of the files when they were last read
  prometheus::Gauge& expiry_;
  mutable std::mutex mutex_;
  std::condition_variable_any stopped_;
  std::shared_ptr<const TlsIdentity> identity_;  // under mutex_
  std::jthread thread_;
};

}  // namespace earmark::server
