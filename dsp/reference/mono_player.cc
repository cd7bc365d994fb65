#include "dsp/reference/mono_player.h"

#include <opus/opus.h>

#include <algorithm>

namespace earmark {
namespace {

constexpr int kMaxConcealedPerSecond = 10;  // a tenth of a second; libopus has faded to nearly nothing by then
constexpr int kLongestPerSecond = 25;       // packets of 120 ms are a little more than three of these

}  // namespace

void MonoPlayer::Deleter::operator()(OpusDecoder* decoder) const { opus_decoder_destroy(decoder); }

MonoPlayer::MonoPlayer(int rate_hz, int num_channels)
    : rate_hz_(rate_hz),
      num_channels_(num_channels),
      num_missed_(rate_hz / kMaxConcealedPerSecond),
      buffer_(static_cast<std::size_t>(4 * (rate_hz / kLongestPerSecond) * num_channels)),
      mean_loss_(rate_hz) {
  int error = OPUS_OK;
  decoder_.reset(opus_decoder_create(rate_hz, num_channels, &error));
}

bool MonoPlayer::Play(std::span<const std::uint8_t> packet, std::vector<float>& out) {
  if (packet.empty() || !Decode(packet, static_cast<int>(buffer_.size()) / num_channels_, out)) return false;
  num_missed_ = 0;
  return true;
}

void MonoPlayer::Miss(std::int64_t num_samples, std::vector<float>& out) {
  const int unit = rate_hz_ / 400;  // concealment goes by 2.5 ms
  const std::int64_t concealed =
      std::clamp<std::int64_t>(rate_hz_ / kMaxConcealedPerSecond - num_missed_, 0, num_samples) / unit * unit;
  for (std::int64_t done = 0; done < concealed;) {
    const auto now = static_cast<int>(std::min<std::int64_t>(concealed - done, rate_hz_ / 50));
    if (!Decode({}, now, out)) break;
    done += now;
    num_missed_ += now;
  }
  if (concealed < num_samples) Skip(num_samples - concealed, out);
}

void MonoPlayer::Skip(std::int64_t num_samples, std::vector<float>& out) {
  out.resize(out.size() + static_cast<std::size_t>(num_samples), 0.0F);
  opus_decoder_ctl(decoder_.get(), OPUS_RESET_STATE);
  num_missed_ = rate_hz_ / kMaxConcealedPerSecond;
}

// No packet: concealment.
bool MonoPlayer::Decode(std::span<const std::uint8_t> packet, int max_samples, std::vector<float>& out) {
  const auto* bytes = packet.empty() ? nullptr : packet.data();
  const int got =
      opus_decode_float(decoder_.get(), bytes, static_cast<opus_int32>(packet.size()), buffer_.data(), max_samples, 0);
  if (got < 0) return false;
  if (num_channels_ == 1) {
    out.insert(out.end(), buffer_.begin(), buffer_.begin() + got);
    return true;
  }
  const auto interleaved = std::span(buffer_).first(2 * static_cast<std::size_t>(got));
  mean_loss_.Add(interleaved);
  for (std::size_t i = 0; i < interleaved.size(); i += 2) out.push_back(0.5F * (interleaved[i] + interleaved[i + 1]));
  return true;
}

}  // namespace earmark
