// Reading: a clip of known place against the packets of its source, on one core. Its parts stand next to libopus decoding those packets once.
#include <opus/opus.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <vector>

#include "dsp/core/resample.h"
#include "dsp/core/stream_keys.h"
#include "dsp/marking/in_packet_marker.h"
#include "dsp/marking/stream_marker.h"
#include "dsp/reading/coherent_reader.h"
#include "dsp/reading/envelope_reader.h"
#include "dsp/reading/symbol_reader.h"
#include "dsp/reference/mono_player.h"
#include "dsp/reference/reference_chunk.h"
#include "tools/bench/bench.h"

namespace earmark {
namespace {

using Packet = std::vector<std::uint8_t>;

constexpr double kClipS = 60;
constexpr int kBitrateBps = 64000;  // of source packets
constexpr int kRounds = 3;

// A source's reference, and the packets that one listener got.
struct Source {
  StreamFormat format;
  ReadingKeys keys;
  std::vector<std::shared_ptr<const LocatedChunk>> chunks;
  std::vector<Packet> heard;

  VariantLoader Variants() const {
    return [this](std::int64_t first, std::int64_t end) {
      const ChunkLoader load = [this](std::int64_t from,
                                      std::int64_t to) -> Result<std::vector<std::shared_ptr<const LocatedChunk>>> {
        std::vector<std::shared_ptr<const LocatedChunk>> found;
        for (const auto& chunk : chunks) {
          if (chunk->first_packet < to && chunk->end_packet() > from) found.push_back(chunk);
        }
        return found;
      };
      return DecodeVariants(format, keys.carrier, load, first, end, format.num_variants);
    };
  }
  void Add(ReferenceChunkBuilder& builder) {
    const ChunkContext context{.stream_id = "bench",
                               .first_packet = static_cast<std::int64_t>(heard.size()) - builder.num_packets()};
    auto data = ReferenceChunkData::Open(builder.Seal(keys.seal, context), keys.seal, context);
    if (!data) std::exit(1);
    chunks.push_back(
        std::make_shared<LocatedChunk>(LocatedChunk{.first_packet = context.first_packet, .data = std::move(*data)}));
  }
};

// `host` marked in a way of its format's; the listener's variants are drawn at random.
Source MarkedSource(std::span<const float> host, const StreamFormat& format) {
  Source source{.format = format, .keys = DeriveReadingKeys(NewRandomKey(), "bench", {}), .chunks = {}, .heard = {}};
  const bool patched = format.kind == ReferenceKind::kSourcePackets;
  const std::unique_ptr<OpusEncoder, void (*)(OpusEncoder*)> encoder(
      opus_encoder_create(kSampleRateHz, 1, OPUS_APPLICATION_AUDIO, nullptr), opus_encoder_destroy);
  opus_encoder_ctl(encoder.get(), OPUS_SET_BITRATE(kBitrateBps));
  InPacketMarker in_packet(format, source.keys.carrier);
  auto marker = StreamMarker::Create(format, source.keys);
  auto builder = patched ? ReferenceChunkBuilder::ForSourcePackets() : ReferenceChunkBuilder(format.num_variants);
  std::mt19937 random(1);
  std::size_t variant = 0;
  for (std::int64_t p = 0; (p + 1) * kPacketSamples <= static_cast<std::int64_t>(host.size()); ++p) {
    if (p % format.packets_per_symbol == 0) variant = random() % static_cast<unsigned>(format.num_variants);
    const auto block = host.subspan(static_cast<std::size_t>(p * kPacketSamples), kPacketSamples);
    Packet packet(1500);
    if (patched) {
      packet.resize(
          static_cast<std::size_t>(opus_encode_float(encoder.get(), block.data(), kPacketSamples, packet.data(), 1500)));
      (void)builder.AddSourcePacket(builder.num_packets(), 0, packet);
      in_packet.Mark(p, packet).patches[variant].Apply(packet);
    } else {
      const auto slot = marker->Process(block);
      if (!slot) std::exit(1);
      builder.Add(*slot);
      packet.assign(slot->packets[variant].begin(), slot->packets[variant].end());
    }
    source.heard.push_back(std::move(packet));
    if (builder.num_packets() == kPacketsPerChunk) source.Add(builder);
  }
  if (builder.num_packets() > 0) source.Add(builder);
  return source;
}

std::vector<float> Play(const std::vector<Packet>& packets) {
  MonoPlayer player(kDetectRateHz, 1);
  std::vector<float> sound;
  for (const Packet& packet : packets) {
    if (!player.Play(packet, sound)) std::exit(1);
  }
  return sound;
}

void BenchFormat(std::span<const float> host, const StreamFormat& format, const char* name) {
  const Source source = MarkedSource(host, format);
  const auto num_packets = static_cast<std::int64_t>(source.heard.size());
  const double seconds = static_cast<double>(num_packets) / kPacketsPerSecond;
  const std::vector<Alignment> whole = {{.clip_end_s = seconds, .strength = 20}};
  const VariantLoader load = source.Variants();
  std::vector<float> clip;
  std::vector<double> peer, total, decode, spectra, coherent, envelope;
  for (int round = 0; round < kRounds; ++round) {
    peer.push_back(Measure([&] { clip = Play(source.heard); }));
    total.push_back(Measure([&] {
      if (!ReadSymbols(format, clip, whole, load)) std::exit(1);
    }));
    // Its parts, in halves as it reads them.
    double decoding = 0, transforming = 0, first = 0, second = 0;
    for (const std::int64_t from : {std::int64_t{0}, num_packets / 2}) {
      Result<VariantAudio> variants = VariantAudio{};
      ReadingSpectra x;
      decoding += Measure([&] { variants = load(from, from + num_packets / 2); });
      AlignedClip aligned{.first_packet = from, .samples = {}, .present = {}};
      aligned.samples.assign(clip.begin() + from * kDetectPacketSamples,
                             clip.begin() + (from + num_packets / 2) * kDetectPacketSamples);
      aligned.present.assign(static_cast<std::size_t>(num_packets / 2 * kFramesPerPacket), 1);
      transforming += Measure([&] { x = MakeReadingSpectra(format, aligned, *variants); });
      first += Measure([&] { (void)ReadCoherent(x, {}); });
      second += Measure([&] { (void)ReadEnvelope(x); });
    }
    decode.push_back(decoding), spectra.push_back(transforming), coherent.push_back(first), envelope.push_back(second);
  }
  std::printf(
      "reading    %.0f s of %s: %.2f s, %.0f x real time (goal 120), %.0f x decoding its packets once; decode %.2f, spectra %.2f, coherent %.2f, envelope %.2f s\n",
      seconds, name, Median(total), seconds / Median(total), Median(total) / Median(peer), Median(decode), Median(spectra),
      Median(coherent), Median(envelope));
}

}  // namespace

void BenchReading(const std::string& audio) {
  auto host = Host(audio);
  host.resize(std::min(host.size(), static_cast<std::size_t>(kClipS * kSampleRateHz)));
  BenchFormat(host, {}, "variants' packets");
  BenchFormat(host, SourcePacketsFormat(), "a source's packets");
}

}  // namespace earmark
