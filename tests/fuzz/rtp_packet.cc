// RTP from the network: any bytes parse to views within them, or not at all; and any sequence of packets gives growing numbers, late ones aside.
#include "dsp/rtp/rtp_packet.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "dsp/rtp/source_clock.h"

namespace {

void Run(const earmark::SourceClock::Options& options, const std::uint8_t* data, std::size_t size) {
  earmark::SourceClock clock(options);
  std::int64_t now_us = 0;
  std::int64_t last = 0;
  volatile std::uint8_t byte = 0;  // touch every byte, for the address sanitizer to look at
  const earmark::SourcePacketSink sink = [&](const earmark::SourcePacket& packet) {
    if (packet.num_lost < 0 || packet.offset_samples < 0 || packet.offset_samples >= 960) std::abort();
    if (packet.late ? options.wait_for_order || packet.packet < 0 : packet.packet < last) std::abort();
    if (!packet.late) last = packet.packet;
    for (const std::uint8_t b : packet.payload) byte = b;
  };
  // Datagrams: a length of one byte, the milliseconds since the one before, the bytes.
  std::span<const std::uint8_t> rest(data, size);
  while (rest.size() >= 2) {
    const std::size_t length = std::min<std::size_t>(rest[0], rest.size() - 2);
    now_us += 1000 * rest[1];
    const auto packet = earmark::ParseRtp(rest.subspan(2, length));
    if (packet) clock.Push(*packet, now_us, sink);
    rest = rest.subspan(2 + length);
  }
  clock.Tick(now_us + 1'000'000, sink);
  (void)byte;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Run({.wait_for_order = true}, data, size);
  Run({.wait_for_order = false}, data, size);
  return 0;
}
