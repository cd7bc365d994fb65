// Any sample format and channel layout to interleaved float in one or two channels, by libswresample.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

extern "C" {
#include <libavutil/channel_layout.h>
#include <libavutil/samplefmt.h>
#include <libswresample/swresample.h>
}

#include "dsp/core/result.h"

namespace earmark {

// Not thread-safe. Mix allocates when a block is longer than those before.
class ChannelMixer {
 public:
  struct Input {
    AVSampleFormat format;
    const AVChannelLayout* layout;  // read by Create only
    int sample_rate_hz;
  };
  // Three and more channels are mixed with weights that add up to one at most; where the layout does not say what each channel
  // is, channels go left and right in turn. `output_rate_hz` differs from the input's only for streams that change their rate on
  // the way. kInvalidArgument: more than 64 channels, or a sample format that nobody knows.
  static Result<ChannelMixer> Create(const Input& input, int num_output_channels, int output_rate_hz);

  // `planes`: one pointer per channel, or a single one for interleaved formats. The result stays valid until the next call.
  Result<std::span<const float>> Mix(const std::uint8_t* const* planes, int num_frames);
  // The last samples of the input, some of which a mixer that changes the rate holds back. Nothing may be mixed after that.
  Result<std::span<const float>> Flush() { return Mix(nullptr, 0); }

 private:
  struct Deleter {
    void operator()(SwrContext* context) const { swr_free(&context); }
  };
  using ContextPtr = std::unique_ptr<SwrContext, Deleter>;

  ChannelMixer(ContextPtr context, int num_output_channels)
      : context_(std::move(context)), num_output_channels_(num_output_channels) {}

  ContextPtr context_;
  int num_output_channels_;
  std::vector<float> mixed_;
};

}  // namespace earmark
