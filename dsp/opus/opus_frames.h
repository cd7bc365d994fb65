// An Opus packet as its frames: RFC 6716, section 3. The splitting is libopus's own.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>

namespace earmark {

enum class OpusMode { kSilk, kHybrid, kCelt };
enum class OpusBandwidth { kNarrow, kMedium, kWide, kSuperWide, kFull };  // 4, 6, 8, 12, 20 kHz

struct OpusFrames {
  OpusMode mode = OpusMode::kCelt;
  OpusBandwidth bandwidth = OpusBandwidth::kFull;
  int num_channels = 1;
  int samples_per_frame = 960;                           // at 48 kHz: 120, 240, 480, 960, 1920 or 2880
  int num_frames = 0;                                    // 1 … 48
  std::array<std::span<const std::uint8_t>, 48> frames;  // into the packet; may be empty

  int num_samples() const { return samples_per_frame * num_frames; }
};

// std::nullopt: no Opus packet. Real-time safe.
std::optional<OpusFrames> SplitOpusPacket(std::span<const std::uint8_t> packet) noexcept;

}  // namespace earmark
