#include "dsp/reference/variant_decoder.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <vector>

#include "dsp/core/resample.h"
#include "tests/support/marked_stream.h"
#include "tests/support/synthetic_audio.h"

namespace earmark {
namespace {

std::vector<float> Mean(const VariantAudio& audio) {
  std::vector<float> mean(audio.variants[0].size(), 0.0F);
  for (const auto& variant : audio.variants) {
    for (std::size_t i = 0; i < mean.size(); ++i) mean[i] += variant[i] / static_cast<float>(audio.variants.size());
  }
  return mean;
}

// The lag of b behind a, to a fraction of a sample, by the peak of the correlation within ±8.
double Lag(std::span<const float> a, std::span<const float> b) {
  std::vector<double> c;
  for (int lag = -8; lag <= 8; ++lag) {
    const auto skip_a = static_cast<std::size_t>(std::max(0, -lag));
    const auto skip_b = static_cast<std::size_t>(std::max(0, lag));
    c.push_back(Correlation(a.subspan(skip_a), b.subspan(skip_b)));
  }
  const auto peak = static_cast<std::size_t>(std::max_element(c.begin() + 1, c.end() - 1) - c.begin());
  const double bend = c[peak - 1] - 2 * c[peak] + c[peak + 1];
  return static_cast<double>(peak) - 8 + 0.5 * (c[peak - 1] - c[peak + 1]) / bend;
}

TEST_CASE("VariantDecoder: a stretch from the middle is what decoding from the start gives", "[variant_decoder]") {
  for (const auto kind : {ReferenceKind::kVariantPackets, ReferenceKind::kHostPackets}) {
    for (const int channels : {1, 2}) {
      const StreamFormat format{.num_channels = channels, .bitrate_bps = 32000, .kind = kind};
      const auto mono = SpeechLike(13, 41);
      const MarkedStream stream = MarkStream(channels == 1 ? mono : Interleaved(mono, Scaled(mono, 0.5)), format, TestKeys());
      const VariantAudio whole = stream.Decode(0, stream.num_packets);
      REQUIRE(whole.num_packets == stream.num_packets);
      for (const std::int64_t first : {10, 200, 490, 503, 560}) {
        const VariantAudio part = stream.Decode(first, first + 50);
        CHECK(part.first_packet == first);
        CHECK(part.first_sample() == first * kDetectPacketSamples);
        REQUIRE(part.num_packets == 50);
        REQUIRE(part.variants.size() == 4);
        for (std::size_t v = 0; v < 4; ++v) {
          REQUIRE(part.variants[v].size() == 50 * kDetectPacketSamples);
          const auto expected =
              std::span(whole.variants[v]).subspan(static_cast<std::size_t>(part.first_sample()), part.variants[v].size());
          INFO("from packet " << first << ", variant " << v << ", kind " << static_cast<int>(kind));
          CHECK(SnrDb(expected, part.variants[v]) > 40);
        }
      }
    }
  }
}

TEST_CASE("VariantDecoder: the variants are what listeners hear", "[variant_decoder]") {
  const MarkedStream stream = MarkStream(SpeechLike(6, 42), StreamFormat{}, TestKeys());
  const VariantAudio audio = stream.Decode(0, stream.num_packets);
  for (int v = 0; v < 4; ++v) {
    const auto heard = HalveRate(stream.Copy([&](std::int64_t) { return v; }));
    CHECK(SnrDb(heard, audio.variants[static_cast<std::size_t>(v)]) > 25);
    CHECK(std::abs(Lag(audio.variants[static_cast<std::size_t>(v)], heard)) < 0.1);
  }
}

TEST_CASE("VariantDecoder: from the host's packets the marks come out as PCM delivery made them", "[variant_decoder]") {
  for (const int first_packet : {0, 130}) {
    const StreamFormat format{.kind = ReferenceKind::kHostPackets};
    const auto host = SpeechLike(8, 43);
    const MarkedStream stream = MarkStream(host, format, TestKeys());
    const VariantAudio audio = stream.Decode(first_packet, stream.num_packets);
    const auto mean = Mean(audio);
    TraceCode code(stream.keys.code, "listener", 4);
    Marker marker(format, stream.keys.carrier);
    marker.Follow([&](std::int64_t symbol) { return code.VariantAt(symbol); });
    // What was delivered, and the same without a mark; stream time is another kOpusLookaheadSamples late.
    std::vector<float> delivered(kOpusLookaheadSamples, 0.0F);
    std::vector<float> plain(kOpusLookaheadSamples, 0.0F);
    for (std::size_t at = 0; at + kPacketSamples <= host.size(); at += kPacketSamples) {
      marker.Process(std::span(host).subspan(at, kPacketSamples));
      delivered.insert(delivered.end(), marker.Variant(0).begin(), marker.Variant(0).end());
      plain.insert(plain.end(), marker.Host().begin(), marker.Host().end());
    }
    const auto deviation = HalveRate(Difference(delivered, plain));
    const auto first = static_cast<std::size_t>(audio.first_sample());
    // The listener's variant, symbol by symbol, without the 5 ms at its ends where one goes over into the next.
    std::vector<float> from_reference;
    std::vector<float> from_delivery;
    for (std::size_t i = 24000; i < mean.size() && first + i < deviation.size(); ++i) {
      const auto symbol = static_cast<std::int64_t>((first + i) / 960);
      if ((first + i) % 960 < 240 || (first + i) % 960 >= 720) continue;
      from_reference.push_back(audio.variants[static_cast<std::size_t>(code.VariantAt(symbol))][i] - mean[i]);
      from_delivery.push_back(deviation[first + i]);
    }
    CHECK(Correlation(from_reference, from_delivery) > 0.9);
    CHECK(Rms(from_reference) / Rms(from_delivery) == Approx(1).margin(0.1));
    // Exact timing, of the mark and of the sound.
    CHECK(std::abs(Lag(from_reference, from_delivery)) < 0.1);
    const auto sound = HalveRate(delivered);
    CHECK(std::abs(Lag(std::span(mean).subspan(24000), std::span(sound).subspan(first + 24000))) < 0.05);
  }
}

TEST_CASE("VariantDecoder: stretches are cut to what there is", "[variant_decoder]") {
  const MarkedStream stream = MarkStream(SpeechLike(2, 44), StreamFormat{}, TestKeys());
  CHECK(stream.Decode(-50, 30).num_packets == 30);
  CHECK(stream.Decode(-50, 30).first_packet == 0);
  CHECK(stream.Decode(90, 200).num_packets == stream.num_packets - 90);
  for (const auto& nothing : {stream.Decode(100, 200), stream.Decode(5000, 5100), stream.Decode(40, 40)}) {
    CHECK(nothing.num_packets == 0);
    for (const auto& variant : nothing.variants) CHECK(variant.empty());
  }
  const auto one = Get(DecodeVariants(stream.format, stream.keys.carrier, stream.Chunks(), 10, 60, 1));
  REQUIRE(one.variants.size() == 1);
  CHECK(one.variants[0] == stream.Decode(10, 60).variants[0]);
}

TEST_CASE("VariantDecoder: a reference with exactly full chunks ends where it ends", "[variant_decoder]") {
  const MarkedStream stream = MarkStream(SpeechLike(10, 45), StreamFormat{}, TestKeys());
  REQUIRE(stream.num_packets == kPacketsPerChunk);
  CHECK(stream.Decode(480, 520).num_packets == 20);
}

TEST_CASE("VariantDecoder: damage is an error, wherever it is met", "[variant_decoder]") {
  const MarkedStream stream = MarkStream(SpeechLike(11, 46), StreamFormat{}, TestKeys());
  const ChunkLoader damaged = [&](std::int64_t first,
                                  std::int64_t end) -> Result<std::vector<std::shared_ptr<const LocatedChunk>>> {
    if (end > kPacketsPerChunk) return Fail(ErrorCode::kDataLoss, "damaged");
    return stream.Chunks()(first, end);
  };
  CHECK(DecodeVariants(stream.format, stream.keys.carrier, damaged, 10, 400, 4));
  for (const std::int64_t first : {490, 510}) {
    const auto decoded = DecodeVariants(stream.format, stream.keys.carrier, damaged, first, first + 40, 4);
    REQUIRE_FALSE(decoded);
    CHECK(decoded.error().code == ErrorCode::kDataLoss);
  }
}

TEST_CASE("VariantDecoder: a chunk with another number of variants is damage", "[variant_decoder]") {
  MarkedStream stream = MarkStream(SpeechLike(1, 47), StreamFormat{}, TestKeys());
  stream.format.num_variants = 8;
  const auto decoded = DecodeVariants(stream.format, stream.keys.carrier, stream.Chunks(), 0, 20, 8);
  REQUIRE_FALSE(decoded);
  CHECK(decoded.error().code == ErrorCode::kDataLoss);
}

TEST_CASE("VariantDecoder: while a source is away there is silence, and what follows keeps its place", "[variant_decoder]") {
  const MarkedStream stream = MarkStream(SpeechLike(4, 48), StreamFormat{}, TestKeys());
  // Short chunks, as the live service writes them, anywhere on the clock: packets 30 to 79 and 120 to 199.
  std::vector<std::shared_ptr<const LocatedChunk>> chunks;
  for (const auto& [first, end] : {std::pair<std::int64_t, std::int64_t>{30, 61}, {61, 80}, {120, 200}}) {
    ReferenceChunkBuilder builder(4);
    for (std::int64_t p = first; p < end; ++p) builder.Add(stream.SlotAt(p));
    const ChunkContext context{.stream_id = "stream", .first_packet = first};
    chunks.push_back(std::make_shared<LocatedChunk>(
        LocatedChunk{.first_packet = first,
                     .data = Get(ReferenceChunkData::Open(builder.Seal(stream.keys.seal, context), stream.keys.seal, context))}));
  }
  const ChunkLoader load = [&](std::int64_t first, std::int64_t end) -> Result<std::vector<std::shared_ptr<const LocatedChunk>>> {
    std::vector<std::shared_ptr<const LocatedChunk>> found;
    for (const auto& chunk : chunks) {
      if (chunk->first_packet < end && chunk->end_packet() > first) found.push_back(chunk);
    }
    return found;
  };
  const VariantAudio whole = stream.Decode(0, 200);
  const VariantAudio gappy = Get(DecodeVariants(stream.format, stream.keys.carrier, load, 0, 200, 4));
  REQUIRE(gappy.num_packets == 200);
  const auto loudest = [](std::span<const float> x) { return *std::max_element(x.begin(), x.end()); };
  for (std::size_t v = 0; v < 4; ++v) {
    const std::span<const float> sound = gappy.variants[v];
    CHECK(loudest(sound.first(30 * kDetectPacketSamples)) == 0);
    CHECK(loudest(sound.subspan(80 * kDetectPacketSamples, 40 * kDetectPacketSamples)) == 0);
    // Half a second after a start the decoders agree, but for rounding.
    double difference = 0;
    double energy = 0;
    for (std::size_t i = 145 * kDetectPacketSamples; i < sound.size(); ++i) {
      difference += std::pow(sound[i] - whole.variants[v][i], 2);
      energy += std::pow(sound[i], 2);
    }
    CHECK(energy > 0);
    CHECK(difference < 1e-3 * energy);
  }
  CHECK(Get(DecodeVariants(stream.format, stream.keys.carrier, load, 82, 118, 4)).num_packets == 0);
  CHECK(Get(DecodeVariants(stream.format, stream.keys.carrier, load, 300, 400, 4)).num_packets == 0);
}

// One chunk at packet 0, with a gap where `sent` says no.
VariantAudio DecodeWithGaps(const MarkedStream& stream, const std::function<bool(std::int64_t)>& sent) {
  ReferenceChunkBuilder builder(4);
  for (std::int64_t p = 0; p < stream.num_packets; ++p) {
    if (sent(p))
      builder.Add(stream.SlotAt(p));
    else
      builder.AddGap(1);
  }
  const ChunkContext context{.stream_id = "stream"};
  auto data = Get(ReferenceChunkData::Open(builder.Seal(stream.keys.seal, context), stream.keys.seal, context));
  const auto chunk = std::make_shared<LocatedChunk>(LocatedChunk{.data = std::move(data)});
  const ChunkLoader load = [&](std::int64_t, std::int64_t) -> Result<std::vector<std::shared_ptr<const LocatedChunk>>> {
    return std::vector<std::shared_ptr<const LocatedChunk>>{chunk};
  };
  return Get(DecodeVariants(stream.format, stream.keys.carrier, load, 0, stream.num_packets, 4));
}

TEST_CASE("VariantDecoder: where nothing was sent it sounds as at the listener", "[variant_decoder]") {
  const MarkedStream stream = MarkStream(SpeechLike(4, 49), StreamFormat{}, TestKeys());
  for (const int lost : {1, 5}) {
    const auto sent = [&](std::int64_t p) { return p < 20 || p % 50 >= lost; };
    const VariantAudio audio = DecodeWithGaps(stream, sent);
    REQUIRE(audio.num_packets == stream.num_packets);
    for (std::size_t v = 0; v < 4; ++v) {
      Listener listener(1);
      std::vector<float> heard;
      for (std::int64_t p = 0; p < stream.num_packets; ++p)
        listener.Play(sent(p) ? stream.SlotAt(p).packets[v] : std::span<const std::uint8_t>(), heard);
      INFO(lost << " lost in a row, variant " << v);
      CHECK(SnrDb(HalveRate(heard), audio.variants[v]) > 18);  // the decoders run at different rates
    }
  }
}

TEST_CASE("VariantDecoder: a long gap falls silent, and what follows keeps its place", "[variant_decoder]") {
  const MarkedStream stream = MarkStream(SpeechLike(4, 50), StreamFormat{}, TestKeys());
  const VariantAudio whole = stream.Decode(0, stream.num_packets);
  const VariantAudio gappy = DecodeWithGaps(stream, [](std::int64_t p) { return p >= 10 && (p < 60 || p >= 100); });
  REQUIRE(gappy.num_packets == stream.num_packets);
  for (std::size_t v = 0; v < 4; ++v) {
    const std::span<const float> sound = gappy.variants[v];
    CHECK(Rms(sound.first(10 * kDetectPacketSamples)) == 0);
    CHECK(Rms(sound.subspan(60 * kDetectPacketSamples, 5 * kDetectPacketSamples)) > 0);
    CHECK(Rms(sound.subspan(65 * kDetectPacketSamples, 35 * kDetectPacketSamples)) == 0);
    CHECK(SnrDb(std::span(whole.variants[v]).subspan(125 * kDetectPacketSamples), sound.subspan(125 * kDetectPacketSamples)) >
          30);
  }
}

}  // namespace
}  // namespace earmark
