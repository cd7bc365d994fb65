// What a process that decodes hostile media gives up before it reads the first byte.
#pragma once

#include <cstdint>

#include "dsp/core/result.h"

namespace earmark::decode {

struct SandboxLimits {
  std::int64_t cpu_s = 600;                           // of processor time; beyond it SIGXCPU
  std::int64_t memory_bytes = std::int64_t{1} << 30;  // of address space; beyond it allocations fail
};

// From here on this process may read from descriptor 0, write to descriptor 1, and have memory and the time. To open, look up or ask is refused
// (EPERM), since libraries try; sockets, other processes, new programs, executable memory and all else ends it with SIGSYS (seccomp, by a list of what
// is allowed). No core, no files, no privileges to gain, and it ends with the process that started it. Cannot be taken back. For processes of one thread.
// kInternal: the kernel has no such filters; nothing may be decoded then.
Result<void> EnterSandbox(const SandboxLimits& limits);

}  // namespace earmark::decode
