// CeltFront on real recordings, as they are encoded and lost in practice. Without EARMARK_CORPUS, on a little synthetic audio.
#include <opus/opus.h>

#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <random>
#include <span>
#include <sstream>
#include <string>
#include <vector>

#include "dsp/core/stream_format.h"
#include "dsp/opus/celt_frame.h"
#include "dsp/opus/opus_frames.h"
#include "tests/support/celt_fields.h"
#include "tests/support/synthetic_audio.h"

namespace earmark {
namespace {

using Packet = std::vector<std::uint8_t>;

constexpr double kSecondsOfEach = 3;  // of a recording, for each setting
constexpr std::array<int, 5> kKilobits = {16, 32, 64, 128, 256};

struct Totals {
  std::int64_t num_packets = 0;
  std::int64_t num_celt = 0;
  std::int64_t num_refused = 0;  // of CELT packets, by the parser
  std::int64_t num_lost = 0;
  std::int64_t num_agree = 0;
  std::int64_t num_disagree = 0;
  std::int64_t num_behind_loss = 0;  // of those that agree: one of the two packets before was lost
  std::int64_t num_faint = 0;
  std::string last_disagreement;
};

struct Setting {
  int num_channels;
  int kilobits;
  bool vbr;
  int application;
  int packet_samples;
};

struct EncoderDeleter {
  void operator()(OpusEncoder* encoder) const { opus_encoder_destroy(encoder); }
};

std::vector<Packet> Encode(const Setting& setting, std::span<const float> mono) {
  const std::unique_ptr<OpusEncoder, EncoderDeleter> encoder(
      opus_encoder_create(kSampleRateHz, setting.num_channels, setting.application, nullptr));
  opus_encoder_ctl(encoder.get(), OPUS_SET_BITRATE(1000 * setting.kilobits));
  opus_encoder_ctl(encoder.get(), OPUS_SET_VBR(setting.vbr ? 1 : 0));
  std::vector<float> sound(mono.begin(), mono.end());
  if (setting.num_channels == 2) {
    std::vector<float> right(mono.size());
    for (std::size_t n = 0; n < right.size(); ++n) right[n] = 0.5F * mono[n] + 0.5F * mono[(n + 4711) % mono.size()];
    sound = Interleaved(mono, right);
  }
  const auto step = static_cast<std::size_t>(setting.packet_samples * setting.num_channels);
  std::vector<Packet> packets;
  for (std::size_t at = 0; at + step <= sound.size(); at += step) {
    Packet packet(1500);
    packet.resize(static_cast<std::size_t>(
        std::max(0, opus_encode_float(encoder.get(), &sound[at], setting.packet_samples, packet.data(), 1500))));
    packets.push_back(packet);
  }
  return packets;
}

// One field of the packet, chosen at random.
void CheckOne(RewindingDecoder& decoder, const Packet& packet, int num_since_loss, std::mt19937& random, Totals& totals) {
  const auto frame = std::span(packet).subspan(1);
  RangeDecoder range(frame);
  const auto front = ParseCeltFront(CeltLayoutOf(packet[0]), range);
  totals.num_refused += front ? 0 : 1;
  // transients may end in noise whose amount depends on the level: [anti-collapse]
  if (!front || front->silence || front->transient) return;
  std::vector<int> bands;
  for (int b = 0; b < celt::kNumBands; ++b) {
    if (front->num_fine_bits[static_cast<std::size_t>(b)] >= 2) bands.push_back(b);
  }
  if (bands.empty()) return;
  const int band = bands[random() % bands.size()];
  const int channel = static_cast<int>(random() % static_cast<unsigned>(front->layout.num_channels));
  const FieldCheck outcome = CheckField(decoder, packet, *front, band, channel, random);
  if (outcome.verdict == FieldVerdict::kDisagrees) {
    ++totals.num_disagree;
    totals.last_disagreement = "band " + std::to_string(band) + " channel " + std::to_string(channel) + ": " + outcome.what +
                               "; packets since a loss " + std::to_string(num_since_loss);
  }
  totals.num_faint += outcome.verdict == FieldVerdict::kTooFaint ? 1 : 0;
  if (outcome.verdict != FieldVerdict::kAgrees) return;
  ++totals.num_agree;
  totals.num_behind_loss += num_since_loss < 2 ? 1 : 0;
}

void CheckRecording(std::span<const float> mono, const Setting& setting, std::mt19937& random, Totals& totals) {
  RewindingDecoder decoder(setting.num_channels);
  int num_since_loss = 1000;
  for (const Packet& packet : Encode(setting, mono)) {
    ++totals.num_packets;
    if (random() % 20 == 0) {
      ++totals.num_lost;
      decoder.Miss(setting.packet_samples);
      num_since_loss = 0;
      continue;
    }
    const auto split = SplitOpusPacket(packet);
    REQUIRE(split);
    if (split->mode == OpusMode::kCelt && packet.size() > 2) {
      ++totals.num_celt;
      CheckOne(decoder, packet, num_since_loss, random, totals);
    }
    (void)decoder.Decode(packet);
    ++num_since_loss;
  }
}

// Stretches of all recordings there are.
std::vector<std::vector<float>> Recordings() {
  const char* folder = std::getenv("EARMARK_CORPUS");
  if (folder == nullptr) return {SpeechLike(0.5, 1), MusicLike(0.5, 2)};
  const auto files = std::filesystem::directory_iterator(folder);
  const auto count = std::count_if(begin(files), end(files), [](const auto& file) { return file.path().extension() == ".wav"; });
  std::vector<std::vector<float>> recordings;
  for (std::uint64_t i = 0; i < static_cast<std::uint64_t>(count); ++i) {
    auto start = SpeechLike(20 + kSecondsOfEach, i);
    start.erase(start.begin(), start.begin() + 20 * kSampleRateHz);  // past quiet beginnings
    recordings.push_back(std::move(start));
  }
  return recordings;
}

std::string Summary(const Totals& totals) {
  std::ostringstream text;
  text << totals.num_packets << " packets, " << totals.num_lost << " of them lost; " << totals.num_celt << " CELT, of which "
       << totals.num_refused << " were refused; fields: " << totals.num_agree << " agree (" << totals.num_behind_loss
       << " right behind a loss), " << totals.num_disagree << " disagree, " << totals.num_faint << " too faint. "
       << totals.last_disagreement;
  return text.str();
}

TEST_CASE("CeltFront: fine levels are where it says in what libopus makes of recordings, also behind lost packets",
          "[celt_corpus]") {
  Totals totals;
  std::mt19937 random(1);
  int num_settings = 0;
  for (const auto& recording : Recordings()) {
    for (const int kilobits : kKilobits) {
      for (const bool vbr : {true, false}) {
        for (const int application : {OPUS_APPLICATION_AUDIO, OPUS_APPLICATION_VOIP}) {
          const int channels = 1 + num_settings / 2 % 2;
          const int packet_samples = ++num_settings % 5 == 0 ? 480 : kPacketSamples;
          CheckRecording(recording,
                         {.num_channels = channels,
                          .kilobits = kilobits,
                          .vbr = vbr,
                          .application = application,
                          .packet_samples = packet_samples},
                         random, totals);
        }
      }
    }
  }
  const std::string summary = Summary(totals);
  INFO(summary);
  if (std::getenv("EARMARK_CORPUS") != nullptr) WARN(summary);
  CHECK(totals.num_refused == 0);
  CHECK(totals.num_disagree == 0);
  CHECK(totals.num_agree > 100);
  CHECK(totals.num_behind_loss > 5);
}

}  // namespace
}  // namespace earmark
