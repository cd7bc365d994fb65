// Where the packets of a copy go.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "dsp/core/result.h"
#include "dsp/core/stream_format.h"
#include "dsp/media/ogg_opus.h"
#include "dsp/media/trimmed_wav.h"

struct OpusDecoder;

namespace earmark {

// Where the packets of a copy go: into an Ogg file as they are, or decoded into a WAV, as its name says: .opus, or
// anything else. Nothing is at the path before Finish. One thread at a time.
class CopyWriter {
 public:
  struct Options {
    int num_channels = 1;      // 1 or 2
    int pre_skip_samples = 0;  // of sound before the recording begins, at 48 kHz: what encoder and marker delay by
    int output_gain_q8_db = 0;
    int input_sample_rate_hz = kSampleRateHz;
  };
  // kInternal: libopus gives no decoder; otherwise the errors of the file's writer.
  static Result<CopyWriter> Create(const std::string& path, const Options& options);

  // kDataLoss: libopus rejects the packet, where it is to be decoded.
  Result<void> Write(std::span<const std::uint8_t> packet);
  // `num_samples` per channel, of the whole recording; -1 keeps everything.
  Result<void> Finish(std::int64_t num_samples);

 private:
  struct DecoderDeleter {
    void operator()(OpusDecoder* decoder) const;
  };
  static constexpr int kMaxPacketSamples = 5760;  // 120 ms
  std::unique_ptr<OggOpusWriter> ogg_;
  std::optional<TrimmedWav> wav_;
  std::unique_ptr<OpusDecoder, DecoderDeleter> decoder_;
  int num_channels_ = 1;
  std::vector<float> pcm_;
};

}  // namespace earmark
