#include "services/common/server/timestamp.h"

namespace earmark::server {
namespace {

constexpr std::int64_t kMicroseconds = 1'000'000;

}  // namespace

Result<std::int64_t> MicrosecondsOf(const std::string& field, const google::protobuf::Timestamp& time) {
  // The years 1970 to 9999 fit into microseconds; earlier ones hold nothing.
  constexpr std::int64_t kMaxSeconds = 253'402'300'799;
  if (time.seconds() < 0 || time.seconds() > kMaxSeconds || time.nanos() < 0 || time.nanos() > 999'999'999) {
    return Fail(ErrorCode::kInvalidArgument, field + ": wanted a time from 1970 to 9999, got " + std::to_string(time.seconds()) +
                                                 " s and " + std::to_string(time.nanos()) + " ns");
  }
  return time.seconds() * kMicroseconds + time.nanos() / 1000;
}

google::protobuf::Timestamp TimestampOf(std::int64_t unix_us) {
  google::protobuf::Timestamp time;
  time.set_seconds(unix_us / kMicroseconds);
  time.set_nanos(static_cast<std::int32_t>(unix_us % kMicroseconds * 1000));
  return time;
}

}  // namespace earmark::server
