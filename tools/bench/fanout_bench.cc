#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "dsp/core/stream_keys.h"
#include "dsp/rtp/output_projection.h"
#include "dsp/tracing/audience.h"
#include "services/sidecar/fanout.h"
#include "tools/bench/bench.h"

namespace earmark {
namespace {

constexpr int kListeners = 2000;
constexpr int kPacketBytes = 80;  // 32 kb/s
constexpr int kSlots = 100;       // 2 s

// Receivers that nobody reads: the kernel does all its work up to a full receive buffer, and drops there.
std::vector<int> OpenReceivers(int count, std::vector<int>& ports) {
  std::vector<int> sockets;
  for (int i = 0; i < count; ++i) {
    const int receiver = socket(AF_INET, SOCK_DGRAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    if (bind(receiver, reinterpret_cast<const sockaddr*>(&address), size) != 0 ||
        getsockname(receiver, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
      std::perror("earmark_bench: fanout");
      std::exit(1);
    }
    sockets.push_back(receiver);
    ports.push_back(ntohs(address.sin_port));
  }
  return sockets;
}

// The least that sending can cost: the same messages, ready beforehand.
void SendBare(int sender, const FanoutTargets& targets, std::span<std::uint8_t> message_bytes) {
  constexpr std::size_t kBatch = 64;
  std::vector<mmsghdr> messages(targets.size());
  iovec piece{.iov_base = message_bytes.data(), .iov_len = message_bytes.size()};
  for (std::size_t i = 0; i < targets.size(); ++i) {
    messages[i].msg_hdr.msg_name = const_cast<sockaddr*>(targets[i].destination.address());
    messages[i].msg_hdr.msg_namelen = targets[i].destination.size();
    messages[i].msg_hdr.msg_iov = &piece;
    messages[i].msg_hdr.msg_iovlen = 1;
  }
  for (int slot = 0; slot < kSlots; ++slot) {
    for (std::size_t at = 0; at < messages.size(); at += kBatch) {
      const auto count = static_cast<unsigned>(std::min(kBatch, messages.size() - at));
      if (sendmmsg(sender, messages.data() + at, count, MSG_DONTWAIT) != static_cast<int>(count)) std::exit(1);
    }
  }
}

}  // namespace

void BenchFanout() {
  std::vector<int> ports;
  std::vector<int> sockets = OpenReceivers(4, ports);
  const int sender = socket(AF_INET, SOCK_DGRAM, 0);
  sockets.push_back(sender);
  Audience audience(4, kListeners);
  FanoutTargets targets;
  for (int i = 0; i < kListeners; ++i) {
    auto listener = audience.Add(CodeKey(NewRandomKey()), "account-" + std::to_string(i));
    auto destination = Destination::Parse("127.0.0.1", ports[static_cast<std::size_t>(i) % ports.size()]);
    targets.push_back(
        {.listener = *listener, .destination = *destination, .projection = OutputProjection::Derive(NewRandomKey(), "mic", 111)});
  }
  std::vector<std::uint8_t> packets(4 * kPacketBytes, 1);
  Slot slot;
  for (std::size_t v = 0; v < 4; ++v) slot.packets[v] = std::span(packets).subspan(v * kPacketBytes, kPacketBytes);
  std::vector<std::uint8_t> message(kRtpHeaderBytes + kPacketBytes, 1);

  AudienceReader reader(audience);
  OutputSequence sequence;
  Fanout fanout;
  std::vector<double> ratios;
  std::vector<double> costs;
  std::int64_t packet = 0;
  std::int64_t dropped = 0;
  for (int round = 0; round < 9; ++round) {
    const double full = Measure([&] {
      for (int i = 0; i < kSlots; ++i, ++packet) {
        dropped += fanout.Send(sender, targets, reader.VariantsAt(packet / 2), slot, sequence.Next(packet)).dropped;
      }
    });
    const double bare = Measure([&] { SendBare(sender, targets, message); });
    ratios.push_back(bare / full);
    costs.push_back(full / kSlots / kListeners);
  }
  std::printf(
      "fanout     %.0f listeners a core at %.2f us a packet; %.2f of a bare sendmmsg loop of the same messages (goal 0.7); %lld dropped\n",
      0.02 / Median(costs), Median(costs) * 1e6, Median(ratios), static_cast<long long>(dropped));
  for (const int open : sockets) close(open);
}

}  // namespace earmark
