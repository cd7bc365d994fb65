#include "dsp/media/channel_mixer.h"

#include <cmath>
#include <string>

extern "C" {
#include <libavutil/opt.h>
}

namespace earmark {
namespace {

constexpr int kMaxChannels = 64;  // libswresample's own bound

// What to tell libswresample about the input. Mono and stereo pass unmixed whatever they call themselves ("left and centre").
AVChannelLayout LayoutToMixFrom(const AVChannelLayout& layout) {
  AVChannelLayout result{};
  if (layout.nb_channels > 2 && layout.order == AV_CHANNEL_ORDER_NATIVE) {
    result = layout;  // no pointers inside in this order
  } else {
    av_channel_layout_default(&result, layout.nb_channels);  // leaves the order unspecified where there is no default
  }
  return result;
}

// Channels left and right in turn, each side their mean.
std::vector<double> TakingTurns(int num_inputs, int num_outputs) {
  std::vector<double> weights(static_cast<std::size_t>(num_inputs) * static_cast<std::size_t>(num_outputs), 0.0);
  for (int in = 0; in < num_inputs; ++in) {
    const int out = in % num_outputs;
    const int num_sharing = (num_inputs - out + num_outputs - 1) / num_outputs;
    weights[static_cast<std::size_t>(out) * static_cast<std::size_t>(num_inputs) + static_cast<std::size_t>(in)] =
        1.0 / num_sharing;
  }
  return weights;
}

}  // namespace

Result<ChannelMixer> ChannelMixer::Create(const Input& input, int num_output_channels, int output_rate_hz) {
  const int num_input_channels = input.layout->nb_channels;
  if (num_input_channels < 1 || num_input_channels > kMaxChannels) {
    return Fail(ErrorCode::kInvalidArgument, std::to_string(num_input_channels) + " channels; 1 to 64 can be read");
  }
  AVChannelLayout from = LayoutToMixFrom(*input.layout);
  AVChannelLayout to{};
  av_channel_layout_default(&to, num_output_channels);

  SwrContext* context = nullptr;
  int status = swr_alloc_set_opts2(&context, &to, AV_SAMPLE_FMT_FLT, output_rate_hz, &from, input.format, input.sample_rate_hz, 0,
                                   nullptr);
  ContextPtr owner(context);
  // Without this bound a mix to float may come out several times louder than full scale.
  if (status >= 0) status = av_opt_set_double(context, "rematrix_maxval", 1.0, 0);
  if (status >= 0 && from.order == AV_CHANNEL_ORDER_UNSPEC) {
    status = swr_set_matrix(context, TakingTurns(num_input_channels, num_output_channels).data(), num_input_channels);
  }
  if (status >= 0) status = swr_init(context);
  if (status < 0) return Fail(ErrorCode::kInvalidArgument, "its sample format or channel layout cannot be converted");
  return ChannelMixer(std::move(owner), num_output_channels);
}

Result<std::span<const float>> ChannelMixer::Mix(const std::uint8_t* const* planes, int num_frames) {
  const int room = swr_get_out_samples(context_.get(), num_frames);
  if (room < 0) return Fail(ErrorCode::kInternal, "libswresample cannot say how much it will write");
  mixed_.resize(static_cast<std::size_t>(room) * static_cast<std::size_t>(num_output_channels_));
  std::uint8_t* output = reinterpret_cast<std::uint8_t*>(mixed_.data());
  // libswresample takes a pointer to non-const pointers and only reads.
  const int num_mixed = swr_convert(context_.get(), &output, room, const_cast<const std::uint8_t**>(planes), num_frames);
  if (num_mixed < 0) return Fail(ErrorCode::kInternal, "libswresample cannot convert the samples");
  return std::span<const float>(mixed_).first(static_cast<std::size_t>(num_mixed) *
                                              static_cast<std::size_t>(num_output_channels_));
}

}  // namespace earmark
