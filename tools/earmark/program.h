// Running another program.
#pragma once

#include <string>
#include <vector>

#include "dsp/core/result.h"

namespace earmark::cli {

// Runs `words[0]`, looked for in $PATH, with the rest as its arguments and waits for its end. No shell is involved. Its input is empty and what it
// prints is dropped, but for the last line of an error. kFailedPrecondition: there is no such program, with the advice `install`; kInternal: it failed.
Result<void> RunProgram(const std::vector<std::string>& words, const std::string& install);

}  // namespace earmark::cli
