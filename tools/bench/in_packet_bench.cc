#include <opus/opus.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

#include "dsp/core/stream_keys.h"
#include "dsp/marking/in_packet_marker.h"
#include "dsp/marking/packet_marker.h"
#include "tools/bench/bench.h"

namespace earmark {
namespace {

using Packets = std::vector<std::vector<std::uint8_t>>;

constexpr int kBitrateBps = 64000;
constexpr int kRounds = 5;
constexpr int kRepeats = 10;        // of the quick parts, which are over too soon to be timed
constexpr std::size_t kOneIn = 10;  // of the packets, this part is encoded again

struct EncoderDeleter {
  void operator()(OpusEncoder* encoder) const { opus_encoder_destroy(encoder); }
};

// What a speaker sends, all of it CELT.
Packets SourcePackets(std::span<const float> host, int num_channels) {
  const std::unique_ptr<OpusEncoder, EncoderDeleter> encoder(
      opus_encoder_create(kSampleRateHz, num_channels, OPUS_APPLICATION_RESTRICTED_LOWDELAY, nullptr));
  opus_encoder_ctl(encoder.get(), OPUS_SET_BITRATE(kBitrateBps));
  std::vector<float> block(static_cast<std::size_t>(kPacketSamples * num_channels));
  Packets packets;
  for (std::size_t at = 0; at + kPacketSamples <= host.size(); at += kPacketSamples) {
    for (std::size_t n = 0; n < block.size(); ++n) {
      const std::size_t sample = at + n / static_cast<std::size_t>(num_channels);
      // Right is left with an echo.
      block[n] =
          n % 2 == 0 || num_channels == 1 ? host[sample] : 0.6F * host[sample] + 0.3F * host[sample >= 700 ? sample - 700 : 0];
    }
    std::vector<std::uint8_t> packet(1500);
    const int size = opus_encode_float(encoder.get(), block.data(), kPacketSamples, packet.data(), 1500);
    if (size <= 0) std::exit(1);
    packet.resize(static_cast<std::size_t>(size));
    packets.push_back(std::move(packet));
  }
  return packets;
}

// Of packets of one frame of 20 ms.
std::int64_t ParseAll(const Packets& packets) {
  std::int64_t num_fine_bits = 0;
  for (const auto& packet : packets) {
    const auto split = SplitOpusPacket(packet);
    if (!split || split->mode != OpusMode::kCelt) std::exit(1);
    RangeDecoder decoder(split->frames[0]);
    const auto front = ParseCeltFront(CeltLayoutOf(*split), decoder);
    if (!front) std::exit(1);
    num_fine_bits += front->num_fine_bits[5];
  }
  return num_fine_bits;
}

std::int64_t MarkAll(InPacketMarker& marker, std::int64_t& slot, const Packets& packets) {
  std::int64_t num_marked = 0;
  for (const auto& packet : packets) num_marked += marker.Mark(slot++, packet).erased ? 0 : 1;
  return num_marked;
}

void BenchChannels(std::span<const float> host, int num_channels) {
  const Packets packets = SourcePackets(host, num_channels);
  const Packets few(packets.begin(), packets.begin() + static_cast<std::ptrdiff_t>(packets.size() / kOneIn));
  const ReadingKeys keys = DeriveReadingKeys(NewRandomKey(), "bench", {});
  const StreamFormat in_packet{.num_channels = num_channels, .kind = ReferenceKind::kSourcePackets, .code_version = 2};
  const StreamFormat encoded{.num_channels = num_channels, .bitrate_bps = kBitrateBps};
  std::vector<double> parses;
  std::vector<double> marks;
  std::vector<double> ratios;
  std::int64_t num_marked = 0;
  std::int64_t sum = 0;
  for (int round = 0; round < kRounds; ++round) {
    const double each = 1.0 / (kRepeats * static_cast<double>(packets.size()));
    parses.push_back(each * Measure([&] {
                       for (int i = 0; i < kRepeats; ++i) sum += ParseAll(packets);
                     }));
    InPacketMarker marker(in_packet, keys.carrier);
    std::int64_t slot = 0;
    marks.push_back(each * Measure([&] {
                      for (int i = 0; i < kRepeats; ++i) num_marked += MarkAll(marker, slot, packets);
                    }));
    auto peer = ReencodeMarker::Create(encoded, keys);
    if (!peer) std::exit(1);
    std::int64_t packet = 0;
    const double encode = Measure([&] {
      for (const auto& opus : few) (void)(*peer)->Process(packet++, opus, [](const Slot&, std::span<const float>) {});
    });
    ratios.push_back(encode / static_cast<double>(few.size()) / marks.back());
  }
  if (sum < 0) std::printf(" ");
  const double mark = Median(marks);
  std::printf(
      "in-packet  %s at 64 kb/s, 4 variants: parsing %.1f us a packet (goal 20), marking %.1f us: %.0f sources a core (goal 3000), 1/%.0f of decoding and encoding 4 times;"
      " %.0f %% of packets marked\n",
      num_channels == 1 ? "mono" : "stereo", 1e6 * Median(parses), 1e6 * mark, 1 / (kPacketsPerSecond * mark), Median(ratios),
      100.0 * static_cast<double>(num_marked) / (kRounds * kRepeats * static_cast<double>(packets.size())));
}

}  // namespace

void BenchInPacket(const std::string& audio) {
  const auto host = Host(audio);
  BenchChannels(host, 1);
  BenchChannels(host, 2);
}

}  // namespace earmark
