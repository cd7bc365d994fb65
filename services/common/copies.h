// Writing copies of recordings to files.
#pragma once

#include "db/store.h"
#include "dsp/media/key_file.h"
#include "services/common/copy_request.h"
#include "services/common/marking.h"
#include "services/common/progress.h"

namespace earmark {

// request.account's copy of `stream`, which is complete and was registered from request.input, as far as it was granted: those packets. Nothing is at
// request.output unless it succeeds. The errors of GrantedPackets; kFailedPrecondition: another master key, or what was granted is too short;
// kDataLoss: the reference or the recording is damaged; kCancelled; the writers' errors.
Result<PacketRange> WriteCopy(Store& store, const MasterKey& master, const StreamRecord& stream, const CopyRequest& request,
                              const Progress& progress);

// The same encode, or packets, or PCM, without any mark; no store is needed. Errors likewise.
Result<void> WritePlainCopy(const CopyRequest& request, const Progress& progress);

}  // namespace earmark
