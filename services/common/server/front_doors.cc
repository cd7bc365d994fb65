#include "services/common/server/front_doors.h"

namespace earmark::server {
namespace {

Result<std::optional<TlsFiles>> ReadTlsFiles(const Config& config) {
  const TlsFiles files{
      .cert = config.Text("tls", "cert"), .key = config.Text("tls", "key"), .client_ca = config.Text("tls", "client_ca")};
  if (files.cert.empty() && files.key.empty() && files.client_ca.empty()) return std::nullopt;
  if (files.cert.empty() && files.key.empty()) {
    return Fail(ErrorCode::kInvalidArgument, "tls.client_ca: wanted tls.cert and tls.key with it, got neither");
  }
  if (files.cert.empty()) return Fail(ErrorCode::kInvalidArgument, "tls.cert: wanted the certificate of tls.key, got none");
  if (files.key.empty()) return Fail(ErrorCode::kInvalidArgument, "tls.key: wanted the private key of tls.cert, got none");
  return files;
}

// Off loopback others can listen, so it takes TLS, and call, so it takes tokens.
Result<Address> ReadAddress(const Config& config, const std::string& key, const std::optional<TlsFiles>& tls) {
  const std::string field = "listen." + key;
  const std::string& text = config.Text("listen", key);
  auto address = ParseAddress(text, field);
  if (!address || address->IsLoopback()) return address;
  if (!tls) {
    return Fail(ErrorCode::kInvalidArgument,
                field +
                    ": wanted a loopback address (127.0.0.1, [::1], localhost), since tls.cert and tls.key are not set, got '" +
                    text + "'");
  }
  if (!config.Switch("auth", "required")) {
    return Fail(
        ErrorCode::kInvalidArgument,
        field + ": wanted a loopback address (127.0.0.1, [::1], localhost), since auth.required is false, got '" + text + "'");
  }
  return address;
}

}  // namespace

Result<FrontDoors> ReadFrontDoors(const Config& config) {
  auto tls = ReadTlsFiles(config);
  if (!tls) return Pass(tls);
  const auto grpc = ReadAddress(config, "grpc", *tls);
  if (!grpc) return Pass(grpc);
  const auto http = ReadAddress(config, "http", *tls);
  if (!http) return Pass(http);
  return FrontDoors{.grpc = *grpc, .http = *http, .tls = std::move(*tls)};
}

Result<void> CheckFrontDoors(const Config& config) {
  const auto doors = ReadFrontDoors(config);
  if (!doors) return Pass(doors);
  if (!doors->tls) return {};
  if (const auto identity = TlsIdentity::Read(*doors->tls); !identity) return Pass(identity);
  return {};
}

}  // namespace earmark::server
