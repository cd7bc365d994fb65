#include "dsp/marking/variant_encoder.h"

#include <opus/opus.h>

#include <algorithm>
#include <cstring>
#include <string>

namespace earmark {
namespace {

// libopus's request to fix the mode. It is not in the public header but has had this number since 1.0, and libopus's own test programs
// use it. Where a library lacks it, the request fails and slots at which encoders disagree are erased instead.
constexpr int kSetForceModeRequest = 11002;
constexpr int kModeSilk = 1000;
constexpr int kModeCelt = 1002;

// From this rate on every packet is CELT: it grades better than libopus's own choice of hybrid packets for speech, splices with hardly any loss, because
// it remembers little, and costs a third (docs/decisions/0007-celt-only.md). Below it every packet is SILK, which is too good for speech to do without.
constexpr int kCeltFromBps = 24000;

// What libopus itself would choose for most material at this rate; pinned so that the variants cannot differ.
int BandwidthFor(const VariantEncoder::Options& options) {
  if (options.bitrate_bps == 0) return OPUS_BANDWIDTH_FULLBAND;
  const int per_channel_bps = options.bitrate_bps / options.num_channels;
  if (options.bitrate_bps < kCeltFromBps) return OPUS_BANDWIDTH_WIDEBAND;  // all that SILK alone can carry
  return per_channel_bps < 16000 ? OPUS_BANDWIDTH_SUPERWIDEBAND : OPUS_BANDWIDTH_FULLBAND;
}

}  // namespace

void VariantEncoder::EncoderDeleter::operator()(OpusEncoder* encoder) const { opus_encoder_destroy(encoder); }

Result<VariantEncoder> VariantEncoder::Create(const Options& options) {
  VariantEncoder result;
  result.num_encoders_ = options.num_encoders;
  result.encoder_bytes_ = static_cast<std::size_t>(opus_encoder_get_size(options.num_channels));
  const bool silk = options.bitrate_bps != 0 && options.bitrate_bps < kCeltFromBps;
  result.as_told_ = options.bitrate_bps == 0;
  const bool padded = silk && options.constant;
  if (padded) result.padded_bytes_ = options.bitrate_bps / 8 / kPacketsPerSecond;
  const int rate_bps = options.bitrate_bps == 0 ? OPUS_BITRATE_MAX
                       : padded                 ? (result.padded_bytes_ - kPaddingBytes) * 8 * kPacketsPerSecond
                                                : options.bitrate_bps;
  result.packets_.resize(static_cast<std::size_t>(options.num_encoders));
  for (int v = 0; v < options.num_encoders; ++v) {
    int error = OPUS_OK;
    result.encoders_.emplace_back(opus_encoder_create(kSampleRateHz, options.num_channels, OPUS_APPLICATION_AUDIO, &error));
    OpusEncoder* encoder = result.encoders_.back().get();
    if (error == OPUS_OK) error = opus_encoder_ctl(encoder, OPUS_SET_BITRATE(rate_bps));
    if (error == OPUS_OK) error = opus_encoder_ctl(encoder, OPUS_SET_VBR(options.constant ? 0 : 1));
    if (error == OPUS_OK) error = opus_encoder_ctl(encoder, OPUS_SET_BANDWIDTH(BandwidthFor(options)));
    if (error == OPUS_OK) error = opus_encoder_ctl(encoder, OPUS_SET_FORCE_CHANNELS(options.num_channels));
    // A libopus without the request chooses for itself, and where the encoders then disagree slots are erased.
    const opus_int32 mode = silk ? kModeSilk : kModeCelt;
    if (error == OPUS_OK) (void)opus_encoder_ctl(encoder, kSetForceModeRequest, mode);
    opus_int32 lookahead = 0;
    if (error == OPUS_OK) error = opus_encoder_ctl(encoder, OPUS_GET_LOOKAHEAD(&lookahead));
    if (error != OPUS_OK) return Fail(ErrorCode::kInternal, std::string("libopus: ") + opus_strerror(error));
    if (lookahead != kOpusLookaheadSamples) return Fail(ErrorCode::kInternal, "libopus has an unexpected lookahead");
  }
  return result;
}

void VariantEncoder::Reset() noexcept {
  for (auto& encoder : encoders_) (void)opus_encoder_ctl(encoder.get(), OPUS_RESET_STATE);  // has no way to fail
  splices_.Reset();
}

bool VariantEncoder::EncodeOne(int variant, std::span<const float> block, int num_bytes) noexcept {
  OpusEncoder* encoder = encoders_[static_cast<std::size_t>(variant)].get();
  auto& packet = packets_[static_cast<std::size_t>(variant)];
  int length = opus_encode_float(encoder, block.data(), kPacketSamples, packet.data(), as_told_ ? num_bytes : kMaxPacketBytes);
  if (length > 0 && length < padded_bytes_ && opus_packet_pad(packet.data(), length, padded_bytes_) == OPUS_OK)
    length = padded_bytes_;
  lengths_[static_cast<std::size_t>(variant)] = length;
  return length > 0;
}

Slot VariantEncoder::FinishSlot() noexcept {
  Slot slot;
  slot.erased = !Alike();
  for (std::size_t v = 0; v < static_cast<std::size_t>(num_encoders_); ++v) {
    const std::size_t from = slot.erased ? 0 : v;
    slot.packets[v] = {packets_[from].data(), static_cast<std::size_t>(lengths_[from])};
  }
  if (slot.erased) GoOnFromFirst();
  return slot;
}

bool VariantEncoder::Alike() noexcept {
  std::array<std::span<const std::uint8_t>, kMaxVariants> packets;
  bool same_shape = true;
  for (std::size_t v = 0; v < static_cast<std::size_t>(num_encoders_); ++v) {
    packets[v] = std::span(packets_[v]).first(static_cast<std::size_t>(lengths_[v]));
    same_shape = same_shape && lengths_[v] == lengths_[0] && packets_[v][0] == packets_[0][0];
  }
  return splices_.Alike(std::span(packets).first(static_cast<std::size_t>(num_encoders_))) && same_shape;
}

// An encoder's state is one block of memory without pointers into itself, made to be copied so (opus_encoder_get_size).
void VariantEncoder::GoOnFromFirst() noexcept {
  for (std::size_t v = 1; v < encoders_.size(); ++v) std::memcpy(encoders_[v].get(), encoders_[0].get(), encoder_bytes_);
}

}  // namespace earmark
