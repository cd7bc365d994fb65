// From a source's own packets to the sound of the variants, which are these packets with a few bits changed: marked again as they were, and played.
#pragma once

#include "dsp/reference/variant_decoder.h"

namespace earmark {

// In how many phases (see VariantAudio) the variants of such a stream are given. A change of level fades by half in 20 ms; what is left of it when the same
// phase comes again is 18 dB below it or less, and more phases were measured to bring 3 % more digits.
int NumPhases(const StreamFormat& format);

// DecodeVariants for streams of kind kSourcePackets: the same contract.
Result<VariantAudio> DecodeSourceVariants(const StreamFormat& format, const Key& carrier_key, const ChunkLoader& load,
                                          std::int64_t first_packet, std::int64_t end_packet, int num_variants_wanted);

}  // namespace earmark
