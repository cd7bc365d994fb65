// Small shared helpers around files and time.
#pragma once

#include <cstdint>
#include <string>

#include "dsp/core/result.h"

namespace earmark {

// SHA-256 of a file's bytes, as 64 hex digits. kNotFound, kPermissionDenied, kInvalidArgument (a folder).
Result<std::string> FileDigest(const std::string& path);

// Microseconds since 1970 UTC.
std::int64_t UnixMicroseconds();

}  // namespace earmark
