// Opus packets in an Ogg file (RFC 7845), muxed with libogg.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "dsp/core/result.h"

namespace earmark {

// Writes given Opus packets of 20 ms each, untouched, one stream, pages of at most one second. Like WavWriter, the file appears
// under its name only when Finish succeeds, and nothing is left behind otherwise. Not thread-safe; blocks for I/O.
class OggOpusWriter {
 public:
  struct Options {
    int num_channels = 1;              // 1 or 2
    int pre_skip_samples = 312;        // at 48 kHz: what a player drops at the start
    int input_sample_rate_hz = 48000;  // informative
    std::uint32_t serial = 1;
  };
  static Result<std::unique_ptr<OggOpusWriter>> Create(const std::string& path, const Options& options);
  virtual ~OggOpusWriter() = default;
  virtual Result<void> Write(std::span<const std::uint8_t> packet) = 0;
  // `num_samples`: the true length of the audio at 48 kHz per channel, without pre-skip, so that players trim the last packet.
  virtual Result<void> Finish(std::int64_t num_samples) = 0;
};

}  // namespace earmark
