#include "services/sidecar/fanout.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <optional>
#include <string>
#include <vector>

#include "tests/support/allocation_counter.h"
#include "tests/support/marked_stream.h"

namespace earmark {
namespace {

using Bytes = std::vector<std::uint8_t>;

// A UDP socket on the loopback interface, on a port of the system's choice.
class UdpSocket {
 public:
  explicit UdpSocket(int family = AF_INET) : family_(family), fd_(socket(family, SOCK_DGRAM, 0)) {
    sockaddr_in6 v6{};
    v6.sin6_family = AF_INET6;
    v6.sin6_addr = in6addr_loopback;
    sockaddr_in v4{};
    v4.sin_family = AF_INET;
    v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const auto* address = family == AF_INET ? reinterpret_cast<const sockaddr*>(&v4) : reinterpret_cast<const sockaddr*>(&v6);
    bound_ = fd_ >= 0 && bind(fd_, address, family == AF_INET ? sizeof v4 : sizeof v6) == 0;
  }
  ~UdpSocket() { close(fd_); }
  UdpSocket(const UdpSocket&) = delete;
  UdpSocket& operator=(const UdpSocket&) = delete;

  int fd() const { return fd_; }
  bool bound() const { return bound_; }
  int port() const {
    sockaddr_in6 address{};
    socklen_t size = sizeof address;
    REQUIRE(getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size) == 0);
    return ntohs(address.sin6_port);  // in the same place in both families
  }
  Destination destination() const { return Get(Destination::Parse(family_ == AF_INET ? "127.0.0.1" : "::1", port())); }
  // What has arrived: on the loopback interface that is all that was sent.
  std::optional<Bytes> Receive() const {
    Bytes bytes(2000);
    const auto got = recv(fd_, bytes.data(), bytes.size(), MSG_DONTWAIT);
    if (got < 0) return std::nullopt;
    bytes.resize(static_cast<std::size_t>(got));
    return bytes;
  }

