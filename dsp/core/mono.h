// One channel out of one or two.
#pragma once

#include <cstddef>
#include <span>

namespace earmark {

// The mean of the channels. `mono`: interleaved.size() / num_channels samples. Real-time safe.
inline void MixToMono(std::span<const float> interleaved, int num_channels, std::span<float> mono) noexcept {
  for (std::size_t i = 0; i < mono.size(); ++i)
    mono[i] = num_channels == 1 ? interleaved[i] : 0.5F * (interleaved[2 * i] + interleaved[2 * i + 1]);
}

}  // namespace earmark
