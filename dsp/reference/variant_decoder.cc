#include "dsp/reference/variant_decoder.h"

#include <opus/opus.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>

#include "dsp/core/resample.h"
#include "dsp/marking/marker.h"
#include "dsp/marking/stream_marker.h"

namespace earmark {
namespace {

constexpr std::int64_t kPrerollPackets = 50;

struct DecoderDeleter {
  void operator()(OpusDecoder* decoder) const { opus_decoder_destroy(decoder); }
};

// Decodes one variant's packets to mono at a rate of its own.
class MonoDecoder {
 public:
  MonoDecoder(int rate_hz, int num_channels)
      : samples_per_packet_(rate_hz / kPacketsPerSecond), num_channels_(num_channels) {
    int error = OPUS_OK;
    decoder_.reset(opus_decoder_create(rate_hz, num_channels, &error));
    buffer_.resize(static_cast<std::size_t>(samples_per_packet_ * num_channels));
  }

  // Appends 20 ms to `out`.
  bool Decode(std::span<const std::uint8_t> packet, std::vector<float>& out) {
    const int got = opus_decode_float(decoder_.get(), packet.data(), static_cast<opus_int32>(packet.size()), buffer_.data(),
                                      samples_per_packet_, 0);
    if (got != samples_per_packet_) return false;
    for (std::size_t i = 0; i < static_cast<std::size_t>(samples_per_packet_); ++i) {
      out.push_back(num_channels_ == 1 ? buffer_[i] : 0.5F * (buffer_[2 * i] + buffer_[2 * i + 1]));
    }
    return true;
  }

 private:
  int samples_per_packet_;
  int num_channels_;
  std::unique_ptr<OpusDecoder, DecoderDeleter> decoder_;
  std::vector<float> buffer_;
};

// Walks the slots of a stretch of reference, chunk by chunk.
class SlotWalker {
 public:
  SlotWalker(const ChunkLoader& load, std::int64_t packet) : load_(load), packet_(packet) {}

  // The next slot; nullopt at the end of the reference.
  Result<std::optional<Slot>> Next() {
    const std::int64_t first = packet_ / kPacketsPerChunk * kPacketsPerChunk;
    if (first != chunk_first_) {
      auto chunk = load_(first);
      if (!chunk && chunk.error().code == ErrorCode::kNotFound) return std::optional<Slot>();
      if (!chunk) return Pass(chunk);
      chunk_ = std::move(*chunk);
      chunk_first_ = first;
    }
    const auto index = static_cast<int>(packet_ - chunk_first_);
    if (index >= chunk_.num_packets()) return std::optional<Slot>();
    ++packet_;
    return std::optional<Slot>(chunk_.SlotAt(index));
  }

 private:
  const ChunkLoader& load_;
  std::int64_t packet_;
  std::int64_t chunk_first_ = -1;
  ReferenceChunkData chunk_;
};

// PCM delivery: `host` is the decoded host in stream time from packet `first_packet` on. Marks it again, as it was marked (of two channels their mean, whose
// masking may differ a little), by feeding the
// marker blocks that start where the original ones did: the stream lags the input by kTotalLatencySamples, one packet less 168 samples.
std::vector<std::vector<float>> MarkAgain(const StreamFormat& format, const Key& carrier_key, const std::vector<float>& host,
                                          std::int64_t first_packet) {
  constexpr std::size_t kShift = kPacketSamples - kTotalLatencySamples;
  static_assert(kTotalLatencySamples < kPacketSamples);
  StreamFormat mono = format;
  mono.num_channels = 1;
  Marker marker(mono, carrier_key, first_packet - 1);
  const std::size_t delay = kPacketSamples - kOpusLookaheadSamples;  // of the marker's output, behind stream time
  std::vector<std::vector<float>> variants(static_cast<std::size_t>(format.num_variants));
  std::array<float, kPacketSamples> block{};
  for (std::size_t at = 0; at < host.size() + delay; at += kPacketSamples) {
    for (std::size_t i = 0; i < kPacketSamples; ++i) {
      const std::size_t from = at + i;
      block[i] = from >= kShift && from - kShift < host.size() ? host[from - kShift] : 0.0F;
    }
    marker.Process(block);
    for (std::size_t v = 0; v < variants.size(); ++v) {
      const auto out = marker.Variant(static_cast<int>(v));
      variants[v].insert(variants[v].end(), out.begin(), out.end());
    }
  }
  for (auto& variant : variants) {
    variant.erase(variant.begin(), variant.begin() + static_cast<std::ptrdiff_t>(delay));
    variant.resize(host.size());
  }
  return variants;
}

}  // namespace

std::int64_t VariantAudio::first_sample() const { return first_packet * kDetectPacketSamples; }

Result<VariantAudio> DecodeVariants(const StreamFormat& format, const Key& carrier_key, const ChunkLoader& load,
                                    std::int64_t first_packet, std::int64_t end_packet, int num_variants_wanted) {
  first_packet = std::max<std::int64_t>(0, first_packet);
  const std::int64_t start = std::max<std::int64_t>(0, first_packet - kPrerollPackets);
  const bool from_host = format.kind == ReferenceKind::kHostPackets;
  const int num_decoders = from_host ? 1 : num_variants_wanted;
  const int rate_hz = from_host ? kSampleRateHz : kDetectRateHz;

  VariantAudio audio;
  audio.first_packet = first_packet;
  std::vector<MonoDecoder> decoders;
  for (int v = 0; v < num_decoders; ++v) decoders.emplace_back(rate_hz, format.num_channels);
  std::vector<std::vector<float>> decoded(static_cast<std::size_t>(num_decoders));
  const auto num_samples = static_cast<std::size_t>(std::max<std::int64_t>(0, end_packet - start) * rate_hz / kPacketsPerSecond);
  for (auto& variant : decoded) variant.reserve(num_samples);
  SlotWalker walker(load, start);
  for (std::int64_t packet = start; packet < end_packet; ++packet) {
    auto slot = walker.Next();
    if (!slot) return Pass(slot);
    if (!*slot) break;
    for (std::size_t v = 0; v < decoders.size(); ++v) {
      if (!decoders[v].Decode((*slot)->packets[v], decoded[v])) return Fail(ErrorCode::kInternal, "libopus rejects a reference packet");
    }
    if (packet >= first_packet) audio.erased.push_back(from_host ? false : (*slot)->erased);
  }
  if (from_host && num_variants_wanted > 1) decoded = MarkAgain(format, carrier_key, decoded[0], start);
  if (from_host) {
    for (auto& variant : decoded) variant = HalveRate(variant);
  }
  const auto preroll = static_cast<std::size_t>((first_packet - start) * kDetectPacketSamples);
  const auto wanted = audio.erased.size() * static_cast<std::size_t>(kDetectPacketSamples);
  for (auto& variant : decoded) {
    variant.erase(variant.begin(), variant.begin() + static_cast<std::ptrdiff_t>(std::min(preroll, variant.size())));
    variant.resize(wanted);
  }
  audio.variants = std::move(decoded);
  return audio;
}

}  // namespace earmark
