// From the reference back to sound: what each variant sounds like over a stretch of stream time.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "dsp/core/result.h"
#include "dsp/core/stream_format.h"
#include "dsp/core/stream_keys.h"
#include "dsp/reference/reference_chunk.h"

namespace earmark {

// A stretch of one source's variants, mono (mean of the channels), at kDetectRateHz, in stream time. Where the source was away there is silence.
struct VariantAudio {
  std::int64_t first_packet = 0;
  std::int64_t num_packets = 0;
  std::vector<std::vector<float>> variants;  // [variant][sample]; num_packets · kDetectPacketSamples each

  std::int64_t first_sample() const;
};

struct LocatedChunk {
  std::int64_t first_packet = 0;
  ReferenceChunkData data;

  std::int64_t end_packet() const { return first_packet + data.num_packets(); }
};
// Gives the opened chunks of one source that overlap packets [first_packet, end_packet), in order; none beyond the end of the reference or in a gap.
using ChunkLoader = std::function<Result<std::vector<std::shared_ptr<const LocatedChunk>>>(std::int64_t first_packet, std::int64_t end_packet)>;

// Decodes packets [first_packet, end_packet), clipped to what `load` has; a second before it is decoded as well, so that the
// decoders' memory has settled. `num_variants_wanted`: 1 decodes variant 0 alone (for alignment), format.num_variants all of them.
// kDataLoss from the loader, or when a chunk is of another format or holds a packet that libopus rejects.
Result<VariantAudio> DecodeVariants(const StreamFormat& format, const Key& carrier_key, const ChunkLoader& load,
                                    std::int64_t first_packet, std::int64_t end_packet, int num_variants_wanted);

}  // namespace earmark
