#include "dsp/reference/variant_decoder.h"

#include <algorithm>
#include <memory>
#include <string>

#include "dsp/core/resample.h"
#include "dsp/marking/marker.h"
#include "dsp/marking/stream_marker.h"
#include "dsp/reference/mono_player.h"
#include "dsp/reference/source_decoder.h"

namespace earmark {
namespace {

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
  if (format.kind == ReferenceKind::kSourcePackets)
    return DecodeSourceVariants(format, carrier_key, load, first_packet, end_packet, num_variants_wanted);
  first_packet = std::max<std::int64_t>(0, first_packet);
  const std::int64_t start = std::max<std::int64_t>(0, first_packet - PrerollPackets(num_variants_wanted));
  const bool from_host = format.kind == ReferenceKind::kHostPackets;
  const int num_decoders = from_host ? 1 : num_variants_wanted;
  const int rate_hz = from_host ? kSampleRateHz : kDetectRateHz;

  VariantAudio audio;
  audio.first_packet = first_packet;
  const std::int64_t packet_samples = rate_hz / kPacketsPerSecond;
  std::vector<MonoPlayer> decoders;
  for (int v = 0; v < num_decoders; ++v) decoders.emplace_back(rate_hz, format.num_channels);
  std::vector<std::vector<float>> decoded(static_cast<std::size_t>(num_decoders));
  const auto num_samples = static_cast<std::size_t>(std::max<std::int64_t>(0, end_packet - start) * rate_hz / kPacketsPerSecond);
  for (auto& variant : decoded) variant.reserve(num_samples);
  auto chunks = load(start, end_packet);
  if (!chunks) return Pass(chunks);
  std::int64_t packet = start;
  for (const auto& chunk : *chunks) {
    if (chunk->data.is_source_packets() || chunk->data.num_variants() != StreamMarker::PacketsPerSlot(format))
      return Fail(ErrorCode::kDataLoss, "the reference has a chunk of another format");
    const std::int64_t from = std::max(packet, chunk->first_packet);
    const std::int64_t to = std::min(end_packet, chunk->end_packet());
    if (from > packet) {
      for (std::size_t v = 0; v < decoders.size(); ++v) decoders[v].Skip((from - packet) * packet_samples, decoded[v]);
    }
    for (packet = from; packet < to; ++packet) {
      const Slot slot = chunk->data.SlotAt(static_cast<int>(packet - chunk->first_packet));
      for (std::size_t v = 0; v < decoders.size(); ++v) {
        const auto before = static_cast<std::int64_t>(decoded[v].size());
        if (slot.packets[v].empty())
          decoders[v].Miss(packet_samples, decoded[v]);
        else
          (void)decoders[v].Play(slot.packets[v], decoded[v]);
        if (static_cast<std::int64_t>(decoded[v].size()) != before + packet_samples)
          return Fail(ErrorCode::kDataLoss, "libopus rejects a packet of the reference");
      }
    }
  }
  audio.num_packets = std::max<std::int64_t>(0, packet - first_packet);
  if (from_host && num_variants_wanted > 1) decoded = MarkAgain(format, carrier_key, decoded[0], start);
  if (from_host) {
    for (auto& variant : decoded) variant = HalveRate(variant);
  }
  const auto preroll = static_cast<std::size_t>((first_packet - start) * kDetectPacketSamples);
  const auto wanted = static_cast<std::size_t>(audio.num_packets * kDetectPacketSamples);
  for (auto& variant : decoded) {
    variant.erase(variant.begin(), variant.begin() + static_cast<std::ptrdiff_t>(std::min(preroll, variant.size())));
    variant.resize(wanted);
  }
  audio.variants = std::move(decoded);
  return audio;
}

}  // namespace earmark
