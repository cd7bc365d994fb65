#include "dsp/marking/variant_encoder.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdio>
#include <string>
#include <vector>

#include "dsp/marking/stream_marker.h"
#include "tests/support/marked_stream.h"
#include "tests/support/sanitizers.h"
#include "tests/support/synthetic_audio.h"

namespace earmark {
namespace {

// Mode, bandwidth, frame size and channels; not how the payload is padded, which the two last bits of the TOC tell (RFC 6716, 3.1).
int ShapeOf(std::span<const std::uint8_t> packet) { return packet[0] >> 2; }

struct Material {
  const char* name;
  std::vector<float> mono;
};

std::vector<Material> Materials() {
  const double seconds = kSanitized ? 1 : 3;
  const auto speech = SpeechLike(seconds, 31);
  const auto music = MusicLike(seconds, 32);
  std::vector<float> square(speech.size());
  for (std::size_t i = 0; i < square.size(); ++i) square[i] = i / 60 % 2 == 0 ? 1.0F : -1.0F;
  std::vector<float> alternating;  // speech, music and silence by turns of 0.2 s
  for (std::size_t i = 0; i < speech.size(); ++i)
    alternating.push_back(i / 9600 % 3 == 0 ? speech[i] : i / 9600 % 3 == 1 ? music[i] : 0.0F);
  return {{"speech", speech},
          {"music", music},
          {"silence", std::vector<float>(speech.size(), 0.0F)},
          {"full scale", square},
          {"alternating", alternating}};
}

TEST_CASE("VariantEncoder: packets of a slot have one shape and one length, or are all the same", "[variant_encoder]") {
  std::int64_t num_slots = 0;
  std::int64_t num_erased = 0;
  for (const Material& material : Materials()) {
    for (const int bitrate : {12000, 16000, 24000, 32000, 64000}) {
      for (const int channels : {1, 2}) {
        const StreamFormat format{.num_channels = channels, .bitrate_bps = bitrate};
        const auto host = channels == 1
                              ? material.mono
                              : Interleaved(material.mono, Scaled(LowPassed(material.mono, 4000, kSampleRateHz, 1), 0.8));
        auto marker = Get(StreamMarker::Create(format, TestKeys()));
        const auto block = static_cast<std::size_t>(kPacketSamples * channels);
        std::int64_t erased = 0;
        std::int64_t slots = 0;
        bool equal = true;
        bool constant = true;
        std::size_t first_length = 0;
        for (std::size_t at = 0; at + block <= host.size(); at += block) {
          const Slot slot = Get(marker.Process(std::span(host).subspan(at, block)));
          ++slots;
          erased += slot.erased ? 1 : 0;
          if (first_length == 0) first_length = slot.packets[0].size();
          constant = constant && slot.packets[0].size() == first_length;
          for (std::size_t v = 1; v < 4; ++v) {
            equal =
                equal && slot.packets[v].size() == slot.packets[0].size() && ShapeOf(slot.packets[v]) == ShapeOf(slot.packets[0]);
            if (slot.erased) equal = equal && std::equal(slot.packets[v].begin(), slot.packets[v].end(), slot.packets[0].begin());
          }
        }
        INFO(material.name << ", " << bitrate << " b/s, " << channels << " channels: " << erased << " of " << slots
                           << " slots erased");
        CHECK(equal);
        CHECK(constant);
        CHECK(first_length == static_cast<std::size_t>(bitrate / 8 / kPacketsPerSecond));
        // libopus doubts about the pitch of a square wave
        const double max = material.name == std::string("full scale") ? 0.35 : 0.06;
        CHECK(static_cast<double>(erased) <= max * static_cast<double>(slots));
        num_slots += slots;
        num_erased += erased;
      }
    }
  }
  std::printf("variant_encoder: %lld of %lld slots erased\n", static_cast<long long>(num_erased),
              static_cast<long long>(num_slots));
  CHECK(static_cast<double>(num_erased) < 0.03 * static_cast<double>(num_slots));
}

TEST_CASE("VariantEncoder: any number of encoders, and what they make decodes", "[variant_encoder]") {
  const auto host = SpeechLike(1, 33);
  for (const int encoders : {1, 2, 8}) {
    auto encoder = Get(VariantEncoder::Create({.num_encoders = encoders, .num_channels = 1, .bitrate_bps = 32000}));
    Listener listener(1);
    std::vector<float> sound;
    int num_erased = 0;
    for (std::size_t at = 0; at + kPacketSamples <= host.size(); at += kPacketSamples) {
      const Slot slot = Get(encoder.Encode([&](int) { return std::span(host).subspan(at, kPacketSamples); }));
      num_erased += slot.erased ? 1 : 0;
      for (std::size_t v = 0; v < static_cast<std::size_t>(encoders); ++v) CHECK(slot.packets[v].size() == 80);
      listener.Play(slot.packets[0], sound);
    }
    CHECK(num_erased <= 2);  // at changes of mode
    CHECK(Correlation(std::span(sound).subspan(kOpusLookaheadSamples), host) > 0.8);
  }
}

TEST_CASE("VariantEncoder: settings that libopus refuses are an error", "[variant_encoder]") {
  for (const VariantEncoder::Options options :
       {VariantEncoder::Options{.num_encoders = 1, .num_channels = 3, .bitrate_bps = 32000},
        VariantEncoder::Options{.num_encoders = 1, .num_channels = 1, .bitrate_bps = -7}}) {
    const auto encoder = VariantEncoder::Create(options);
    REQUIRE_FALSE(encoder);
    CHECK(encoder.error().code == ErrorCode::kInternal);
  }
}

}  // namespace
}  // namespace earmark
