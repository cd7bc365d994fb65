#include "dsp/marking/packet_marker.h"

#include <opus/opus.h>

#include <algorithm>
#include <string>
#include <utility>

namespace earmark {
namespace {

constexpr int kMaxOpusSamples = 5760;  // 120 ms, the longest packet
// What decoder (the encoder's look-ahead that it could not see) and marker lack of a whole packet.
constexpr int kHeldBackSamples = kPacketSamples - kOpusLookaheadSamples - Marker::kLatencySamples;
constexpr int kMinPacketBytes = 8;  // libopus puts nothing into less

int DurationSamples(std::span<const std::uint8_t> opus) noexcept {
  if (opus.empty()) return -1;
  return opus_packet_get_nb_samples(opus.data(), static_cast<opus_int32>(opus.size()), kSampleRateHz);
}

}  // namespace

void ReencodeMarker::DecoderDeleter::operator()(OpusDecoder* decoder) const { opus_decoder_destroy(decoder); }

ReencodeMarker::ReencodeMarker(StreamMarker marker, std::unique_ptr<OpusDecoder, DecoderDeleter> decoder)
    : marker_(std::move(marker)),
      decoder_(std::move(decoder)),
      num_channels_(static_cast<std::size_t>(marker_.format().num_channels)),
      pending_((kPacketSamples + kMaxOpusSamples) * num_channels_),
      delayed_((kHeldBackSamples + kPacketSamples) * num_channels_) {}

Result<std::unique_ptr<ReencodeMarker>> ReencodeMarker::Create(const StreamFormat& format, const ReadingKeys& keys) {
  if (format.kind != ReferenceKind::kVariantPackets)
    return Fail(ErrorCode::kInvalidArgument, "kind: packets are marked for variant packets alone");
  auto marker = StreamMarker::Create(format, keys);
  if (!marker) return Pass(marker);
  int error = OPUS_OK;
  std::unique_ptr<OpusDecoder, DecoderDeleter> decoder(opus_decoder_create(kSampleRateHz, format.num_channels, &error));
  if (error != OPUS_OK) return Fail(ErrorCode::kInternal, std::string("libopus: ") + opus_strerror(error));
  return std::unique_ptr<ReencodeMarker>(new ReencodeMarker(std::move(*marker), std::move(decoder)));
}

Result<int> ReencodeMarker::Process(std::int64_t packet, std::span<const std::uint8_t> opus, const SlotSink& sink) noexcept {
  const int num_samples = DurationSamples(opus);
  if (num_samples <= 0 || num_samples > kMaxOpusSamples) return Fail(ErrorCode::kInvalidArgument, "not Opus");
  if (packet < marker_.next_packet()) return Fail(ErrorCode::kInvalidArgument, "packet is late");
  auto before = CrossGap(packet, sink);
  if (!before) return before;
  if (!Decode(opus, num_samples)) return Fail(ErrorCode::kInvalidArgument, "not Opus");
  block_bytes_ = std::clamp(static_cast<int>(opus.size()) * kPacketSamples / num_samples, kMinPacketBytes, kMaxPacketBytes);
  if (!started_) held_back_bytes_ = block_bytes_;
  started_ = true;
  auto marked = MarkWholeBlocks(&sink);
  if (!marked) return marked;
  return *before + *marked;
}

bool ReencodeMarker::Decode(std::span<const std::uint8_t> opus, int num_samples) noexcept {
  float* end = pending_.data() + static_cast<std::size_t>(num_pending_) * num_channels_;
  const auto* bytes = opus.empty() ? nullptr : opus.data();
  const int got = opus_decode_float(decoder_.get(), bytes, static_cast<opus_int32>(opus.size()), end, num_samples, 0);
  if (got != num_samples) return false;
  num_pending_ += got;
  return true;
}

// Brings everything to the start of slot `packet`. A slot that has begun (short packets, some of which were lost) is filled up and given out.
Result<int> ReencodeMarker::CrossGap(std::int64_t packet, const SlotSink& sink) noexcept {
  const std::int64_t num_packets = packet - marker_.next_packet();
  int given_out = 0;
  if (num_packets > 0 && num_pending_ > 0) {
    if (!Decode({}, kPacketSamples - num_pending_)) return Fail(ErrorCode::kInternal, "concealment");
    auto marked = MarkWholeBlocks(&sink);
    if (!marked) return marked;
    given_out = *marked;
  }
  if (!started_ || num_packets > kMaxConcealedPackets) {
    StartAfresh(packet);
  }
  while (marker_.next_packet() < packet) {
    if (!Decode({}, kPacketSamples)) return Fail(ErrorCode::kInternal, "concealment");
    auto marked = MarkWholeBlocks(nullptr);
    if (!marked) return marked;
  }
  return given_out;
}

// Without a sink the sound passes through marker and encoders for their state alone.
Result<int> ReencodeMarker::MarkWholeBlocks(const SlotSink* sink) noexcept {
  int marked = 0;
  const auto block = kPacketSamples * num_channels_;
  for (; num_pending_ >= kPacketSamples; num_pending_ -= kPacketSamples) {
    const auto host = std::span<const float>(pending_).first(block);
    const auto slot = MarkBlock(host);
    if (!slot) return Pass(slot);
    if (sink != nullptr) (*sink)(*slot, std::span<const float>(delayed_).first(block));
    ++marked;
    const auto left = static_cast<std::ptrdiff_t>(static_cast<std::size_t>(num_pending_) * num_channels_);
    std::copy(pending_.begin() + static_cast<std::ptrdiff_t>(block), pending_.begin() + left, pending_.begin());
  }
  return marked;
}

// The block that is marked stands at the start of delayed_ then.
Result<Slot> ReencodeMarker::MarkBlock(std::span<const float> decoded) noexcept {
  const auto held_back = static_cast<std::ptrdiff_t>(delayed_.size() - decoded.size());
  std::copy(delayed_.end() - held_back, delayed_.end(), delayed_.begin());
  std::copy(decoded.begin(), decoded.end(), delayed_.begin() + held_back);
  const int num_bytes = std::exchange(held_back_bytes_, block_bytes_);
  return marker_.Process(std::span<const float>(delayed_).first(decoded.size()), num_bytes);
}

void ReencodeMarker::StartAfresh(std::int64_t packet) noexcept {
  marker_.Skip(packet - marker_.next_packet());
  opus_decoder_ctl(decoder_.get(), OPUS_RESET_STATE);
  num_pending_ = 0;
  std::fill(delayed_.begin(), delayed_.end(), 0.0F);
  started_ = false;
}

}  // namespace earmark
