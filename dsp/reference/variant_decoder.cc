#include "dsp/reference/variant_decoder.h"

#include <opus/opus.h>

#include <algorithm>
#include <memory>
#include <string>

#include "dsp/core/resample.h"
#include "dsp/marking/marker.h"
#include "dsp/marking/stream_marker.h"

namespace earmark {
namespace {

constexpr std::int64_t kPrerollPackets = 50;
constexpr int kMaxConcealedPackets = 5;  // in a row; libopus has faded to nearly nothing by then

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
    concealed_ = 0;
    return DecodeInto(out, packet);
  }

  // Appends 20 ms for a packet that was never sent: what a listener's decoder makes up, and silence when that has gone on for long.
  bool DecodeGap(std::vector<float>& out) {
    if (concealed_ < kMaxConcealedPackets) {
      ++concealed_;
      return DecodeInto(out, {});
    }
    Skip(1, out);
    return true;
  }

  // Appends silence for packets that were never sent; what follows them is decoded from a fresh start, and the listeners' decoders soon agree.
  void Skip(std::int64_t num_packets, std::vector<float>& out) {
    out.resize(out.size() + static_cast<std::size_t>(num_packets * samples_per_packet_), 0.0F);
    opus_decoder_ctl(decoder_.get(), OPUS_RESET_STATE);
    concealed_ = kMaxConcealedPackets;
  }

 private:
  // No packet: concealment.
  bool DecodeInto(std::vector<float>& out, std::span<const std::uint8_t> packet) {
    const auto* bytes = packet.empty() ? nullptr : packet.data();
    const int got = opus_decode_float(decoder_.get(), bytes, static_cast<opus_int32>(packet.size()), buffer_.data(),
                                      samples_per_packet_, 0);
    if (got != samples_per_packet_) return false;
    for (std::size_t i = 0; i < static_cast<std::size_t>(samples_per_packet_); ++i) {
      out.push_back(num_channels_ == 1 ? buffer_[i] : 0.5F * (buffer_[2 * i] + buffer_[2 * i + 1]));
    }
    return true;
  }

  int samples_per_packet_;
  int num_channels_;
  int concealed_ = kMaxConcealedPackets;  // packets in a row; at the start there is nothing to go on from
  std::unique_ptr<OpusDecoder, DecoderDeleter> decoder_;
  std::vector<float> buffer_;
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
  auto chunks = load(start, end_packet);
  if (!chunks) return Pass(chunks);
  std::int64_t packet = start;
  for (const auto& chunk : *chunks) {
    if (chunk->data.is_source_packets() || chunk->data.num_variants() != StreamMarker::PacketsPerSlot(format)) return Fail(ErrorCode::kDataLoss, "the reference has a chunk of another format");
    const std::int64_t from = std::max(packet, chunk->first_packet);
    const std::int64_t to = std::min(end_packet, chunk->end_packet());
    if (from > packet) {
      for (std::size_t v = 0; v < decoders.size(); ++v) decoders[v].Skip(from - packet, decoded[v]);
    }
    for (packet = from; packet < to; ++packet) {
      const Slot slot = chunk->data.SlotAt(static_cast<int>(packet - chunk->first_packet));
      for (std::size_t v = 0; v < decoders.size(); ++v) {
        const bool done = slot.packets[v].empty() ? decoders[v].DecodeGap(decoded[v]) : decoders[v].Decode(slot.packets[v], decoded[v]);
        if (!done) return Fail(ErrorCode::kDataLoss, "libopus rejects a packet of the reference");
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
