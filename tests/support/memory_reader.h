// A recording that is in memory, for whatever reads recordings.
#pragma once

#include <algorithm>
#include <span>
#include <utility>
#include <vector>

#include "dsp/core/stream_format.h"
#include "dsp/media/audio_file.h"

namespace earmark {

class MonoMemoryReader final : public AudioReader {
 public:
  // Samples at 48 kHz.
  explicit MonoMemoryReader(std::vector<float> samples) : samples_(std::move(samples)) {
    info_ = {.sample_rate_hz = kSampleRateHz,
             .num_channels = 1,
             .duration_s = static_cast<double>(samples_.size()) / kSampleRateHz,
             .format = "memory"};
  }
  const AudioInfo& info() const override { return info_; }
  int num_channels() const override { return 1; }
  Result<std::int64_t> Read(std::span<float> out) override {
    const std::size_t count = std::min(out.size(), samples_.size() - at_);
    std::copy_n(samples_.begin() + static_cast<std::ptrdiff_t>(at_), count, out.begin());
    at_ += count;
    return static_cast<std::int64_t>(count);
  }

 private:
  std::vector<float> samples_;
  std::size_t at_ = 0;
  AudioInfo info_;
};

}  // namespace earmark
