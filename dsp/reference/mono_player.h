// Plays Opus packets as a listener's decoder does, to mono.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "dsp/core/mean_loss.h"

struct OpusDecoder;

namespace earmark {

// One decoder. Allocates; one thread at a time.
class MonoPlayer {
 public:
  // `rate_hz`: 8000, 12000, 16000, 24000 or 48000; `num_channels`: 1 or 2, of which the mean is given out.
  MonoPlayer(int rate_hz, int num_channels);

  // Appends what the packet, of any duration, sounds like. False: libopus rejects it, and nothing is appended.
  bool Play(std::span<const std::uint8_t> packet, std::vector<float>& out);
  // Appends `num_samples` (at rate_hz) for packets that never came: what a decoder makes up for the first 100 ms of such, silence and a fresh start beyond.
  void Miss(std::int64_t num_samples, std::vector<float>& out);
  // Appends silence, and starts afresh.
  void Skip(std::int64_t num_samples, std::vector<float>& out);
  // What was lost of two channels in what has been played; of one there is nothing to lose.
  const MeanLoss& mean_loss() const { return mean_loss_; }

 private:
  struct Deleter {
    void operator()(OpusDecoder* decoder) const;
  };
  bool Decode(std::span<const std::uint8_t> packet, int max_samples, std::vector<float>& out);

  int rate_hz_;
  int num_channels_;
  std::int64_t num_missed_;  // samples in a row; at the start there is nothing to go on from
  std::unique_ptr<OpusDecoder, Deleter> decoder_;
  std::vector<float> buffer_;
  MeanLoss mean_loss_;
};

}  // namespace earmark
