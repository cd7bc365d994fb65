#include "services/common/server/host_guard.h"

#include <algorithm>
#include <cctype>

#include "services/common/server/address.h"

namespace earmark::server {
namespace {

// Without the port, in small letters; IPv6 in brackets.
std::string NameOf(const std::string& host_and_port) {
  const bool bracketed = host_and_port.starts_with('[');
  std::string name = host_and_port.substr(0, bracketed ? host_and_port.find(']') + 1 : host_and_port.find(':'));
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return name;
}

bool IsLoopbackName(const std::string& name) {
  const auto address = ParseAddress(name + ":0", "Host");
  return address && address->IsLoopback();
}

bool IsFor(const TlsIdentity& identity, const std::string& name) {
  const bool bracketed = name.size() > 2 && name.front() == '[' && name.back() == ']';
  return identity.IsFor(bracketed ? name.substr(1, name.size() - 2) : name);
}

}  // namespace

std::optional<std::string> ForeignHeader(const std::string& host, const std::optional<std::string>& origin,
                                         const TlsIdentity* identity) {
  const std::string name = NameOf(host);
  const bool loopback = IsLoopbackName(name);
  if (!loopback && (identity == nullptr || !IsFor(*identity, name))) return "Host";
  if (!origin) return std::nullopt;
  const std::size_t scheme = origin->find("://");
  if (loopback && scheme != std::string::npos && IsLoopbackName(NameOf(origin->substr(scheme + 3)))) return std::nullopt;
  if (identity != nullptr && *origin == "https://" + host) return std::nullopt;
  return "Origin";
}

}  // namespace earmark::server
