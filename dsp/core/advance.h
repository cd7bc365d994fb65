// How long work is watched, and stopped.
#pragma once

#include <functional>

namespace earmark {

// Told the fraction done, 0…1, or -1 where the end is not known; false: stop. Called from the thread that does the work. May be empty.
using Advance = std::function<bool(double fraction)>;

}  // namespace earmark
