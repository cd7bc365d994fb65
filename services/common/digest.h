// Small shared helpers around files and time.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "dsp/core/result.h"

namespace earmark {

// SHA-256 of a file's bytes, as 64 hex digits. kNotFound, kPermissionDenied, kInvalidArgument (a folder).
Result<std::string> FileDigest(const std::string& path);

// SHA-256 of some bytes, as 64 hex digits.
std::string BytesDigest(std::string_view bytes);

// Microseconds since 1970 UTC.
std::int64_t UnixMicroseconds();

}  // namespace earmark
