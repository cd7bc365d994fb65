// A WAV as long as what it is a copy of.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "dsp/core/result.h"
#include "dsp/core/stream_format.h"
#include "dsp/media/audio_file.h"

namespace earmark {

// A WAV of exactly the recording's length, at 48 kHz: drops what the marker and encoder delay by at the start, and holds back the end until the length is
// known. Nothing is at its path before Finish. Errors are WavWriter's. One thread at a time.
class TrimmedWav {
 public:
  // `delay_samples`: per channel, dropped at the start.
  static Result<TrimmedWav> Create(const std::string& path, int num_channels, int delay_samples);

  // Interleaved, within ±1.
  Result<void> Write(std::span<const float> pcm);
  // `num_samples` per channel; -1 keeps everything.
  Result<void> Finish(std::int64_t num_samples);

 private:
  // more than padding, delays and a file's end trim can add, in two channels
  static constexpr std::size_t kHeldBack = std::size_t{100} * kPacketSamples;

  TrimmedWav(std::unique_ptr<WavWriter> wav, int num_channels, int delay_samples)
      : wav_(std::move(wav)), num_channels_(num_channels), skip_(static_cast<std::size_t>(delay_samples * num_channels)) {}

  Result<void> WriteFirst(std::size_t count);

  std::unique_ptr<WavWriter> wav_;
  int num_channels_;
  std::size_t skip_;
  std::int64_t written_ = 0;
  std::vector<float> held_;
};

}  // namespace earmark
