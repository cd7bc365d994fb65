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
//
// Where each variant has been encoded for itself, a variant's sound is the same whatever was sent before. Where packets were patched, a decoder carries a change
// on for some packets, since levels are predicted from those before. So there the sound is given in *phases*: phase j has the variant in every symbol whose
// index is j modulo the number of phases, and the source's packets as they came in all others: one symbol's doing, and how it fades.
struct VariantAudio {
  std::int64_t first_packet = 0;
  std::int64_t num_packets = 0;
  int num_phases = 1;
  // [phase · num_variants + variant][sample]; num_packets · kDetectPacketSamples each
  std::vector<std::vector<float>> variants;
  // the source's packets; empty with one phase, where the variants' mean stands for it
  std::vector<float> host;

  std::int64_t first_sample() const;
};

struct LocatedChunk {
  std::int64_t first_packet = 0;
  ReferenceChunkData data;

  std::int64_t end_packet() const { return first_packet + data.num_packets(); }
};
// Gives the opened chunks of one source that overlap packets [first_packet, end_packet), in order; none beyond the end of the reference or in a gap.
using ChunkLoader =
    std::function<Result<std::vector<std::shared_ptr<const LocatedChunk>>>(std::int64_t first_packet, std::int64_t end_packet)>;

// How many packets before a stretch are decoded as well, so that decoders' memory has settled. A second where variants are compared, of which the masking
// model needs most; one sound alone is as good as settled after a fifth of that.
constexpr std::int64_t PrerollPackets(int num_variants_wanted) { return num_variants_wanted == 1 ? 10 : 50; }

// Decodes packets [first_packet, end_packet), clipped to what `load` has, behind PrerollPackets of them. `num_variants_wanted`: 1 decodes variant 0 alone (for alignment), format.num_variants all of them.
// kDataLoss from the loader, or when a chunk is of another format or holds a packet that libopus rejects.
Result<VariantAudio> DecodeVariants(const StreamFormat& format, const Key& carrier_key, const ChunkLoader& load,
                                    std::int64_t first_packet, std::int64_t end_packet, int num_variants_wanted);

}  // namespace earmark
