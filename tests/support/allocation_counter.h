// Counts allocations of this thread: operator new, malloc and its relatives, also inside shared libraries. allocation_counter.cc has the hooks.
#pragma once

#include <cstdint>

namespace earmark {

// Allocations made by this thread so far.
std::int64_t NumAllocations();

}  // namespace earmark
