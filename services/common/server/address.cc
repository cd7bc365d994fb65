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

// The host as the system writes it.
template <int kFamily, typename Binary>
std::optional<std::string> NumericHost(const std::string& text) {
  Binary binary{};
  char canonical[INET6_ADDRSTRLEN];
  if (inet_pton(kFamily, text.c_str(), &binary) != 1) return std::nullopt;
  if (inet_ntop(kFamily, &binary, canonical, sizeof canonical) == nullptr) return std::nullopt;
  return canonical;
}

std::optional<std::string> ParseHost(const std::string& text) {
  if (text == "localhost") return "127.0.0.1";
  if (text.size() > 2 && text.front() == '[' && text.back() == ']')
    return NumericHost<AF_INET6, in6_addr>(text.substr(1, text.size() - 2));
  return NumericHost<AF_INET, in_addr>(text);
}

}  // namespace

std::string Address::ToString() const {
  const bool v6 = host.find(':') != std::string::npos;
  return (v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

bool Address::IsLoopback() const {
  in_addr v4{};
  if (inet_pton(AF_INET, host.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
  return host == "::1";
}

Result<Address> ParseAddress(const std::string& text, const std::string& field) {
  const std::size_t colon = text.rfind(':');
  const auto port = colon == std::string::npos ? std::nullopt : ParsePort(text.substr(colon + 1));
  if (!port) return Fail(ErrorCode::kInvalidArgument, field + ": wanted HOST:PORT with a port of 0 to 65535, got '" + text + "'");
  const auto host = ParseHost(text.substr(0, colon));
  if (!host) {
    return Fail(ErrorCode::kInvalidArgument,
                field + ": wanted a numeric address such as 127.0.0.1, 0.0.0.0 or [::1], or localhost, got '" + text + "'");
  }
  return Address{.host = *host, .port = *port};
}

}  // namespace earmark::server
