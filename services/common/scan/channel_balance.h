// Which stretches of which signals of a clip are worth a search.
#pragma once

#include <span>

#include "dsp/media/decoded_clip.h"

namespace earmark {

// Loudness of the mean and of half the difference of two channels over one stretch.
struct ChannelBalance {
  double mean = 0;  // energies
  double difference = 0;
};
ChannelBalance BalanceOf(std::span<const float> mean, std::span<const float> difference);

// Whether a sound may be in this channel that the mean hides: in the difference where that is the stronger of the two, on one side where the sides hold unlike sounds,
// which makes mean and difference about as strong.
bool MayHide(DecodedClip::Channel channel, const ChannelBalance& balance);

}  // namespace earmark
