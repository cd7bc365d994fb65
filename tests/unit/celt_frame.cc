#include "dsp/opus/celt_frame.h"

#include <opus/opus.h>

#include <catch2/catch.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <memory>
#include <random>
#include <vector>

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
  OpusEncoder* const encoder = opus_encoder_create(48000, source.num_channels, OPUS_APPLICATION_RESTRICTED_LOWDELAY, &error);  // CELT at every rate
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
    packet.resize(static_cast<std::size_t>(opus_encode_float(encoder, block.data(), static_cast<int>(frame), packet.data(), 1500)));
    packets.push_back(packet);
  }
  opus_encoder_destroy(encoder);
  return packets;
}

// The layout that a first byte stands for, of CELT packets: RFC 6716, section 3.1.
CeltLayout LayoutOf(std::uint8_t toc) {
  constexpr std::array<int, 4> kEndBands = {13, 17, 19, 21};
  const int config = toc >> 3;
  REQUIRE(config >= 16);
  return {.num_channels = (toc & 4) != 0 ? 2 : 1, .frame_size_log2 = config & 3, .first_band = 0, .end_band = kEndBands[static_cast<std::size_t>((config - 16) / 4)]};
}

// A decoder whose state can be put back.
class Decoder {
 public:
  explicit Decoder(int num_channels) : state_(static_cast<std::size_t>(opus_decoder_get_size(num_channels))), num_channels_(num_channels) {
    REQUIRE(opus_decoder_init(Get(), 48000, num_channels) == OPUS_OK);
  }
  // What the packet sounds like after all so far, and (of silent packets behind it) how it rings on. The state stays as it was.
  std::vector<float> Try(const Packet& packet) {
    const auto kept = state_;
    auto sound = Decode(packet);
    state_ = kept;
    return sound;
  }
  std::vector<float> Decode(const Packet& packet) {
    std::vector<float> sound(static_cast<std::size_t>(5760 * num_channels_));
    const int got = opus_decode_float(Get(), packet.data(), static_cast<int>(packet.size()), sound.data(), 5760, 0);
    REQUIRE(got > 0);
    sound.resize(static_cast<std::size_t>(got * num_channels_));
    return sound;
  }

 private:
  OpusDecoder* Get() { return reinterpret_cast<OpusDecoder*>(state_.data()); }
  std::vector<unsigned char> state_;
  int num_channels_;
};

std::vector<double> Less(const std::vector<float>& a, const std::vector<float>& b) {
  std::vector<double> difference(a.size());
  for (std::size_t i = 0; i < a.size(); ++i) difference[i] = static_cast<double>(a[i]) - b[i];
  return difference;
}

double Dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

double Gain(int value, int was, int bits) { return std::exp2(static_cast<double>(value - was) / (1 << bits)) - 1; }

// A band's part of the sound is what its level multiplies. So two different changes of one field change the sound in the same way, to known and different
// amounts: which shows that the field is a level, has so many bits, and stands just there.
void CheckField(Decoder& decoder, const Packet& packet, const CeltFront& front, int band, int channel, std::mt19937& random, int& checked) {
  const int bits = front.num_fine_bits[static_cast<std::size_t>(band)];
  const int at = front.first_fine_bit[static_cast<std::size_t>(band)] + channel * bits;
  const auto frame = std::span(packet).subspan(1);
  const int was = ReadRawBits(frame, at, bits);
  const auto with = [&](int value) {
    Packet changed = packet;
    WriteRawBits(std::span(changed).subspan(1), at, bits, value);
    return decoder.Try(changed);
  };
  const auto plain = decoder.Try(packet);
  const int one = (was + 1 + static_cast<int>(random() % ((1U << bits) - 1))) % (1 << bits);
  int other = one;
  while (other == one || other == was) other = static_cast<int>(random() % (1U << bits));
  const auto a = Less(with(one), plain);
  const auto b = Less(with(other), plain);
  const double aa = Dot(a, a);
  const double bb = Dot(b, b);
  if (aa < 1e-7 || bb < 1e-7) return;  // too faint to tell
  ++checked;
  INFO("band " << band << " channel " << channel << " bits " << bits << " from " << was << " to " << one << " and " << other);
  CHECK(Dot(a, b) / std::sqrt(aa * bb) * (Gain(one, was, bits) * Gain(other, was, bits) > 0 ? 1 : -1) > 0.9999);
  CHECK(std::sqrt(aa / bb) == Approx(std::abs(Gain(one, was, bits) / Gain(other, was, bits))).epsilon(0.003));
}

TEST_CASE("CeltFront: fine levels stand where it says, as wide as it says, in libopus's packets of every size, rate and channel count", "[celt_frame]") {
  const int channels = GENERATE(1, 2);
  const double frame_ms = GENERATE(2.5, 5.0, 10.0, 20.0);
  const int kilobits = GENERATE(16, 32, 64, 128, 256);
  const bool vbr = GENERATE(true, false);
  CAPTURE(channels, frame_ms, kilobits, vbr);
  const auto packets = Encode({channels, kilobits * 1000, vbr, frame_ms}, MusicLike(1.5, 5));
  Decoder decoder(channels);
  std::mt19937 random(1);
  int checked = 0;
  int fields = 0;
  for (std::size_t p = 0; p < packets.size(); ++p) {
    const Packet& packet = packets[p];
    const auto frame = std::span(packet).subspan(1);
    RangeDecoder range(frame);
    if (packet.size() < 3) continue;
    const auto front = ParseCeltFront(LayoutOf(packet[0]), range);
    REQUIRE(front);
    if (p % 4 == 0 && !front->silence && !front->transient) {  // transients may end in noise whose amount depends on the level: [anti-collapse]
      for (int band = 0; band < front->layout.end_band; ++band) {
        if (front->num_fine_bits[static_cast<std::size_t>(band)] < 2) continue;
        ++fields;
        CheckField(decoder, packet, *front, band, static_cast<int>(random() % static_cast<unsigned>(channels)) % front->layout.num_channels, random, checked);
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
    const CeltLayout layout{.num_channels = 1 + static_cast<int>(random() % 2), .frame_size_log2 = static_cast<int>(random() % 4), .first_band = random() % 4 == 0 ? 17 : 0, .end_band = 21};
    const auto front = ParseCeltFront(layout, range);
    if (!front || front->silence) continue;
    for (std::size_t b = 0; b < celt::kNumBands; ++b) {
      const int bits = front->num_fine_bits[b];
      if (bits > 8 || (bits > 0 && front->first_fine_bit[b] + layout.num_channels * bits > static_cast<int>(8 * frame.size()))) FAIL("outside the frame");
    }
    CeltLevels levels;
    levels.Advance(*front, frame);
  }
}

}  // namespace
}  // namespace earmark
