// Where in a clip a named account's copy is heard.
#pragma once

#include <string>

#include "dsp/tracing/trace_code.h"
#include "services/common/scan/readings.h"

namespace earmark {

// The stretch over which what the symbols say for the account sums to its most. For telling alone; nothing is decided by it.
ClipStretch StretchOfAccount(const HypothesisReading& reading, const CodeKey& code_key, const std::string& account);

}  // namespace earmark
