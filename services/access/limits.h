// What the configuration of a daemon says of access.
#pragma once

#include "dsp/core/result.h"
#include "services/access/access_control.h"
#include "services/common/server/config.h"

namespace earmark::access {

// `config` has CommonConfigKeys. kInvalidArgument: a value out of range.
inline Result<AccessLimits> ReadLimits(const server::Config& config) {
  for (const char* key : {"calls_a_minute", "upload_mb_an_hour"}) {
    constexpr std::int64_t kMax = 1'000'000'000;
    const std::int64_t value = config.Integer("auth", key);
    if (value >= 0 && value <= kMax) continue;
    return Fail(ErrorCode::kInvalidArgument,
                std::string("auth.") + key + ": wanted 0 to " + std::to_string(kMax) + ", got " + std::to_string(value));
  }
  return AccessLimits{.token_needed = config.Switch("auth", "required"),
                      .calls_a_minute = config.Integer("auth", "calls_a_minute"),
                      .upload_bytes_an_hour = config.Integer("auth", "upload_mb_an_hour") << 20};
}

}  // namespace earmark::access
