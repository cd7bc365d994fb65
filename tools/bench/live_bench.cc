// How long a packet takes through the sidecar: from the speaker's socket to the last listener's.
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "dsp/core/stream_keys.h"
#include "dsp/marking/variant_encoder.h"
#include "dsp/rtp/rtp_packet.h"
#include "services/sidecar/sidecar.h"
#include "tools/bench/bench.h"

namespace earmark {
namespace {

using std::chrono::steady_clock;

constexpr int kListeners = 200;
constexpr int kPackets = 500;  // 10 s

// The speaker's packets, ready beforehand.
std::vector<std::vector<std::uint8_t>> SourcePackets(const std::string& audio) {
  const std::vector<float> host = Host(audio);
  auto encoder = OrExit(VariantEncoder::Create({.num_encoders = 1, .num_channels = 1, .bitrate_bps = 64000}));
  std::vector<std::vector<std::uint8_t>> packets;
  for (std::size_t i = 0; i < kPackets; ++i) {
    const auto block = std::span(host).subspan(i * kPacketSamples % (host.size() - kPacketSamples), kPacketSamples);
    const Slot slot = OrExit(encoder.Encode([&](int) { return block; }));
    std::vector<std::uint8_t> datagram(kRtpHeaderBytes);
    WriteRtpHeader({.payload_type = 111,
                    .sequence = static_cast<std::uint16_t>(i),
                    .timestamp = static_cast<std::uint32_t>(960 * i),
                    .ssrc = 7},
                   std::span<std::uint8_t, kRtpHeaderBytes>(datagram.data(), kRtpHeaderBytes));
    datagram.insert(datagram.end(), slot.packets[0].begin(), slot.packets[0].end());
    packets.push_back(std::move(datagram));
  }
  return packets;
}

// Sends a packet and waits for what comes of it at `listener`; seconds, or a negative number if nothing came.
double RoundTrip(const UdpSocket& sender, const Destination& to, std::span<const std::uint8_t> packet,
                 const UdpSocket& listener) {
  std::array<std::uint8_t, 2048> heard{};
  const auto begin = steady_clock::now();
  (void)::sendto(sender.fd(), packet.data(), packet.size(), 0, to.address(), to.size());
  pollfd waiting{.fd = listener.fd(), .events = POLLIN, .revents = 0};
  if (::poll(&waiting, 1, 15) <= 0) return -1;
  (void)::recv(listener.fd(), heard.data(), heard.size(), 0);
  return std::chrono::duration<double>(steady_clock::now() - begin).count();
}

}  // namespace

void BenchLive(const std::string& audio) {
  const auto packets = SourcePackets(audio);
  std::string folder = (std::filesystem::temp_directory_path() / "earmark-bench-XXXXXX").string();
  if (mkdtemp(folder.data()) == nullptr) std::exit(1);
  std::vector<double> seconds;
  int num_missing = 0;
  {
    auto sidecar = OrExit(Sidecar::Start({.store_url = "sqlite:" + folder + "/store.db", .name = "bench"}, [] {
      const Key key = NewRandomKey();
      return MasterKey{.key = key, .id = KeyId(key)};
    }()));
    (void)OrExit(sidecar->OpenStream("room", 0, {}));
    const Destination to = OrExit(Destination::Parse("127.0.0.1", OrExit(sidecar->AddSource("room", "mic", 111, 63))));
    std::vector<UdpSocket> listeners;
    for (int i = 0; i < kListeners; ++i) {
      listeners.push_back(OrExit(UdpSocket::Bind("127.0.0.1", 0)));
      (void)OrExit(
          sidecar->AddGrant("room", "account-" + std::to_string(i), {.host = "127.0.0.1", .port = listeners.back().port()}));
    }
    const UdpSocket sender = OrExit(UdpSocket::ForSending(AF_INET));
    auto next = steady_clock::now();
    for (const auto& packet : packets) {
      std::this_thread::sleep_until(next);
      next += std::chrono::milliseconds(20);
      const double took_s = RoundTrip(sender, to, packet, listeners.back());
      if (took_s < 0) {
        ++num_missing;
      } else {
        seconds.push_back(took_s);
      }
    }
  }
  std::filesystem::remove_all(folder);
  if (seconds.empty()) {
    std::fprintf(stderr, "earmark_bench: live: nothing came\n");
    std::exit(1);
  }
  std::sort(seconds.begin(), seconds.end());
  const auto at = [&](double share) {
    return 1e3 * seconds[static_cast<std::size_t>(share * static_cast<double>(seconds.size() - 1))];
  };
  std::printf(
      "live       RTP in to RTP out at the last of %d listeners: p50 %.2f ms, p99 %.2f ms, most %.2f ms (a packet lasts 20 ms); %d of %d not within"
      " 15 ms; and %.1f ms by the algorithm (goal 45 in all)\n",
      kListeners, at(0.5), at(0.99), at(1), num_missing, kPackets, 1e3 * kTotalLatencySamples / kSampleRateHz);
}

}  // namespace earmark
