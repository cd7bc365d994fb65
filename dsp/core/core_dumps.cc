#include "dsp/core/core_dumps.h"

#include <sys/prctl.h>

namespace earmark {

// Not RLIMIT_CORE: a core_pattern that is a pipe is handed the dump whatever that says.
void LeaveNoCoreDumps() noexcept { prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); }

}  // namespace earmark
