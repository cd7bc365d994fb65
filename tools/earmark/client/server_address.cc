#include "tools/earmark/client/server_address.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <charconv>

namespace earmark::cli {
namespace {

bool IsPort(const std::string& text) {
  int port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  return error == std::errc() && end == text.data() + text.size() && port >= 1 && port <= 65535;
}

// A name like 127.0.0.1.example.com is not: only what the resolver does not touch, and localhost.
bool IsLoopback(const std::string& host) {
  in_addr v4{};
  if (inet_pton(AF_INET, host.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
  return host == "localhost" || host == "[::1]";
}

}  // namespace

Result<ServerAddress> ParseServerAddress(const std::string& text) {
  const std::size_t colon = text.rfind(':');
  const bool bracketed = text.starts_with('[') && colon != std::string::npos && colon > 0 && text[colon - 1] == ']';
  const bool plain = !bracketed && std::count(text.begin(), text.end(), ':') == 1 && text.find('/') == std::string::npos;
  if (!(bracketed || plain) || colon == 0 || !IsPort(text.substr(colon + 1))) {
    return Fail(ErrorCode::kInvalidArgument, "--server: wanted HOST:PORT, such as 127.0.0.1:7420, got '" + text + "'");
  }
  return ServerAddress{.text = text, .loopback = IsLoopback(text.substr(0, colon))};
}

}  // namespace earmark::cli
