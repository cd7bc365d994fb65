// Keeping a process's memory to itself.
#pragma once

namespace earmark {

// No core dump of this process from now on, and no other process of the same user may look into it. For programs that hold keys, at their start, before
// threads; a fork keeps it, an exec does not. Never fails in a way that anything could be done about.
void LeaveNoCoreDumps() noexcept;

}  // namespace earmark
