#include "services/common/server/tls_watch.h"

#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <chrono>
#include <utility>

namespace earmark::server {
namespace {

constexpr std::chrono::seconds kLookInterval{1};

// Another text whenever the files were written, replaced or given other permissions.
std::string VersionOf(const TlsFiles& files) {
  std::string version;
  for (const std::string* path : {&files.cert, &files.key, &files.client_ca}) {
    struct stat status {};
    if (!path->empty() && ::stat(path->c_str(), &status) == 0) {
      for (const auto part :
           {static_cast<long>(status.st_dev), static_cast<long>(status.st_ino), static_cast<long>(status.st_size),
            static_cast<long>(status.st_ctim.tv_sec), static_cast<long>(status.st_ctim.tv_nsec)})
        version += std::to_string(part) + ' ';
    }
    version += '\n';
  }
  return version;
}

}  // namespace

Result<std::shared_ptr<TlsWatch>> TlsWatch::Start(const TlsFiles& files, Metrics& metrics) {
  // Looked at before they are read: what changes in between is then seen as a change.
  std::string version = VersionOf(files);
  auto identity = TlsIdentity::Read(files);
  if (!identity) return Pass(identity);
  return std::shared_ptr<TlsWatch>(new TlsWatch(files, std::move(version), std::move(*identity), metrics));
}

TlsWatch::TlsWatch(TlsFiles files, std::string version, std::shared_ptr<const TlsIdentity> identity, Metrics& metrics)
    : files_(std::move(files)),
      read_version_(std::move(version)),
      expiry_(metrics.Gauge("earmark_tls_certificate_expiry_seconds", "When the certificate in use ends, Unix time")) {
  Use(std::move(identity));
  thread_ = std::jthread([this](const std::stop_token& stop) { Watch(stop); });
}

TlsWatch::~TlsWatch() = default;

std::shared_ptr<const TlsIdentity> TlsWatch::identity() const {
  const std::lock_guard lock(mutex_);
  return identity_;
}

void TlsWatch::Use(std::shared_ptr<const TlsIdentity> identity) {
  expiry_.Set(static_cast<double>(identity->expiry_s()));
  const std::lock_guard lock(mutex_);
  identity_ = std::move(identity);
}

void TlsWatch::Watch(const std::stop_token& stop) {
  std::string seen = read_version_;
  while (true) {
    {
      std::unique_lock lock(mutex_);
      stopped_.wait_for(lock, stop, kLookInterval, [] { return false; });
    }
    if (stop.stop_requested()) return;
    std::string version = VersionOf(files_);
    if (version == seen && version != read_version_) {
      read_version_ = version;
      ReadAgain();
    }
    seen = std::move(version);
  }
}

void TlsWatch::ReadAgain() {
  auto identity = TlsIdentity::Read(files_);
  if (!identity) return spdlog::warn("{}; the certificate of before stays in use", identity.error().message);
  Use(std::move(*identity));
  spdlog::info("tls: new certificate in use");
}

}  // namespace earmark::server
