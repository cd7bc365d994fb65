#include "dsp/opus/celt_frame.h"

#include <opus/opus.h>

#include <array>
#include <catch2/catch.hpp>
#include <random>
#include <vector>

#include "tests/support/celt_fields.h"
#include "tests/support/synthetic_audio.h"

namespace earmark {
namespace {

using Packet = std::vector<std::uint8_t>;

struct Source {
  int num_channels;
  int bitrate_bps;
  bool vbr;
  double frame_ms;
};

std::vector<Packet> Encode(const Source& source, std::span<const float> mono) {
  int error = OPUS_OK;
  // CELT at every rate
  OpusEncoder* const encoder = opus_encoder_create(48000, source.num_channels, OPUS_APPLICATION_RESTRICTED_LOWDELAY, &error);
  opus_encoder_ctl(encoder, OPUS_SET_BITRATE(source.bitrate_bps));
  opus_encoder_ctl(encoder, OPUS_SET_VBR(source.vbr ? 1 : 0));
  const auto frame = static_cast<std::size_t>(source.frame_ms * 48);
  std::vector<Packet> packets;
  std::vector<float> block(frame * static_cast<std::size_t>(source.num_channels));
  for (std::size_t at = 0; at + frame <= mono.size(); at += frame) {
    for (std::size_t i = 0; i < frame; ++i) {
      if (source.num_channels == 1) {
        block[i] = mono[at + i];
        continue;
      }
      block[2 * i] = mono[at + i];
      block[2 * i + 1] = 0.5F * mono[at + i] + 0.5F * mono[(at + i + 4711) % mono.size()];
    }
    Packet packet(1500);
    packet.resize(
        static_cast<std::size_t>(opus_encode_float(encoder, block.data(), static_cast<int>(frame), packet.data(), 1500)));
    packets.push_back(packet);
  }
  opus_encoder_destroy(encoder);
  return packets;
}

TEST_CASE(
    "CeltFront: fine levels stand where it says, as wide as it says, in libopus's packets of every size, rate and channel count",
    "[celt_frame]") {
  const int channels = GENERATE(1, 2);
  const double frame_ms = GENERATE(2.5, 5.0, 10.0, 20.0);
  const int kilobits = GENERATE(16, 32, 64, 128, 256);
  const bool vbr = GENERATE(true, false);
  CAPTURE(channels, frame_ms, kilobits, vbr);
  const auto packets = Encode({channels, kilobits * 1000, vbr, frame_ms}, MusicLike(1.5, 5));
  RewindingDecoder decoder(channels);
  std::mt19937 random(1);
  int checked = 0;
  int fields = 0;
  for (std::size_t p = 0; p < packets.size(); ++p) {
    const Packet& packet = packets[p];
    const auto frame = std::span(packet).subspan(1);
    RangeDecoder range(frame);
    if (packet.size() < 3) continue;
    const auto front = ParseCeltFront(CeltLayoutOf(packet[0]), range);
    REQUIRE(front);
    // transients may end in noise whose amount depends on the level: [anti-collapse]
    if (p % 4 == 0 && !front->silence && !front->transient) {
      for (int band = 0; band < front->layout.end_band; ++band) {
        if (front->num_fine_bits[static_cast<std::size_t>(band)] < 2) continue;
        ++fields;
        const int channel = static_cast<int>(random() % static_cast<unsigned>(channels)) % front->layout.num_channels;
        const FieldCheck outcome = CheckField(decoder, packet, *front, band, channel, random);
        INFO("band " << band << " channel " << channel << ": " << outcome.what);
        CHECK(outcome.verdict != FieldVerdict::kDisagrees);
        checked += outcome.verdict == FieldVerdict::kAgrees ? 1 : 0;
      }
    }
    (void)decoder.Decode(packet);
  }
  if (kilobits * frame_ms >= 600) CHECK(checked > 50);
  CHECK(checked >= fields / 4);
}

TEST_CASE("CeltFront: no bytes make the parser run away or read outside", "[celt_frame]") {
  std::mt19937 random(2);
  for (int trial = 0; trial < 200000; ++trial) {
    Packet frame(random() % 64);
    for (auto& byte : frame) byte = static_cast<std::uint8_t>(random());
    RangeDecoder range(frame);
    const CeltLayout layout{.num_channels = 1 + static_cast<int>(random() % 2),
                            .frame_size_log2 = static_cast<int>(random() % 4),
                            .first_band = random() % 4 == 0 ? 17 : 0,
                            .end_band = 21};
    const auto front = ParseCeltFront(layout, range);
    if (!front || front->silence) continue;
    for (std::size_t b = 0; b < celt::kNumBands; ++b) {
      const int bits = front->num_fine_bits[b];
      if (bits > 8 || (bits > 0 && front->first_fine_bit[b] + layout.num_channels * bits > static_cast<int>(8 * frame.size())))
        FAIL("outside the frame");
    }
    CeltLevels levels;
    levels.Advance(*front, frame);
  }
}

}  // namespace
}  // namespace earmark