 private:
  int family_;
  int fd_;
  bool bound_ = false;
};

// Variants that are told apart by their bytes.
struct Packets {
  Packets() {
    for (std::size_t v = 0; v < 4; ++v) {
      bytes[v].assign(80, static_cast<std::uint8_t>(v));
      slot.packets[v] = bytes[v];
    }
  }
  std::array<Bytes, 4> bytes;
  Slot slot;
};

FanoutTarget Target(ListenerId listener, const Destination& destination) {
  return {.listener = listener, .destination = destination, .projection = OutputProjection::Derive(TestKey(1), "mic", 111)};
}

TEST_CASE("Fanout: every listener gets its own variant under its own header", "[fanout]") {
  for (const int family : {AF_INET, AF_INET6}) {
    const UdpSocket sender(family);
    if (!sender.bound()) continue;   // no IPv6 here
    constexpr int kListeners = 150;  // more than a batch
    std::vector<std::unique_ptr<UdpSocket>> receivers;
    Audience audience(4, kListeners);
    FanoutTargets targets;
    std::vector<TraceCode> codes;
    for (int i = 0; i < kListeners; ++i) {
      receivers.push_back(std::make_unique<UdpSocket>(family));
      targets.push_back(Target(Get(audience.Add(TestCodeKey(1), std::to_string(i))), receivers.back()->destination()));
      codes.emplace_back(TestCodeKey(1), std::to_string(i), 4);
    }
    AudienceReader reader(audience);
    OutputSequence sequence;
    Fanout fanout;
    const Packets packets;
    for (std::int64_t packet = 500; packet < 504; ++packet) {
      const OutputPlace place = sequence.Next(packet);
      const FanoutCounts counts = fanout.Send(sender.fd(), targets, reader.VariantsAt(packet / 2), packets.slot, place);
      CHECK(counts.sent == kListeners);
      CHECK(counts.dropped == 0);
      bool right = true;
      for (std::size_t i = 0; i < kListeners; ++i) {
        const auto received = receivers[i]->Receive();
        right = right && received.has_value();
        if (!received) continue;
        const RtpPacket got = Get(ParseRtp(*received));
        Bytes header(kRtpHeaderBytes);
        targets[i].projection.WriteHeader(place, std::span<std::uint8_t, kRtpHeaderBytes>(header));
        right = right && std::equal(header.begin(), header.end(), received->begin()) &&
                got.header.ssrc == targets[i].projection.ssrc();
        const auto& expected = packets.bytes[static_cast<std::size_t>(codes[i].VariantAt(packet / 2))];
        right = right && Bytes(got.payload.begin(), got.payload.end()) == expected && !receivers[i]->Receive();
      }
      CHECK(right);
    }
  }
}

TEST_CASE("Fanout: who is not in the audience gets nothing, whatever else is there", "[fanout]") {
  const UdpSocket sender;
  const std::vector<UdpSocket> receivers(4);
  Audience audience(4, 10);
  std::vector<ListenerId> ids;
  for (int i = 0; i < 4; ++i) ids.push_back(Get(audience.Add(TestCodeKey(1), std::to_string(i))));
  AudienceReader reader(audience);
  FanoutTargets targets;
  // the third is not a target yet
  for (const std::size_t i : {0U, 1U, 3U}) targets.push_back(Target(ids[i], receivers[i].destination()));
  // the second is one still
  CHECK(audience.Remove(ids[1]));
  Fanout fanout;
  const Packets packets;
  const auto view = reader.VariantsAt(7);
  CHECK(fanout.Send(sender.fd(), targets, view, packets.slot, {}).sent == 2);
  for (const std::size_t i : {0U, 1U, 2U, 3U}) {
    const auto received = receivers[i].Receive();
    CHECK(received.has_value() == (i == 0 || i == 3));
    TraceCode code(TestCodeKey(1), std::to_string(i), 4);
    if (received) CHECK(received->back() == code.VariantAt(7));
  }
  CHECK(fanout.Send(sender.fd(), targets, {}, packets.slot, {}).sent == 0);
  CHECK(fanout.Send(sender.fd(), {}, view, packets.slot, {}).sent == 0);
  CHECK(fanout.Send(sender.fd(), targets, view, Slot{}, {}).sent == 0);  // nothing was sent at this slot's time
}

TEST_CASE("Fanout: what cannot be sent is counted, and the others get theirs", "[fanout]") {
  const UdpSocket sender;
  const UdpSocket good;
  Audience audience(4, 300);
  FanoutTargets targets;
  for (int i = 0; i < 300; ++i) {
    const auto id = Get(audience.Add(TestCodeKey(1), std::to_string(i)));
    // Every third is of a family that the socket cannot reach.
    targets.push_back(Target(id, i % 3 == 0 ? Get(Destination::Parse("::1", 9)) : good.destination()));
  }
  AudienceReader reader(audience);
  Fanout fanout;
  const Packets packets;
  const FanoutCounts counts = fanout.Send(sender.fd(), targets, reader.VariantsAt(0), packets.slot, {});
  CHECK(counts.sent == 200);
  CHECK(counts.dropped == 100);
  const FanoutCounts closed = fanout.Send(-1, targets, reader.VariantsAt(0), packets.slot, {});
  CHECK(closed.sent == 0);
  CHECK(closed.dropped == 300);
}

TEST_CASE("Fanout: nothing allocates", "[fanout]") {
  const UdpSocket sender;
  const UdpSocket receiver;
  Audience audience(4, 100);
  FanoutTargets targets;
  for (int i = 0; i < 100; ++i)
    targets.push_back(Target(Get(audience.Add(TestCodeKey(1), std::to_string(i))), receiver.destination()));
  AudienceReader reader(audience);
  Fanout fanout;
  const Packets packets;
  const auto before = NumAllocations();
  for (std::int64_t symbol = 0; symbol < 50; ++symbol)
    (void)fanout.Send(sender.fd(), targets, reader.VariantsAt(symbol), packets.slot, {});
  CHECK(NumAllocations() == before);
}

TEST_CASE("Fanout: destinations are addresses in digits", "[fanout]") {
  CHECK(Get(Destination::Parse("10.1.2.3", 65535)).family() == AF_INET);
  CHECK(Get(Destination::Parse("2001:db8::7", 1)).family() == AF_INET6);
  for (const char* host : {"", "localhost", "10.1.2", "10.1.2.3.4", "10.1.2.3:5", "[::1]", "::1 ", "256.1.1.1"}) {
    const auto parsed = Destination::Parse(host, 5000);
    REQUIRE_FALSE(parsed);
    CHECK(parsed.error().code == ErrorCode::kInvalidArgument);
  }
  for (const int port : {0, -1, 65536}) CHECK_FALSE(Destination::Parse("127.0.0.1", port));
}

}  // namespace
}  // namespace earmark
