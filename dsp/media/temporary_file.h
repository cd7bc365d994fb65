// Files without a name.
#pragma once

#include <string>

#include "dsp/core/result.h"
#include "dsp/media/input_file.h"

namespace earmark {

// Where they are: $TMPDIR, or /tmp where that is not set or no folder.
std::string TemporaryFolder();

// An empty file, open for reading and writing by this process alone, of which nothing is left when it is closed or the process ends, however that
// happens. kUnavailable: none can be made there; the message names the folder. Thread-safe.
Result<FileHandle> OpenTemporaryFile();

}  // namespace earmark
