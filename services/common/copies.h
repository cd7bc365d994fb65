// Writing copies of recordings to files.
#pragma once

#include "db/store.h"
#include "dsp/media/key_file.h"
#include "services/common/copy_request.h"
#include "services/common/progress.h"

namespace earmark {

// request.account's copy of `stream`, which is complete and was registered from request.input. Nothing is at request.output unless it succeeds. kNotFound: no
// grant; kFailedPrecondition: another master key; kDataLoss: the reference or the recording is damaged; kCancelled; the writers' errors.
Result<void> WriteCopy(Store& store, const MasterKey& master, const StreamRecord& stream, const CopyRequest& request, const Progress& progress);

// The same encode, or packets, or PCM, without any mark; no store is needed. Errors likewise.
Result<void> WritePlainCopy(const CopyRequest& request, const Progress& progress);

}  // namespace earmark
