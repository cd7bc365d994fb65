// Every packet here is libopus's own, and libopus is what the parse is compared with: the state that its range decoder ends in is public
// (OPUS_GET_FINAL_RANGE), and after some hundred symbols only a parse without any mistake comes to the same.
#include "dsp/opus/silk_frame.h"

#include <opus/opus.h>

#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <cmath>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "dsp/opus/symbol_exchange.h"
#include "tests/support/random.h"
#include "tests/support/synthetic_audio.h"

namespace earmark {
namespace {

using Bytes = std::vector<std::uint8_t>;

constexpr int kSetForceModeRequest = 11002;  // see dsp/marking/variant_encoder.cc
constexpr opus_int32 kModeSilk = 1000;
constexpr opus_int32 kModeHybrid = 1001;
constexpr double kSeconds = 1;  // of sound for each setting

struct Setting {
  int num_channels;
  int bandwidth;  // OPUS_BANDWIDTH_…
  int duration_ms;
  int bitrate_bps;
  int loss_percent;  // above 0: with LBRR
  bool hybrid() const { return bandwidth >= OPUS_BANDWIDTH_SUPERWIDEBAND; }
};

std::vector<Setting> AllSettings(bool hybrid) {
  std::vector<Setting> all;
  for (int channels = 1; channels <= 2; ++channels) {
    for (int bandwidth = OPUS_BANDWIDTH_NARROWBAND; bandwidth <= OPUS_BANDWIDTH_FULLBAND; ++bandwidth) {
      for (const int duration_ms : {10, 20, 40, 60}) {
        for (const int bitrate_bps : {12000, 24000, 48000}) {
          for (const int loss : {0, 25}) {
            const Setting setting{channels, bandwidth, duration_ms, bitrate_bps * channels, loss};
            if (setting.hybrid() == hybrid && (!hybrid || duration_ms <= 20)) all.push_back(setting);
          }
        }
      }
    }
  }
  return all;
}

// Two voices, first in the middle, then apart: so the side channel is left out, and comes back.
std::vector<float> Voices(int num_channels, double seconds, std::uint64_t seed) {
  const auto one = SpeechLike(seconds, seed);
  if (num_channels == 1) return one;
  auto left = one;
  auto right = one;
  const auto other = SpeechLike(seconds, seed + 1000);
  const std::size_t turn = kSampleRateHz / 5;
  for (std::size_t n = 0; n < one.size(); ++n) {
    if ((n / turn) % 2 == 0) continue;
    left[n] = 0.8F * one[n] + 0.1F * other[n];
    right[n] = 0.3F * one[n] + 0.7F * other[n];
  }
  return Interleaved(left, right);
}

struct EncoderDeleter {
  void operator()(OpusEncoder* encoder) const { opus_encoder_destroy(encoder); }
};

// Packets of one Opus frame.
std::vector<Bytes> Encode(const Setting& setting, std::span<const float> sound) {
  int error = OPUS_OK;
  const std::unique_ptr<OpusEncoder, EncoderDeleter> encoder(
      opus_encoder_create(kSampleRateHz, setting.num_channels, OPUS_APPLICATION_VOIP, &error));
  REQUIRE(error == OPUS_OK);
  const opus_int32 mode = setting.hybrid() ? kModeHybrid : kModeSilk;
  REQUIRE(opus_encoder_ctl(encoder.get(), kSetForceModeRequest, mode) == OPUS_OK);
  REQUIRE(opus_encoder_ctl(encoder.get(), OPUS_SET_BANDWIDTH(setting.bandwidth)) == OPUS_OK);
  REQUIRE(opus_encoder_ctl(encoder.get(), OPUS_SET_BITRATE(setting.bitrate_bps)) == OPUS_OK);
  REQUIRE(opus_encoder_ctl(encoder.get(), OPUS_SET_FORCE_CHANNELS(setting.num_channels)) == OPUS_OK);
  REQUIRE(opus_encoder_ctl(encoder.get(), OPUS_SET_INBAND_FEC(setting.loss_percent > 0 ? 1 : 0)) == OPUS_OK);
  REQUIRE(opus_encoder_ctl(encoder.get(), OPUS_SET_PACKET_LOSS_PERC(setting.loss_percent)) == OPUS_OK);
  REQUIRE(opus_encoder_ctl(encoder.get(), OPUS_SET_COMPLEXITY(6)) == OPUS_OK);
  const int samples = kSampleRateHz / 1000 * setting.duration_ms;
  const auto step = static_cast<std::size_t>(samples * setting.num_channels);
  std::vector<Bytes> packets;
  for (std::size_t at = 0; at + step <= sound.size(); at += step) {
    Bytes packet(4000);
    const int length =
        opus_encode_float(encoder.get(), &sound[at], samples, packet.data(), static_cast<opus_int32>(packet.size()));
    REQUIRE(length > 0);
    packet.resize(static_cast<std::size_t>(length));
    if ((packet[0] & 3) == 0) packets.push_back(packet);
  }
  return packets;
}

// A decoder whose state can be copied, so that two packets can be tried at one place.
class Decoder {
 public:
  explicit Decoder(int num_channels)
      : num_channels_(num_channels), state_(static_cast<std::size_t>(opus_decoder_get_size(num_channels)) / 8 + 1) {
    REQUIRE(opus_decoder_init(get(), kSampleRateHz, num_channels) == OPUS_OK);
  }
  std::vector<float> Decode(const Bytes& packet) {
    std::vector<float> out(static_cast<std::size_t>(5760 * num_channels_));
    const int samples = opus_decode_float(get(), packet.data(), static_cast<opus_int32>(packet.size()), out.data(), 5760, 0);
    REQUIRE(samples > 0);
    out.resize(static_cast<std::size_t>(samples * num_channels_));
    return out;
  }
  std::uint32_t FinalRange() {
    opus_uint32 range = 0;
    REQUIRE(opus_decoder_ctl(get(), OPUS_GET_FINAL_RANGE(&range)) == OPUS_OK);
    return range;
  }

