#include "services/sidecar/fanout.h"

#include <arpa/inet.h>

#include <cerrno>
#include <string>

namespace earmark {

Result<Destination> Destination::Parse(const std::string& host, int port) {
  if (port < 1 || port > 65535)
    return Fail(ErrorCode::kInvalidArgument, "destination.port: want 1 to 65535, got " + std::to_string(port));
  Destination destination;
  const auto network_port = htons(static_cast<std::uint16_t>(port));
  if (inet_pton(AF_INET, host.c_str(), &destination.address_.v4.sin_addr) == 1) {
    const std::uint32_t first_byte = ntohl(destination.address_.v4.sin_addr.s_addr) >> 24;
    if (first_byte == 0 || first_byte >= 224)
      return Fail(ErrorCode::kInvalidArgument, "destination.host: want one machine's address, got " + host);
    destination.address_.v4.sin_family = AF_INET;
    destination.address_.v4.sin_port = network_port;
    return destination;
  }
  destination.address_.v6 = {};
  if (inet_pton(AF_INET6, host.c_str(), &destination.address_.v6.sin6_addr) == 1) {
    const in6_addr& address = destination.address_.v6.sin6_addr;
    if (IN6_IS_ADDR_UNSPECIFIED(&address) || IN6_IS_ADDR_MULTICAST(&address) || IN6_IS_ADDR_V4MAPPED(&address)) {
      return Fail(ErrorCode::kInvalidArgument, "destination.host: want one machine's address, got " + host);
    }
    destination.address_.v6.sin6_family = AF_INET6;
    destination.address_.v6.sin6_port = network_port;
    return destination;
  }
  return Fail(ErrorCode::kInvalidArgument, "destination.host: want an IPv4 or IPv6 address in digits, got '" + host + "'");
}

Fanout::Fanout() {
  for (auto& message : messages_) message.msg_hdr.msg_iovlen = 2;
}

FanoutCounts Fanout::Send(int udp_socket, const FanoutTargets& targets, const AudienceReader::View& audience, const Slot& slot,
                          const OutputPlace& place) noexcept {
  FanoutCounts counts;
  std::size_t member = 0;
  // Both lists ascend.
  for (const FanoutTarget& target : targets) {
    while (member < audience.listeners.size() && audience.listeners[member] < target.listener) ++member;
    if (member == audience.listeners.size()) break;
    if (audience.listeners[member] != target.listener) continue;
    const auto packet = slot.packets[audience.variants[member]];
    if (packet.empty()) continue;
    Queue(target, packet, place);
    if (num_queued_ == kBatch) Flush(udp_socket, counts);
  }
  Flush(udp_socket, counts);
  return counts;
}

void Fanout::Queue(const FanoutTarget& target, std::span<const std::uint8_t> packet, const OutputPlace& place) noexcept {
  auto& header = headers_[num_queued_];
  auto& pieces = pieces_[num_queued_];
  target.projection.WriteHeader(place, header);
  pieces[0] = {.iov_base = header.data(), .iov_len = header.size()};
  pieces[1] = {.iov_base = const_cast<std::uint8_t*>(packet.data()), .iov_len = packet.size()};  // the kernel only reads it
  msghdr& message = messages_[num_queued_].msg_hdr;
  message.msg_iov = pieces.data();
  message.msg_name = const_cast<sockaddr*>(target.destination.address());
  message.msg_namelen = target.destination.size();
  ++num_queued_;
}

// The kernel stops at the first message that it does not take. A full socket takes no others either; anything else is that one's own trouble.
void Fanout::Flush(int udp_socket, FanoutCounts& counts) noexcept {
  std::size_t done = 0;
  while (done < num_queued_) {
    const int sent =
        sendmmsg(udp_socket, messages_.data() + done, static_cast<unsigned>(num_queued_ - done), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent > 0) {
      counts.sent += sent;
      done += static_cast<std::size_t>(sent);
      continue;
    }
    if (errno == EINTR) continue;
    const bool full = errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS || errno == EBADF;
    const std::size_t dropped = full ? num_queued_ - done : 1;
    counts.dropped += static_cast<std::int64_t>(dropped);
    done += dropped;
  }
  num_queued_ = 0;
}

}  // namespace earmark
