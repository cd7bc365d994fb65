// A marked stream in memory, and the copies that its listeners get: real marker, real libopus, real reference, no store.
#pragma once

#include <opus/opus.h>

#include <cmath>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "dsp/core/resample.h"
#include "dsp/core/stream_format.h"
#include "dsp/marking/in_packet_marker.h"
#include "dsp/marking/stream_marker.h"
#include "dsp/reading/symbol_reader.h"
#include "dsp/reference/reference_chunk.h"
#include "dsp/reference/variant_decoder.h"
#include "dsp/search/aligner.h"
#include "dsp/tracing/code_key.h"
#include "dsp/tracing/trace_code.h"

namespace earmark {

// The value, or an exception with the error's message, which fails a test case.
template <typename T>
T Get(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().message);
  return std::move(*result);
}

inline Key TestKey(std::uint8_t first) {
  Key key;
  for (std::size_t i = 0; i < 32; ++i) key.MutableBytes()[i] = static_cast<std::uint8_t>(first + i);
  return key;
}

inline CodeKey TestCodeKey(std::uint8_t seed) { return CodeKey(TestKey(seed)); }
inline StreamKeys TestKeys(std::uint8_t seed = 1, std::string_view stream = "stream") {
  return DeriveStreamKeys(TestKey(seed), stream, {});
}

// The aligner's verdict on a stretch of its clip.
inline Result<std::optional<Alignment>> VerifyStretch(const Aligner& aligner, double clip_start_s, double clip_end_s,
                                                      double stream_start_s, bool all_speeds, const StreamAudioLoader& load) {
  Aligner::Stretch stretch = aligner.Prepare(clip_start_s, clip_end_s);
  return Aligner::Verify(stretch, stream_start_s, all_speeds, load);
}

// Decodes packets one after the other, as any listener's player does.
class Listener {
 public:
  explicit Listener(int num_channels) : num_channels_(num_channels) {
    int error = OPUS_OK;
    decoder_.reset(opus_decoder_create(kSampleRateHz, num_channels, &error));
    if (error != OPUS_OK) throw std::runtime_error("opus_decoder_create");
  }
  // Appends 20 ms, interleaved.
  void Play(std::span<const std::uint8_t> packet, std::vector<float>& out) {
    const auto at = out.size();
    out.resize(at + static_cast<std::size_t>(kPacketSamples * num_channels_));
    const int got = opus_decode_float(decoder_.get(), packet.data(), static_cast<opus_int32>(packet.size()), out.data() + at,
                                      kPacketSamples, 0);
    if (got != kPacketSamples) throw std::runtime_error("opus_decode_float");
  }

 private:
  struct Deleter {
    void operator()(OpusDecoder* decoder) const { opus_decoder_destroy(decoder); }
  };
  int num_channels_;
  std::unique_ptr<OpusDecoder, Deleter> decoder_;
};

inline std::vector<float> MonoOf(std::span<const float> interleaved, int num_channels) {
  if (num_channels == 1) return {interleaved.begin(), interleaved.end()};
  std::vector<float> mono(interleaved.size() / 2);
  for (std::size_t i = 0; i < mono.size(); ++i) mono[i] = 0.5F * (interleaved[2 * i] + interleaved[2 * i + 1]);
  return mono;
}

struct MarkedStream {
  StreamFormat format;
  StreamKeys keys;
  std::vector<ReferenceChunkData> chunks;
  std::int64_t num_packets = 0;
  std::int64_t num_erased = 0;
  std::vector<std::vector<std::uint8_t>> source_packets;  // of kind kSourcePackets, 20 ms each

  ChunkLoader Chunks() const {
    return
        [this](std::int64_t first_packet, std::int64_t end_packet) -> Result<std::vector<std::shared_ptr<const LocatedChunk>>> {
          std::vector<std::shared_ptr<const LocatedChunk>> found;
          for (std::size_t i = 0; i < chunks.size(); ++i) {
            const auto first = static_cast<std::int64_t>(i) * kPacketsPerChunk;
            const LocatedChunk chunk{.first_packet = first, .data = chunks[i]};
            if (first < end_packet && chunk.end_packet() > first_packet) found.push_back(std::make_shared<LocatedChunk>(chunk));
          }
          return found;
        };
  }
  VariantAudio Decode(std::int64_t first_packet, std::int64_t end_packet) const {
    return Get(DecodeVariants(format, keys.carrier, Chunks(), first_packet, end_packet, format.num_variants));
  }
  VariantLoader Variants() const {
    return [this](std::int64_t first, std::int64_t end) {
      return DecodeVariants(format, keys.carrier, Chunks(), first, end, format.num_variants);
    };
  }
  StreamAudioLoader Audio() const {
    return [this](double start_s, double end_s) -> Result<StreamAudio> {
      const auto first = static_cast<std::int64_t>(std::floor(std::max(0.0, start_s) * kPacketsPerSecond));
      const auto end = std::min(num_packets, static_cast<std::int64_t>(std::ceil(end_s * kPacketsPerSecond)));
      if (end <= first) return StreamAudio{};
      auto audio = DecodeVariants(format, keys.carrier, Chunks(), first, end, 1);
      if (!audio) return Pass(audio);
      return StreamAudio{.first_sample = audio->first_sample(), .samples = std::move(audio->variants[0])};
    };
  }

