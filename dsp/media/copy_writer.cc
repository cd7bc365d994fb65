#include "dsp/media/copy_writer.h"

#include <opus/opus.h>

#include <utility>

namespace earmark {

void CopyWriter::DecoderDeleter::operator()(OpusDecoder* decoder) const { opus_decoder_destroy(decoder); }

Result<CopyWriter> CopyWriter::Create(const std::string& path, const Options& options) {
  CopyWriter writer;
  const int num_channels = options.num_channels;
  if (path.ends_with(".opus")) {
    auto ogg = OggOpusWriter::Create(path, {.num_channels = num_channels,
                                            .pre_skip_samples = options.pre_skip_samples,
                                            .input_sample_rate_hz = options.input_sample_rate_hz,
                                            .output_gain_q8_db = options.output_gain_q8_db,
                                            .serial = 1});
    if (!ogg) return Pass(ogg);
    writer.ogg_ = std::move(*ogg);
    return writer;
  }
  auto wav = TrimmedWav::Create(path, num_channels, options.pre_skip_samples);
  if (!wav) return Pass(wav);
  writer.wav_.emplace(std::move(*wav));
  int error = OPUS_OK;
  writer.decoder_.reset(opus_decoder_create(kSampleRateHz, num_channels, &error));
  if (error != OPUS_OK) return Fail(ErrorCode::kInternal, "libopus gives no decoder");
  opus_decoder_ctl(writer.decoder_.get(), OPUS_SET_GAIN(options.output_gain_q8_db));
  writer.num_channels_ = num_channels;
  writer.pcm_.resize(static_cast<std::size_t>(kMaxPacketSamples * num_channels));
  return writer;
}

Result<void> CopyWriter::Write(std::span<const std::uint8_t> packet) {
  if (ogg_) return ogg_->Write(packet);
  const int got =
      opus_decode_float(decoder_.get(), packet.data(), static_cast<opus_int32>(packet.size()), pcm_.data(), kMaxPacketSamples, 0);
  if (got < 0) return Fail(ErrorCode::kDataLoss, "libopus rejects a packet");
  return wav_->Write(std::span(pcm_).first(static_cast<std::size_t>(got * num_channels_)));
}

Result<void> CopyWriter::Finish(std::int64_t num_samples) { return ogg_ ? ogg_->Finish(num_samples) : wav_->Finish(num_samples); }

}  // namespace earmark
