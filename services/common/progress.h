// What long work tells its caller.
#pragma once

#include <functional>

namespace earmark {

// Progress of long work: stage for people ("marking"), fraction 0…1 or -1 where the end is not known. Return false to cancel.
using Progress = std::function<bool(const char* stage, double fraction)>;

}  // namespace earmark
