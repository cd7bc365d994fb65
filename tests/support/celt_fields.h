// Whether a fine level of a CELT packet is what CeltFront says, by what libopus makes of the packet when it is changed.
#pragma once

#include <opus/opus.h>

#include <array>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstdint>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "dsp/opus/celt_frame.h"

namespace earmark {

// The layout that a first byte stands for, of CELT packets: RFC 6716, section 3.1.
inline CeltLayout CeltLayoutOf(std::uint8_t toc) {
  constexpr std::array<int, 4> kEndBands = {13, 17, 19, 21};
  const int config = toc >> 3;
  REQUIRE(config >= 16);
  return {.num_channels = (toc & 4) != 0 ? 2 : 1,
          .frame_size_log2 = config & 3,
          .first_band = 0,
          .end_band = kEndBands[static_cast<std::size_t>((config - 16) / 4)]};
}

// A decoder whose state can be put back.
class RewindingDecoder {
 public:
  explicit RewindingDecoder(int num_channels)
      : state_(static_cast<std::size_t>(opus_decoder_get_size(num_channels))), num_channels_(num_channels) {
    REQUIRE(opus_decoder_init(Get(), 48000, num_channels) == OPUS_OK);
  }
  // What the packet sounds like after all so far. The state stays as it was.
  std::vector<float> Try(const std::vector<std::uint8_t>& packet) {
    const auto kept = state_;
    auto sound = Decode(packet);
    state_ = kept;
    return sound;
  }
  std::vector<float> Decode(const std::vector<std::uint8_t>& packet) {
    std::vector<float> sound(static_cast<std::size_t>(5760 * num_channels_));
    const int got = opus_decode_float(Get(), packet.data(), static_cast<int>(packet.size()), sound.data(), 5760, 0);
    REQUIRE(got > 0);
    sound.resize(static_cast<std::size_t>(got * num_channels_));
    return sound;
  }
  // A packet of this many samples did not come.
  void Miss(int num_samples) {
    std::vector<float> sound(static_cast<std::size_t>(num_samples * num_channels_));
    REQUIRE(opus_decode_float(Get(), nullptr, 0, sound.data(), num_samples, 0) == num_samples);
  }

 private:
  OpusDecoder* Get() { return reinterpret_cast<OpusDecoder*>(state_.data()); }
  std::vector<unsigned char> state_;
  int num_channels_;
};

enum class FieldVerdict { kAgrees, kDisagrees, kTooFaint };

struct FieldCheck {
  FieldVerdict verdict;
  std::string what;
};

// A band's part of the sound is what its level multiplies. So two different changes of one field change the sound in the same way, to known and different
// amounts: which shows that the field is a level, has so many bits, and stands just there. The packet is of one frame; the field has two bits at least.
inline FieldCheck CheckField(RewindingDecoder& decoder, const std::vector<std::uint8_t>& packet, const CeltFront& front, int band,
                             int channel, std::mt19937& random) {
  const int bits = front.num_fine_bits[static_cast<std::size_t>(band)];
  const int at = front.first_fine_bit[static_cast<std::size_t>(band)] + channel * bits;
  const int was = ReadRawBits(std::span(packet).subspan(1), at, bits);
  const auto plain = decoder.Try(packet);
  const auto change = [&](int value) {
    auto changed = packet;
    WriteRawBits(std::span(changed).subspan(1), at, bits, value);
    const auto sound = decoder.Try(changed);
    std::vector<double> difference(sound.size());
    for (std::size_t n = 0; n < sound.size(); ++n) difference[n] = static_cast<double>(sound[n]) - plain[n];
    return difference;
  };
  const auto dot = [](const std::vector<double>& a, const std::vector<double>& b) {
    double sum = 0;
    for (std::size_t n = 0; n < a.size(); ++n) sum += a[n] * b[n];
    return sum;
  };
  const auto gain = [&](int value) { return std::exp2(static_cast<double>(value - was) / (1 << bits)) - 1; };
  const int one = (was + 1 + static_cast<int>(random() % ((1U << bits) - 1))) % (1 << bits);
  int other = one;
  while (other == one || other == was) other = static_cast<int>(random() % (1U << bits));
  const auto a = change(one);
  const auto b = change(other);
  const double aa = dot(a, a);
  const double bb = dot(b, b);
  if (aa < 1e-7 || bb < 1e-7) return {.verdict = FieldVerdict::kTooFaint, .what = {}};
  const double likeness = dot(a, b) / std::sqrt(aa * bb) * (gain(one) * gain(other) > 0 ? 1 : -1);
  const double ratio = std::sqrt(aa / bb) / std::abs(gain(one) / gain(other));
  const bool agrees = likeness > 0.9999 && std::abs(ratio - 1) < 0.003;
  return {.verdict = agrees ? FieldVerdict::kAgrees : FieldVerdict::kDisagrees,
          .what = std::to_string(bits) + " bits, from " + std::to_string(was) + " to " + std::to_string(one) + " and " +
                  std::to_string(other) + ", likeness " + std::to_string(likeness) + ", ratio to what was expected " +
                  std::to_string(ratio)};
}

}  // namespace earmark