  Slot SlotAt(std::int64_t packet) const {
    return chunks[static_cast<std::size_t>(packet / kPacketsPerChunk)].SlotAt(static_cast<int>(packet % kPacketsPerChunk));
  }
  // What a player makes of the packets chosen by variant_of(symbol): mono, 48 kHz, in stream time.
  std::vector<float> Copy(const std::function<int(std::int64_t)>& variant_of) const {
    Listener listener(format.num_channels);
    std::vector<float> sound;
    InPacketMarker marker(format, keys.carrier);
    for (std::int64_t p = 0; p < num_packets; ++p) {
      if (format.kind == ReferenceKind::kSourcePackets) {
        auto packet = source_packets[static_cast<std::size_t>(p)];
        marker.Mark(p, packet).patches[static_cast<std::size_t>(variant_of(p / format.packets_per_symbol))].Apply(packet);
        listener.Play(packet, sound);
        continue;
      }
      listener.Play(SlotAt(p).packets[static_cast<std::size_t>(variant_of(p / format.packets_per_symbol))], sound);
    }
    return MonoOf(sound, format.num_channels);
  }
  std::vector<float> CopyOf(std::string_view account) const {
    TraceCode code(keys.code, account, format.num_variants);
    return Copy([&](std::int64_t symbol) { return code.VariantAt(symbol); });
  }
};

inline MarkedStream MarkStream(std::span<const float> host, const StreamFormat& format, const StreamKeys& keys) {
  MarkedStream stream{.format = format, .keys = keys, .chunks = {}, .source_packets = {}};
  auto marker = Get(StreamMarker::Create(format, keys));
  ReferenceChunkBuilder builder(StreamMarker::PacketsPerSlot(format));
  const auto block = static_cast<std::size_t>(kPacketSamples * format.num_channels);
  std::int64_t first_packet = 0;
  const auto seal = [&] {
    const ChunkContext context{.stream_id = "stream", .source = 0, .first_packet = first_packet};
    stream.num_erased += builder.num_erased();
    first_packet += builder.num_packets();
    const auto sealed = builder.Seal(keys.seal, context);
    stream.chunks.push_back(Get(ReferenceChunkData::Open(sealed, keys.seal, context)));
  };
  for (std::size_t at = 0; at + block <= host.size(); at += block) {
    builder.Add(Get(marker.Process(host.subspan(at, block))));
    ++stream.num_packets;
    if (builder.num_packets() == kPacketsPerChunk) seal();
  }
  if (builder.num_packets() > 0) seal();
  return stream;
}

// A stream whose packets are a source's own: `host` as libopus encodes it in packets of 20 ms.
inline MarkedStream MarkSource(std::span<const float> host, int application, int bitrate_bps, const StreamFormat& format,
                               const StreamKeys& keys) {
  MarkedStream stream{.format = format, .keys = keys, .chunks = {}, .source_packets = {}};
  int error = OPUS_OK;
  const std::unique_ptr<OpusEncoder, void (*)(OpusEncoder*)> encoder(
      opus_encoder_create(kSampleRateHz, format.num_channels, application, &error), opus_encoder_destroy);
  opus_encoder_ctl(encoder.get(), OPUS_SET_BITRATE(bitrate_bps));
  const auto block = static_cast<std::size_t>(kPacketSamples * format.num_channels);
  auto builder = ReferenceChunkBuilder::ForSourcePackets();
  const auto seal = [&] {
    const ChunkContext context{
        .stream_id = "stream", .source = 0, .first_packet = static_cast<std::int64_t>(stream.chunks.size()) * kPacketsPerChunk};
    const auto sealed = builder.Seal(keys.seal, context);
    stream.chunks.push_back(Get(ReferenceChunkData::Open(sealed, keys.seal, context)));
  };
  for (std::size_t at = 0; at + block <= host.size(); at += block) {
    std::vector<std::uint8_t> packet(1500);
    packet.resize(
        static_cast<std::size_t>(opus_encode_float(encoder.get(), host.data() + at, kPacketSamples, packet.data(), 1500)));
    if (!builder.AddSourcePacket(builder.num_packets(), 0, packet)) throw std::runtime_error("AddSourcePacket");
    stream.source_packets.push_back(std::move(packet));
    ++stream.num_packets;
    if (builder.num_packets() == kPacketsPerChunk) seal();
  }
  if (builder.num_packets() > 0) seal();
  return stream;
}

// A second trip through Opus, as a platform's transcoder makes it. Mono, 48 kHz; the result lags by the encoder's 312 samples.
inline std::vector<float> ThroughOpus(std::span<const float> x, int bitrate_bps) {
  auto encoder = Get(VariantEncoder::Create({.num_encoders = 1, .num_channels = 1, .bitrate_bps = bitrate_bps}));
  Listener listener(1);
  std::vector<float> out;
  for (std::size_t at = 0; at + kPacketSamples <= x.size(); at += kPacketSamples) {
    const Slot slot = Get(encoder.Encode([&](int) { return x.subspan(at, kPacketSamples); }));
    listener.Play(slot.packets[0], out);
  }
  return out;
}

inline std::vector<float> CutSeconds(std::span<const float> x, double start_s, double end_s, int rate_hz) {
  const auto from = std::min(x.size(), static_cast<std::size_t>(start_s * rate_hz));
  const auto to = std::min(x.size(), static_cast<std::size_t>(end_s * rate_hz));
  return {x.begin() + static_cast<std::ptrdiff_t>(from), x.begin() + static_cast<std::ptrdiff_t>(to)};
}

}  // namespace earmark
