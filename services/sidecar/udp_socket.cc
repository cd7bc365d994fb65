#include "services/sidecar/udp_socket.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "services/sidecar/fanout.h"

namespace earmark {
namespace {

// Room for bursts; the system gives what it allows.
constexpr int kReceiveBytes = 1 << 20;
constexpr int kSendBytes = 4 << 20;

std::string Reason(int system_errno) { return std::generic_category().message(system_errno); }

int Open(int family) { return ::socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0); }

}  // namespace

UdpSocket::~UdpSocket() {
  if (fd_ >= 0) ::close(fd_);
}

Result<UdpSocket> UdpSocket::Bind(const std::string& host, int port) {
  auto address = Destination::Parse(host, port == 0 ? 1 : port);
  if (!address)
    return Fail(ErrorCode::kInvalidArgument, "media.host: wanted an IPv4 or IPv6 address in digits, got '" + host + "'");
  sockaddr_storage bound{};
  std::copy_n(reinterpret_cast<const char*>(address->address()), address->size(), reinterpret_cast<char*>(&bound));
  if (port == 0) reinterpret_cast<sockaddr_in*>(&bound)->sin_port = 0;  // at the same place for both families
  UdpSocket socket(Open(address->family()));
  if (socket.fd_ < 0) return Fail(ErrorCode::kResourceExhausted, "cannot open a UDP socket: " + Reason(errno));
  (void)::setsockopt(socket.fd_, SOL_SOCKET, SO_RCVBUF, &kReceiveBytes, sizeof kReceiveBytes);
  if (::bind(socket.fd_, reinterpret_cast<const sockaddr*>(&bound), address->size()) == 0) return socket;
  const int bind_errno = errno;
  const std::string what = "UDP port " + std::to_string(port) + " of " + host + ": " + Reason(bind_errno);
  return Fail(bind_errno == EADDRINUSE ? ErrorCode::kAlreadyExists : ErrorCode::kInvalidArgument, what);
}

Result<UdpSocket> UdpSocket::ForSending(int family) {
  UdpSocket socket(Open(family));
  if (socket.fd_ < 0) return Fail(ErrorCode::kUnavailable, "cannot open a UDP socket: " + Reason(errno));
  (void)::setsockopt(socket.fd_, SOL_SOCKET, SO_SNDBUF, &kSendBytes, sizeof kSendBytes);
  return socket;
}

int UdpSocket::port() const {
  sockaddr_storage bound{};
  socklen_t size = sizeof bound;
  if (::getsockname(fd_, reinterpret_cast<sockaddr*>(&bound), &size) != 0) return 0;
  return ntohs(reinterpret_cast<const sockaddr_in*>(&bound)->sin_port);
}

}  // namespace earmark
