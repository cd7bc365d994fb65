// Marking a source's own Opus packets into a store, and the copy that one account received.
#pragma once

#include <string>

#include "dsp/media/ogg_opus.h"
#include "services/common/marking.h"

namespace earmark {

// As RegisterStream, for an Ogg Opus file whose packets are the stream's: format.kind is kSourcePackets. kFailedPrecondition: there is hardly a packet in it that a
// mark can be put into.
Result<RegisterSummary> RegisterPackets(Store& store, const MasterKey& master, OggOpusReader& source, const RegisterOptions& options, const Progress& progress);

// The account's packets out of the same file, in order. kNotFound: no such grant.
Result<void> PatchPackets(Store& store, const StreamRecord& stream, const StreamKeys& keys, const std::string& account, OggOpusReader& source, const PacketSink& sink,
                          const Progress& progress);

}  // namespace earmark
