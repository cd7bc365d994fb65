// From alignments to symbol likelihoods: lays the clip on the stream's clock, runs both readers and adds what they say.
#pragma once

#include <functional>
#include <span>

#include "dsp/core/result.h"
#include "dsp/core/stream_format.h"
#include "dsp/reading/aligned_clip.h"
#include "dsp/reading/symbol_likelihoods.h"
#include "dsp/search/aligner.h"

namespace earmark {

// Decodes all variants of packets [first, end).
using VariantLoader = std::function<Result<VariantAudio>(std::int64_t first_packet, std::int64_t end_packet)>;

// `clip`: mono at kDetectRateHz; `pieces`: of one stream, in clip order. Works in stretches of at most half a minute, so memory is bounded.
// Errors are the loader's.
Result<SymbolLikelihoods> ReadSymbols(const StreamFormat& format, std::span<const float> clip, std::span<const Alignment> pieces,
                                      const VariantLoader& load);

}  // namespace earmark