 private:
  OpusDecoder* get() { return reinterpret_cast<OpusDecoder*>(state_.data()); }

  int num_channels_;
  std::vector<std::uint64_t> state_;
};

// By what the packet says; nothing for CELT. RFC 6716, section 3.1.
std::optional<SilkOptions> OptionsOf(const Bytes& packet) {
  const int config = packet[0] >> 3;
  if (config >= 16) return std::nullopt;
  SilkOptions options;
  options.num_channels = (packet[0] & 4) != 0 ? 2 : 1;
  options.hybrid = config >= 12;
  if (options.hybrid) {
    options.duration_ms = config % 2 == 0 ? 10 : 20;
  } else {
    options.bandwidth = static_cast<SilkBandwidth>(config / 4);
    options.duration_ms = config % 4 == 0 ? 10 : 20 * (config % 4);
  }
  return options;
}

std::span<const std::uint8_t> FrameOf(const Bytes& packet) { return std::span(packet).subspan(1); }

// The packet as one of SILK alone, of the same bytes. A hybrid frame's SILK layer is read just like a wide-band one's.
Bytes AsSilkOnly(const Bytes& packet, const SilkOptions& options) {
  Bytes changed = packet;
  if (options.hybrid) changed[0] = static_cast<std::uint8_t>((options.duration_ms == 10 ? 8 : 9) << 3 | (packet[0] & 7));
  return changed;
}

// What libopus's decoder says at the end of a SILK-only packet if `decoder` is right about where the SILK layer ends. 17 bits or more behind it are, after
// a flag, a redundant CELT frame of 5 ms, and its last range is put over SILK's (RFC 6716, section 4.5.1). Any bytes can be read as a CELT frame, so with
// what stands there in a hybrid packet this works as well.
std::uint32_t ExpectedFinalRange(RangeDecoder decoder, const Bytes& packet, const SilkOptions& options) {
  if (decoder.Tell() + 17 > 8 * decoder.num_bytes()) return decoder.range();
  (void)decoder.BitLogp(1);
  const int config = options.bandwidth == SilkBandwidth::kNarrow ? 17 : 21;
  Bytes redundant = {static_cast<std::uint8_t>(config << 3 | (packet[0] & 4))};
  redundant.insert(redundant.end(), packet.begin() + 1 + (decoder.Tell() + 7) / 8, packet.end());
  Decoder celt(options.num_channels);
  (void)celt.Decode(redundant);
  return decoder.range() ^ celt.FinalRange();
}

// With other bytes in front of it, a decoder that reads the same from here on is in the same state.
bool ReadTheSame(RangeDecoder a, RangeDecoder b) {
  if (a.range() != b.range() || a.Tell() != b.Tell() || a.num_front_bytes() != b.num_front_bytes()) return false;
  for (int i = 0; i < 200; ++i) {
    if (a.Uniform(256) != b.Uniform(256)) return false;
  }
  return a.range() == b.range();
}

Bytes Patched(const Bytes& packet, const BytePatch& patch) {
  Bytes changed = packet;
  for (std::size_t i = 0; i < patch.view().size(); ++i)
    changed.at(1 + static_cast<std::size_t>(patch.first) + i) = patch.view()[i];
  return changed;
}

SymbolPlace PlaceOf(const SilkGain& gain) { return {gain.range, gain.num_front_bytes}; }

bool SameBut(const SilkLayer& a, const SilkLayer& b, int which, int lsb) {
  if (a.num_gains != b.num_gains) return false;
  for (int i = 0; i < a.num_gains; ++i) {
    const SilkGain& x = a.gains[static_cast<std::size_t>(i)];
    const SilkGain& y = b.gains[static_cast<std::size_t>(i)];
    if (x.channel != y.channel || x.frame_index != y.frame_index || x.signal != y.signal || x.msb != y.msb) return false;
    if (x.range != y.range || x.num_front_bytes != y.num_front_bytes || x.deltas != y.deltas) return false;
    if (y.lsb != (i == which ? lsb : x.lsb)) return false;
  }
  return true;
}

struct Count {
  int packets = 0;
  int lbrr = 0;  // packets with such frames
  std::array<int, 2> gains = {};
  int sides_later = 0;  // gains of a side channel that comes back within a packet
  int with_more_behind = 0;
};

bool HasLbrr(const Bytes& packet, const SilkOptions& options) {
  RangeDecoder decoder(FrameOf(packet));
  bool has = false;
  for (int channel = 0; channel < options.num_channels; ++channel) {
    for (int frame = 0; frame < std::max(1, options.duration_ms / 20); ++frame) (void)decoder.BitLogp(1);
    has = decoder.BitLogp(1) || has;
  }
  return has;
}

// Parses all packets of a setting, and compares each. libopus makes SILK-only ones, too, where hybrid ones were asked for.
void CompareWithLibopus(const Setting& setting, std::uint64_t seed, std::array<Count, 2>& counts) {
  Decoder libopus(setting.num_channels);
  for (const Bytes& packet : Encode(setting, Voices(setting.num_channels, kSeconds, seed))) {
    const auto options = OptionsOf(packet);
    REQUIRE(options);
    Count& count = counts[options->hybrid ? 1 : 0];
    const Bytes alone = AsSilkOnly(packet, *options);
    (void)libopus.Decode(alone);
    RangeDecoder decoder(FrameOf(packet));
    const auto layer = ParseSilk(decoder, *options);
    REQUIRE(layer);
    REQUIRE(ExpectedFinalRange(decoder, alone, *options) == libopus.FinalRange());
    ++count.packets;
    count.lbrr += HasLbrr(packet, *options) ? 1 : 0;
    count.with_more_behind += decoder.Tell() + 17 <= 8 * decoder.num_bytes() ? 1 : 0;
    REQUIRE(layer->num_gains >= 1);
    for (int i = 0; i < layer->num_gains; ++i) {
      const SilkGain& gain = layer->gains[static_cast<std::size_t>(i)];
      ++count.gains[static_cast<std::size_t>(gain.channel)];
      count.sides_later += gain.frame_index > 0 ? 1 : 0;
      REQUIRE((gain.frame_index == 0 || gain.channel == 1));
      REQUIRE(gain.num_subframes == (options->duration_ms == 10 ? 2 : 4));
    }
  }
}

TEST_CASE("SilkFrame: the parse of every packet ends where libopus's ends", "[silk_frame]") {
  std::uint64_t seed = 1;
  std::array<Count, 2> counts;  // [hybrid]
  for (const bool hybrid : {false, true}) {
    for (const Setting& setting : AllSettings(hybrid)) CompareWithLibopus(setting, seed++, counts);
  }
  for (const Count& count : counts) {
    INFO(count.packets << " packets, " << count.lbrr << " with LBRR, " << count.with_more_behind << " with more behind, gains "
                       << count.gains[0] << " + " << count.gains[1] << ", of a side that comes back " << count.sides_later);
    CHECK(count.packets > 2000);
    CHECK(count.lbrr > 500);
    CHECK(count.gains[1] > 500);
  }
  CHECK(counts[0].sides_later >= 5);
}

TEST_CASE("SilkFrame: with another gain put in, libopus's decoder ends as before, and only that gain is another",
          "[silk_frame]") {
  int num_tried = 0;
  int num_wide = 0;
  int num_refused = 0;
  std::uint64_t seed = 500;
  for (const bool hybrid : {false, true}) {
    Random random(seed);
    for (const Setting& setting : AllSettings(hybrid)) {
      Decoder libopus(setting.num_channels);
      for (const Bytes& packet : Encode(setting, Voices(setting.num_channels, kSeconds / 2, seed++))) {
        Decoder copy = libopus;
        (void)libopus.Decode(packet);
        const auto options = OptionsOf(packet);
        REQUIRE(options);
        RangeDecoder decoder(FrameOf(packet));
        const auto layer = ParseSilk(decoder, *options);
        if (!layer) continue;
        const int which = static_cast<int>(random.Below(layer->num_gains));
        const SilkGain& gain = layer->gains[static_cast<std::size_t>(which)];
        const int wanted = 1 + static_cast<int>(random.Below(7));
        const auto patch = ExchangeSymbol(FrameOf(packet), PlaceOf(gain), gain.lsb, wanted);
        if (gain.lsb == 0) {
          ++num_wide;
          REQUIRE_FALSE(patch);
          continue;
        }
        if (!patch) {
          ++num_refused;
          continue;
        }
        const Bytes changed = Patched(packet, *patch);
        REQUIRE((changed != packet) == (wanted != gain.lsb));
        RangeDecoder again(FrameOf(changed));
        const auto layer_again = ParseSilk(again, *options);
        REQUIRE(layer_again);
        REQUIRE(SameBut(*layer, *layer_again, which, wanted));
        REQUIRE(ReadTheSame(decoder, again));
        (void)copy.Decode(changed);
        REQUIRE(copy.FinalRange() == libopus.FinalRange());
        ++num_tried;
      }
    }
  }
  INFO(num_tried << " tried, " << num_wide << " have symbol 0, " << num_refused << " refused");
  CHECK(num_tried > 3000);
  CHECK(num_refused < num_tried / 200);
}

// A step is 1.37 dB of the excitation. Frames without pitch become that much louder. In a voiced one most of the sound is predicted from the sound before,
// by pitch, and that is as it was when the frame begins: so it moves less, and the frames behind it move with it, less and less.
TEST_CASE("SilkFrame: a step of the gain is 1.37 dB of what libopus decodes where there is no pitch, and less where there is",
          "[silk_frame]") {
  std::array<std::vector<double>, 2> steps_db;  // [voiced]
  std::uint64_t seed = 900;
  for (const int duration_ms : {20, 60}) {
    const Setting setting{1, OPUS_BANDWIDTH_WIDEBAND, duration_ms, 24000, 0};
    Decoder libopus(1);
    int previous = kSilkGainAfterReset;
    for (const Bytes& packet : Encode(setting, Voices(1, 20, seed++))) {
      Decoder copy = libopus;
      const auto was = libopus.Decode(packet);
      RangeDecoder decoder(FrameOf(packet));
      const auto layer = ParseSilk(decoder, *OptionsOf(packet));
      REQUIRE(layer);
      SilkGain gain = layer->gains[0];
      const auto levels = SubframeLevels(gain, previous);
      const int wanted = gain.lsb <= 3 ? gain.lsb + 2 : gain.lsb - 2;
      const int steps = wanted - gain.lsb;
      const auto patch = ExchangeSymbol(FrameOf(packet), PlaceOf(gain), gain.lsb, wanted);
      gain.lsb = wanted;
      const bool all_go_along = SubframeLevels(gain, previous)[3] - levels[3] == steps;
      if (duration_ms == 20) previous = levels[3];  // of 60 ms the last level is not known
      if (!patch || !all_go_along || Rms(was) < 0.01) continue;
      const auto is = copy.Decode(Patched(packet, *patch));
      steps_db[gain.signal == SilkSignal::kVoiced ? 1 : 0].push_back(20 * std::log10(Rms(is) / Rms(was)) / steps);
    }
  }
  std::array<double, 2> median{};
  for (std::size_t voiced = 0; voiced < 2; ++voiced) {
    auto& db = steps_db[voiced];
    REQUIRE(db.size() > 50);
    std::sort(db.begin(), db.end());
    median[voiced] = db[db.size() / 2];
    UNSCOPED_INFO((voiced == 1 ? "voiced: " : "unvoiced: ")
                  << db.size() << " frames, tenth " << db[db.size() / 10] << " dB, median " << median[voiced] << ", nine tenths "
                  << db[db.size() * 9 / 10]);
  }
  CHECK(std::abs(median[0] - kSilkGainStepDb) < 0.1);
  CHECK(median[1] < kSilkGainStepDb);
  CHECK(median[1] > 0.1);
}

TEST_CASE("SilkFrame: levels follow the two rules", "[silk_frame]") {
  SilkGain gain;
  gain.num_subframes = 4;
  gain.msb = 2;
  gain.lsb = 4;
  gain.deltas = {-4, 3, 0};
  CHECK(SubframeLevels(gain, 20) == std::array<int, 4>{20, 16, 19, 19});
  CHECK(SubframeLevels(gain, 50) == std::array<int, 4>{34, 30, 33, 33});  // not more than 16 down
  gain.deltas = {36, 0, 4};
  CHECK(SubframeLevels(gain, 20) == std::array<int, 4>{20, 63, 63, 63});  // 2 * 36 - 8 = 64
  gain.deltas = {30, 0, 4};
  CHECK(SubframeLevels(gain, 20) == std::array<int, 4>{20, 52, 52, 56});
  gain.num_subframes = 2;
  CHECK(SubframeLevels(gain, 20) == std::array<int, 4>{20, 52, 0, 0});
}

// Bounds are the sanitizers' to look at; that it ends is seen here.
TEST_CASE("SilkFrame: random bytes and frames cut short do no harm", "[silk_frame]") {
  Random random(7);
  int num_parsed = 0;
  for (int i = 0; i < 20000; ++i) {
    Bytes bytes(random.Below(i % 10 == 0 ? 1200 : 90));
    const auto fill = static_cast<std::uint8_t>(random.Below(256));
    for (auto& byte : bytes) byte = i % 5 == 0 ? fill : static_cast<std::uint8_t>(random.Below(256));
    constexpr std::array<int, 4> kDurations = {10, 20, 40, 60};
    SilkOptions options;
    options.num_channels = 1 + static_cast<int>(random.Below(2));
    options.bandwidth = static_cast<SilkBandwidth>(random.Below(3));
    options.duration_ms = kDurations[random.Below(4)];
    options.hybrid = options.bandwidth == SilkBandwidth::kWide && options.duration_ms <= 20 && random.Below(2) == 0;
    RangeDecoder decoder(bytes);
    const auto layer = ParseSilk(decoder, options);
    if (!layer) continue;
    ++num_parsed;
    REQUIRE((layer->num_gains >= 1 && layer->num_gains <= 3));
    for (int g = 0; g < layer->num_gains; ++g) {
      const SilkGain& gain = layer->gains[static_cast<std::size_t>(g)];
      (void)ExchangeSymbol(bytes, PlaceOf(gain), gain.lsb, 1 + static_cast<int>(random.Below(7)));
      for (const int level : SubframeLevels(gain, static_cast<int>(random.Below(64)))) REQUIRE((level >= 0 && level <= 63));
    }
  }
  CHECK(num_parsed > 1000);
  for (const int bandwidth : {OPUS_BANDWIDTH_WIDEBAND, OPUS_BANDWIDTH_FULLBAND}) {
    for (const Bytes& packet : Encode({2, bandwidth, 20, 48000, 25}, Voices(2, 0.5, 3))) {
      for (std::size_t length = 0; length + 1 <= packet.size(); ++length) {
        RangeDecoder decoder(FrameOf(packet).first(length));
        const auto layer = ParseSilk(decoder, *OptionsOf(packet));
        if (length < 2) CHECK_FALSE(layer);
      }
    }
  }
}

TEST_CASE("SilkFrame: options that Opus does not have are no frame", "[silk_frame]") {
  const Bytes bytes(50, 0x5A);
  for (const SilkOptions& options :
       {SilkOptions{0, SilkBandwidth::kWide, 20, false}, SilkOptions{3, SilkBandwidth::kWide, 20, false},
        SilkOptions{1, SilkBandwidth::kWide, 5, false}, SilkOptions{1, SilkBandwidth::kWide, 40, true},
        SilkOptions{1, SilkBandwidth::kNarrow, 20, true}, SilkOptions{1, SilkBandwidth::kWide, 120, false}}) {
    RangeDecoder decoder(bytes);
    CHECK_FALSE(ParseSilk(decoder, options));
  }
}

TEST_CASE("SymbolExchange: carries and borrows go as far as they must, and not over the ends", "[silk_frame]") {
  // A unit is bit 1 of byte n - 1; a symbol is 32 * 2^16 of them, bit 6 of byte n - 3, wide.
  const SymbolPlace place{1U << 24, 4};
  const Bytes frame = {0x10, 0xC0, 0x12, 0x34, 0x56};
  const auto up = ExchangeSymbol(frame, place, 3, 4);
  REQUIRE(up);
  CHECK(up->first == 0);
  CHECK(up->count == 2);
  CHECK(Bytes(up->view().begin(), up->view().end()) == Bytes{0x11, 0x00});
  const Bytes low = {0x10, 0x00, 0x12, 0x34, 0x56};
  const auto down = ExchangeSymbol(low, place, 4, 3);
  REQUIRE(down);
  CHECK(Bytes(down->view().begin(), down->view().end()) == Bytes{0x0F, 0xC0});
  CHECK(ExchangeSymbol(frame, place, 5, 5)->count == 0);
  CHECK_FALSE(ExchangeSymbol(frame, place, 0, 1));
  CHECK_FALSE(ExchangeSymbol(frame, place, 1, 0));
  CHECK_FALSE(ExchangeSymbol(frame, place, 1, 8));
  CHECK_FALSE(ExchangeSymbol(Bytes{0xFF, 0xFF, 0, 0}, place, 1, 2));   // over the top
  CHECK_FALSE(ExchangeSymbol(Bytes{0x10}, place, 1, 2));               // would change a byte that is not there
  CHECK_FALSE(ExchangeSymbol(Bytes(12, 0xFF), {1U << 24, 12}, 1, 2));  // a longer carry than a patch holds
}

}  // namespace
}  // namespace earmark
