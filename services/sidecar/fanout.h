// One slot to all listeners of a source: for each of them an RTP header and that listener's variant, by UDP.
//
// Never waits: what the socket does not take at once is dropped and counted. Messages go to the kernel in batches (sendmmsg), a header of the
// listener's own and the variant's packet, which is shared, as two pieces. Segmentation offload (UDP_SEGMENT) and connected sockets do not apply,
// since every message of a batch goes to another address.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "dsp/core/result.h"
#include "dsp/marking/variant_encoder.h"
#include "dsp/rtp/output_projection.h"
#include "dsp/tracing/audience.h"

namespace earmark {

// Where one listener's packets go: a numeric address and a port.
class Destination {
 public:
  // `host`: IPv4 or IPv6 address in digits (names are for others to resolve). kInvalidArgument: anything else, or a port out of 1 … 65535.
  static Result<Destination> Parse(const std::string& host, int port);

  const sockaddr* address() const { return reinterpret_cast<const sockaddr*>(&address_); }
  socklen_t size() const { return family() == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6); }
  int family() const { return address_.v6.sin6_family; }

 private:
  Destination() = default;
  union {
    sockaddr_in v4;
    sockaddr_in6 v6;
  } address_{};
};

struct FanoutTarget {
  ListenerId listener = 0;
  Destination destination;
  OutputProjection projection;
};

// The targets of one source, by ascending listener. Immutable once it is in use (Published<FanoutTargets>). Listeners that are in only one of this and
// the audience get nothing, so the two may be edited one after the other.
using FanoutTargets = std::vector<FanoutTarget>;

struct FanoutCounts {
  std::int64_t sent = 0;
  std::int64_t dropped = 0;  // not taken by the socket: full, unreachable, another address family
};

// One thread. Holds the room for one batch.
class Fanout {
 public:
  Fanout();

  // `udp_socket`: for the destinations' address family; left as it is. `slot`: q packets, of which listener i of `audience` gets number
  // audience.variants[i]. Does not allocate, lock or wait.
  FanoutCounts Send(int udp_socket, const FanoutTargets& targets, const AudienceReader::View& audience, const Slot& slot,
                    const OutputPlace& place) noexcept;

 private:
  static constexpr std::size_t kBatch = 64;

  void Queue(const FanoutTarget& target, std::span<const std::uint8_t> packet, const OutputPlace& place) noexcept;
  void Flush(int udp_socket, FanoutCounts& counts) noexcept;

  std::size_t num_queued_ = 0;
  std::array<std::array<std::uint8_t, kRtpHeaderBytes>, kBatch> headers_{};
  std::array<std::array<iovec, 2>, kBatch> pieces_{};
  std::array<mmsghdr, kBatch> messages_{};
};

}  // namespace earmark
