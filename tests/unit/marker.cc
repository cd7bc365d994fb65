#include "dsp/marking/marker.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <numbers>
#include <vector>

#include "dsp/marking/stream_marker.h"
#include "dsp/reference/reference_chunk.h"
#include "tests/support/allocation_counter.h"
#include "tests/support/marked_stream.h"
#include "tests/support/synthetic_audio.h"

namespace earmark {
namespace {

struct Marked {
  std::vector<float> host;                   // as the marker gives it back, delayed
  std::vector<std::vector<float>> variants;  // interleaved

  std::vector<float> Deviation(int v) const { return Difference(variants[static_cast<std::size_t>(v)], host); }
};

Marked MarkAll(Marker& marker, const std::vector<float>& host, const StreamFormat& format) {
  Marked marked;
  marked.variants.resize(static_cast<std::size_t>(format.num_variants));
  const auto block = static_cast<std::size_t>(kPacketSamples * format.num_channels);
  for (std::size_t at = 0; at + block <= host.size(); at += block) {
    marker.Process(std::span(host).subspan(at, block));
    marked.host.insert(marked.host.end(), marker.Host().begin(), marker.Host().end());
    for (std::size_t v = 0; v < marked.variants.size(); ++v) {
      const auto out = marker.Variant(static_cast<int>(v));
      marked.variants[v].insert(marked.variants[v].end(), out.begin(), out.end());
    }
  }
  return marked;
}

Marked MarkAll(const std::vector<float>& host, const StreamFormat& format, const Key& key = TestKey(7)) {
  Marker marker(format, key);
  return MarkAll(marker, host, format);
}

// Power of x in [low, high) Hz, by frames of 4,800 samples (10 Hz bins).
double BandPower(std::span<const float> x, double low_hz, double high_hz) {
  RealFft fft(4800);
  double power = 0;
  for (std::size_t at = 0; at + 4800 <= x.size(); at += 2400) {
    for (std::size_t n = 0; n < 4800; ++n) {
      fft.time()[n] = x[at + n] * static_cast<float>(0.5 - 0.5 * std::cos(2 * std::numbers::pi * static_cast<double>(n) / 4800));
    }
    fft.Forward();
    for (int k = static_cast<int>(low_hz / 10); k < static_cast<int>(high_hz / 10); ++k)
      power += std::norm(fft.bins()[static_cast<std::size_t>(k)]);
  }
  return power;
}

TEST_CASE("Marker: the host passes through untouched, kLatencySamples late", "[marker]") {
  for (const int channels : {1, 2}) {
    const StreamFormat format{.num_channels = channels};
    const auto host = WhiteNoise(static_cast<std::size_t>(50 * kPacketSamples * channels), 0.5, 1);
    const Marked marked = MarkAll(host, format);
    const auto delay = static_cast<std::size_t>(Marker::kLatencySamples * channels);
    CHECK(std::all_of(marked.host.begin(), marked.host.begin() + static_cast<std::ptrdiff_t>(delay),
                      [](float x) { return x == 0; }));
    CHECK(std::equal(marked.host.begin() + static_cast<std::ptrdiff_t>(delay), marked.host.end(), host.begin()));
  }
}

TEST_CASE("Marker: the mean of all variants is the host", "[marker]") {
  const auto host = SpeechLike(3, 2);
  for (const int q : {2, 4, 8}) {
    const Marked marked = MarkAll(host, {.num_variants = q});
    std::vector<float> mean(marked.host.size(), 0.0F);
    for (const auto& variant : marked.variants) {
      for (std::size_t i = 0; i < mean.size(); ++i) mean[i] += variant[i] / static_cast<float>(q);
    }
    CHECK(SnrDb(marked.host, mean) > 120);
    for (int v = 0; v < q; ++v) {
      for (int w = 0; w < v; ++w)
        CHECK(marked.variants[static_cast<std::size_t>(v)] != marked.variants[static_cast<std::size_t>(w)]);
    }
  }
}

TEST_CASE("Marker: the mark is about 0.2 dB in the marked bands and nothing outside them", "[marker]") {
  const auto host = WhiteNoise(4 * kSampleRateHz, 0.2, 3);
  for (const int q : {2, 4, 8}) {
    const Marked marked = MarkAll(host, {.num_variants = q});
    double power_db_sum = 0;
    for (int v = 0; v < q; ++v) {
      const auto deviation = marked.Deviation(v);
      const auto level_db = [&](double low_hz, double high_hz) {
        return 10 * std::log10(BandPower(deviation, low_hz, high_hz) / BandPower(marked.host, low_hz, high_hz) + 1e-20);
      };
      // 0.2 dB is a change of amplitude by 2.3 %: -32.6 dB. In a random symbol the carriers may add up to more or less.
      for (std::size_t band = 0; band < kNumBands; ++band) {
        const double db = level_db(kBandEdgesHz[band], kBandEdgesHz[band + 1]);
        CHECK(db > -42);
        CHECK(db < -29);
      }
      power_db_sum += level_db(200, 12000);
      CHECK(level_db(10, 100) < -55);
      CHECK(level_db(12200, 23900) < -50);
    }
    CHECK(power_db_sum / q == Approx(-33).margin(3.5));
  }
}

TEST_CASE("Marker: both channels get the same gains", "[marker]") {
  // A frame's gain in a band is estimated as <deviation, host> / <host, host>; two channels of independent sound, one of them steady and tonal, agree on it.
  const auto num_samples = static_cast<std::size_t>(4 * kSampleRateHz);
  std::vector<float> tones(num_samples, 0.0F);
  Random random(3);
  for (double hz = 100; hz < 12000; hz += random.Uniform(60, 110)) {
    const double phase = random.Uniform(0, 6.28);
    for (std::size_t n = 0; n < num_samples; ++n)
      tones[n] += static_cast<float>(0.01 * std::sin(2 * std::numbers::pi * hz * static_cast<double>(n) / kSampleRateHz + phase));
  }
  const StreamFormat format{.packets_per_symbol = 5, .num_channels = 2};
  const Marked marked = MarkAll(Interleaved(tones, WhiteNoise(num_samples, 0.1, 4)), format);
  RealFft fft(960);
  const auto gains = [&](std::span<const float> deviation, std::size_t channel) {
    std::vector<float> all;
    // Frames in the middle of each symbol (of 10 frames).
    for (std::size_t frame = 25; (frame + 1) * 480 < num_samples - 960; frame += 10) {
      std::vector<std::vector<std::complex<float>>> spectra;
      for (const auto& x : {deviation, std::span<const float>(marked.host)}) {
        for (std::size_t n = 0; n < 960; ++n) {
          fft.time()[n] = x[2 * (480 * frame - 480 + n) + channel] *
                          static_cast<float>(0.5 - 0.5 * std::cos(2 * std::numbers::pi * (static_cast<double>(n) + 0.5) / 960));
        }
        fft.Forward();
        spectra.emplace_back(fft.bins().begin(), fft.bins().end());
      }
      for (int band = 6; band < kNumBands; ++band) {  // wide enough for an estimate
        double cross = 0;
        double power = 1e-12;
        for (int k = BandEdgeBin(band, 960); k < BandEdgeBin(band + 1, 960); ++k) {
          cross += (spectra[0][static_cast<std::size_t>(k)] * std::conj(spectra[1][static_cast<std::size_t>(k)])).real();
          power += std::norm(spectra[1][static_cast<std::size_t>(k)]);
        }
        all.push_back(static_cast<float>(cross / power));
      }
    }
    return all;
  };
  const auto deviation = marked.Deviation(0);
  const auto left = gains(deviation, 0);
  const auto right = gains(deviation, 1);
  CHECK(Rms(left) > 0.005);
  CHECK(Correlation(left, right) > 0.9);
  CHECK(Rms(left) / Rms(right) == Approx(1).margin(0.15));
}

TEST_CASE("Marker: silence stays silence, and what is next to silence stays as it is", "[marker]") {
  const StreamFormat format;
  const Marked silent = MarkAll(std::vector<float>(20 * kPacketSamples, 0.0F), format);
  for (const auto& variant : silent.variants) CHECK(std::all_of(variant.begin(), variant.end(), [](float x) { return x == 0; }));
  // -90 dBFS
  const Marked faint = MarkAll(WhiteNoise(20 * kPacketSamples, 3e-5, 1), format);
  for (const auto& variant : faint.variants) CHECK(variant == faint.host);
  // Loud sound, then silence: no echo of the mark beyond the last frame.
  auto host = WhiteNoise(20 * kPacketSamples, 0.3, 1);
  host.resize(40 * kPacketSamples, 0.0F);
  const Marked stops = MarkAll(host, format);
  for (const auto& variant : stops.variants) {
    CHECK(std::all_of(variant.begin() + 22 * kPacketSamples, variant.end(), [](float x) { return x == 0; }));
  }
}

TEST_CASE("Marker: any samples make finite samples, and the mark stays small beside them", "[marker]") {
  const StreamFormat format;
  std::vector<std::vector<float>> hosts;
  std::vector<float> square(50 * kPacketSamples);
  for (std::size_t i = 0; i < square.size(); ++i) square[i] = i / 50 % 2 == 0 ? 1.0F : -1.0F;
  hosts.push_back(square);
  hosts.push_back(Scaled(square, 8));  // beyond full scale
  hosts.push_back(std::vector<float>(50 * kPacketSamples, 1.0F));
  auto clipped = SpeechLike(1, 4);
  for (float& x : clipped) x = std::clamp(30 * x, -1.0F, 1.0F);
  hosts.push_back(clipped);
  std::vector<float> clicks(50 * kPacketSamples, 0.0F);
  for (std::size_t i = 0; i < clicks.size(); i += 5000) clicks[i] = 1;
  hosts.push_back(clicks);
  hosts.push_back(std::vector<float>(50 * kPacketSamples, std::numeric_limits<float>::denorm_min()));
  for (const auto& host : hosts) {
    const Marked marked = MarkAll(host, format);
    for (int v = 0; v < 4; ++v) {
      const auto& variant = marked.variants[static_cast<std::size_t>(v)];
      CHECK(std::all_of(variant.begin(), variant.end(), [](float x) { return std::isfinite(x); }));
      CHECK(Rms(marked.Deviation(v)) <= 0.04 * Rms(marked.host) + 1e-9);
    }
  }
}

TEST_CASE("Marker: following a code is choosing its variants", "[marker]") {
  const auto host = SpeechLike(4, 5);
  for (const int q : {2, 4, 8}) {
    const StreamFormat format{.num_variants = q, .packets_per_symbol = 2};
    TraceCode code(TestCodeKey(1), "listener", q);
    Marker follower(format, TestKey(7));
    follower.Follow([code](std::int64_t symbol) mutable { return code.VariantAt(symbol); });
    const Marked followed = MarkAll(follower, host, format);
    const Marked all = MarkAll(host, format);
    // Frame t is centred on output sample 480·t and belongs to symbol t / 4: the first three quarters of a symbol are its own, the last one goes over to the next.
    double inside = 0;
    double across = 0;
    for (std::size_t i = 0; i < host.size(); ++i) {
      const auto symbol = static_cast<std::int64_t>(i / 1920);
      const float own = all.variants[static_cast<std::size_t>(code.VariantAt(symbol))][i];
      const float next = all.variants[static_cast<std::size_t>(code.VariantAt(symbol + 1))][i];
      const double away = std::abs(followed.variants[0][i] - own);
      if (i % 1920 < 1440)
        inside = std::max(inside, away);
      else
        across = std::max(across, away - std::abs(own - next) - 0.01 * std::abs(own));
    }
    CHECK(inside < 1e-6);
    CHECK(across < 0.05);
    CHECK(followed.host == all.host);
  }
}

TEST_CASE("Marker: one that starts in the middle agrees after half a second", "[marker]") {
  const auto host = SpeechLike(6, 6);
  for (const int first_packet : {1, 50, 101}) {
    const StreamFormat format;
    Marker late(format, TestKey(7), first_packet);
    const auto from = static_cast<std::size_t>(first_packet) * kPacketSamples;
    const Marked whole = MarkAll(host, format);
    const Marked part = MarkAll(late, {host.begin() + static_cast<std::ptrdiff_t>(from), host.end()}, format);
    for (int v = 0; v < 4; ++v) {
      const auto expected = whole.Deviation(v);
      const auto got = part.Deviation(v);
      CHECK(SnrDb(std::span(expected).subspan(from + 24000), std::span(got).subspan(24000)) > 26);
      CHECK(SnrDb(std::span(expected).subspan(from + 72000), std::span(got).subspan(72000)) > 50);
    }
  }
}

TEST_CASE("Marker: another key, and another place in the stream, make another mark", "[marker]") {
  const auto host = SpeechLike(3, 7);
  const StreamFormat format;
  const auto deviation = MarkAll(host, format).Deviation(0);
  const auto other_key = MarkAll(host, format, TestKey(8)).Deviation(0);
  Marker later(format, TestKey(7), 5000);
  const auto other_place = MarkAll(later, host, format).Deviation(0);
  CHECK(std::abs(Correlation(deviation, other_key)) < 0.25);
  CHECK(std::abs(Correlation(deviation, other_place)) < 0.25);
}

TEST_CASE("Marker: the hot path does not allocate", "[marker]") {
  const auto host = SpeechLike(4, 8);
  for (const auto kind : {ReferenceKind::kVariantPackets, ReferenceKind::kHostPackets}) {
    for (const int channels : {1, 2}) {
      const StreamFormat format{.num_variants = 8, .num_channels = channels, .bitrate_bps = 48000, .kind = kind};
      auto marker = Get(StreamMarker::Create(format, TestKeys()));
      Marker follower(format, TestKey(7));
      TraceCode followed(TestCodeKey(1), "listener", 8);
      follower.Follow([&](std::int64_t symbol) { return followed.VariantAt(symbol); });
      TraceCode code(TestCodeKey(1), "listener", 8);
      ReferenceChunkBuilder builder(StreamMarker::PacketsPerSlot(format));
      const auto block = static_cast<std::size_t>(kPacketSamples * channels);
      std::int64_t symbol = 0;
      bool all_marked = true;
      const auto before = NumAllocations();
      // From the very first block on; also with a change between sound and silence.
      for (std::size_t at = 0; at + block <= host.size(); at += block) {
        const auto samples = std::span(host).subspan(at, block);
        const auto slot = marker.Process(samples);
        all_marked = all_marked && slot.has_value();
        if (slot) builder.Add(*slot);
        follower.Process(samples);
        (void)code.VariantAt(symbol++);
        (void)code.VariantAt(1000 * symbol);
      }
      CHECK(NumAllocations() - before == 0);
      CHECK(all_marked);
    }
  }
}

TEST_CASE("Marker: one that skipped is one that started there, with nothing of the old sound", "[marker]") {
  const auto host = SpeechLike(4, 14);
  for (const int channels : {1, 2}) {
    const StreamFormat format{.num_channels = channels};
    const auto half = host.begin() + static_cast<std::ptrdiff_t>(host.size() / 2);
    Marker skips(format, TestKey(7), 3);
    (void)MarkAll(skips, {host.begin(), half}, format);
    skips.Skip(77);
    const auto blocks_before = static_cast<std::int64_t>(host.size() / 2) / (kPacketSamples * channels);
    Marker starts(format, TestKey(7), 3 + blocks_before + 77);
    const Marked skipped = MarkAll(skips, {half, host.end()}, format);
    const Marked started = MarkAll(starts, {half, host.end()}, format);
    CHECK(skipped.host == started.host);
    CHECK(skipped.variants == started.variants);
  }
}

// The packets of one variant, by number.
std::vector<float> PlayVariant(StreamMarker& marker, std::span<const float> host, std::size_t variant,
                               std::vector<std::int64_t>& numbers) {
  Listener listener(1);
  std::vector<float> sound;
  for (std::size_t at = 0; at + kPacketSamples <= host.size(); at += kPacketSamples) {
    const Slot slot = Get(marker.Process(host.subspan(at, kPacketSamples)));
    numbers.push_back(slot.packet);
    listener.Play(slot.packets[variant], sound);
  }
  return sound;
}

TEST_CASE("StreamMarker: one that starts late or skips gives the packets of the right symbols", "[marker]") {
  const auto host = SpeechLike(5, 15);
  constexpr std::int64_t kStart = 101;  // in the middle of a symbol
  const auto tail = std::span(host).subspan(kStart * kPacketSamples);
  const StreamFormat format{.bitrate_bps = 96000};
  for (const bool skips : {false, true}) {
    auto all_along = Get(StreamMarker::Create(format, TestKeys()));
    auto late = Get(StreamMarker::Create(format, TestKeys(), skips ? 0 : kStart));
    auto elsewhere = Get(StreamMarker::Create(format, TestKeys(), 5000));
    if (skips) {
      std::vector<std::int64_t> ignored;
      (void)PlayVariant(late, WhiteNoise(20 * kPacketSamples, 0.3, 1), 0, ignored);
      late.Skip(kStart - 20);
    }
    CHECK(late.next_packet() == kStart);
    std::vector<std::int64_t> numbers;
    std::vector<std::int64_t> late_numbers;
    const auto whole = PlayVariant(all_along, host, 1, numbers);
    const auto part = PlayVariant(late, tail, 1, late_numbers);
    const auto wrong = PlayVariant(elsewhere, tail, 1, numbers);
    CHECK(late_numbers.front() == kStart);
    CHECK(late_numbers.back() == kStart + static_cast<std::int64_t>(late_numbers.size()) - 1);
    // Half a second in, it agrees with the one that ran all along, far better than one in other symbols.
    const auto expected = std::span(whole).subspan(kStart * kPacketSamples + 24000);
    CHECK(SnrDb(expected, std::span(part).subspan(24000)) > SnrDb(expected, std::span(wrong).subspan(24000)) + 6);
  }
}

TEST_CASE("StreamMarker: after a skip no sound of before is heard", "[marker]") {
  auto marker = Get(StreamMarker::Create(StreamFormat{}, TestKeys()));
  std::vector<std::int64_t> numbers;
  (void)PlayVariant(marker, WhiteNoise(20 * kPacketSamples, 0.3, 1), 0, numbers);
  marker.Skip(3);
  const auto sound = PlayVariant(marker, std::vector<float>(10 * kPacketSamples, 0.0F), 0, numbers);
  CHECK(numbers[20] == 23);
  CHECK(Rms(sound) < 1e-4);
}

TEST_CASE("StreamMarker: a negative first packet is refused", "[marker]") {
  const auto marker = StreamMarker::Create({}, TestKeys(), -1);
  REQUIRE_FALSE(marker);
  CHECK(marker.error().code == ErrorCode::kInvalidArgument);
}

TEST_CASE("StreamMarker: a format that does not exist is refused", "[marker]") {
  const auto marker = StreamMarker::Create({.num_variants = 5}, TestKeys());
  REQUIRE_FALSE(marker);
  CHECK(marker.error().code == ErrorCode::kInvalidArgument);
}

TEST_CASE("StreamMarker: packets, decoded, are the host kTotalLatencySamples later", "[marker]") {
  const auto host = SpeechLike(3, 9);
  const MarkedStream stream = MarkStream(host, {.bitrate_bps = 96000}, TestKeys());
  const auto copy = stream.CopyOf("a");
  double best = 0;
  int best_lag = -1;
  for (int lag = kTotalLatencySamples - 40; lag <= kTotalLatencySamples + 40; ++lag) {
    const double c = Correlation(std::span(copy).subspan(static_cast<std::size_t>(lag)), host);
    if (c > best) best = c, best_lag = lag;
  }
  CHECK(best_lag == kTotalLatencySamples);
  CHECK(best > 0.95);
}

}  // namespace
}  // namespace earmark
