// From the reference back to sound: what each variant sounds like over a stretch of stream time.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "dsp/core/result.h"
#include "dsp/core/stream_format.h"
#include "dsp/core/stream_keys.h"
#include "dsp/reference/reference_chunk.h"

namespace earmark {

// A stretch of a stream's variants, mono (mean of the channels), at kDetectRateHz, in stream time.
struct VariantAudio {
  std::int64_t first_packet = 0;
  std::vector<std::vector<float>> variants;  // [variant][sample]; all of one length, a multiple of kDetectPacketSamples
  std::vector<bool> erased;                  // [packet]

  std::int64_t num_packets() const { return static_cast<std::int64_t>(erased.size()); }
  std::int64_t first_sample() const;
};

// Gives an opened chunk by its first packet. kNotFound beyond the end of the reference.
using ChunkLoader = std::function<Result<ReferenceChunkData>(std::int64_t first_packet)>;

// Decodes packets [first_packet, end_packet), clipped to what `load` has; a second before it is decoded as well, so that the
// decoders' memory has settled. `num_variants_wanted`: 1 decodes variant 0 alone (for alignment), format.num_variants all of them.
// kDataLoss from the loader; kInternal if libopus rejects a packet.
Result<VariantAudio> DecodeVariants(const StreamFormat& format, const Key& carrier_key, const ChunkLoader& load,
                                    std::int64_t first_packet, std::int64_t end_packet, int num_variants_wanted);

}  // namespace earmark
