// Marking a source's own Opus packets into a store.
#pragma once

#include <string>

#include "dsp/media/ogg_opus.h"
#include "services/common/marking.h"

namespace earmark {

// As RegisterStream, for an Ogg Opus file whose packets are the stream's: format.kind is kSourcePackets. kFailedPrecondition: there is hardly a packet in it that a
// mark can be put into, or its two channels, decoded, cancel out in their mean.
Result<RegisterSummary> RegisterPackets(Store& store, const MasterKey& master, OggOpusReader& source,
                                        const RegisterOptions& options, const Progress& progress);

}  // namespace earmark
