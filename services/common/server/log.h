// Logging to stderr with spdlog: after SetUpLog, spdlog::info(…) and its like from any thread but media threads. Never log a
// secret.
#pragma once

#include <string>

#include "dsp/core/result.h"

namespace earmark::server {

enum class LogFormat {
  kText,  // 2026-01-31T12:00:00.000Z info message
  kJson,  // one object a line: time, level, message
};

// `level`: debug, info, warning or error. kInvalidArgument: another word.
Result<void> SetUpLog(const std::string& level, LogFormat format);
// Of the log that was set up. Errors likewise.
Result<void> SetLogLevel(const std::string& level);

}  // namespace earmark::server
