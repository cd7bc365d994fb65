#include "dsp/opus/opus_frames.h"

#include <opus/opus.h>

namespace earmark {

std::optional<OpusFrames> SplitOpusPacket(std::span<const std::uint8_t> packet) noexcept {
  if (packet.empty()) return std::nullopt;
  OpusFrames split;
  unsigned char toc = 0;
  std::array<const unsigned char*, 48> frames{};
  std::array<opus_int16, 48> sizes{};
  split.num_frames =
      opus_packet_parse(packet.data(), static_cast<opus_int32>(packet.size()), &toc, frames.data(), sizes.data(), nullptr);
  if (split.num_frames <= 0) return std::nullopt;
  for (std::size_t i = 0; i < static_cast<std::size_t>(split.num_frames); ++i)
    split.frames[i] = {frames[i], static_cast<std::size_t>(sizes[i])};
  const int configuration = toc >> 3;
  split.mode = configuration < 12 ? OpusMode::kSilk : configuration < 16 ? OpusMode::kHybrid : OpusMode::kCelt;
  split.bandwidth = static_cast<OpusBandwidth>(opus_packet_get_bandwidth(&toc) - OPUS_BANDWIDTH_NARROWBAND);
  split.num_channels = opus_packet_get_nb_channels(&toc);
  split.samples_per_frame = opus_packet_get_samples_per_frame(&toc, 48000);
  return split;
}

}  // namespace earmark
