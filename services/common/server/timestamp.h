// Times of the API.
#pragma once

#include <google/protobuf/timestamp.pb.h>

#include <cstdint>
#include <string>

#include "dsp/core/result.h"

namespace earmark::server {

// Microseconds since 1970 UTC. kInvalidArgument: not from 1970 to 9999; `field` names it.
Result<std::int64_t> MicrosecondsOf(const std::string& field, const google::protobuf::Timestamp& time);

google::protobuf::Timestamp TimestampOf(std::int64_t unix_us);

}  // namespace earmark::server
