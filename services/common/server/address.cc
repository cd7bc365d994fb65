#include "services/common/server/address.h"

#include <arpa/inet.h>

#include <charconv>
#include <optional>

namespace earmark::server {
namespace {

std::optional<int> ParsePort(const std::string& text) {
  int port = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc() || end != text.data() + text.size() || port < 0 || port > 65535) return std::nullopt;
  return port;
}

// The numeric host, if it is one that packets from outside cannot reach.
std::optional<std::string> LoopbackHost(std::string host) {
  if (host == "localhost") return "127.0.0.1";
  if (host == "[::1]") return "::1";
  in_addr v4{};
  if (inet_pton(AF_INET, host.c_str(), &v4) == 1 && (ntohl(v4.s_addr) >> 24) == 127) return host;
  return std::nullopt;
}

}  // namespace

std::string Address::ToString() const {
  const bool v6 = host.find(':') != std::string::npos;
  return (v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

Result<Address> ParseLoopbackAddress(const std::string& text, const std::string& field) {
  const std::size_t colon = text.rfind(':');
  const auto port = colon == std::string::npos ? std::nullopt : ParsePort(text.substr(colon + 1));
  if (!port) return Fail(ErrorCode::kInvalidArgument, field + ": wanted HOST:PORT with a port of 0 to 65535, got '" + text + "'");
  const auto host = LoopbackHost(text.substr(0, colon));
  if (!host) {
    return Fail(
        ErrorCode::kInvalidArgument,
        field + ": wanted a loopback address (127.0.0.1, [::1], localhost), since off loopback TLS and tokens are needed, got '" +
            text + "'");
  }
  return Address{.host = *host, .port = *port};
}

}  // namespace earmark::server
