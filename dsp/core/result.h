// Errors as values. Every fallible call in Earmark returns Result<T>; nothing throws across a library border.
//
// The codes map one to one onto gRPC's status codes. A message says which field, what was wanted and what came, in one line,
// and never holds a secret. "Not found in this clip" is a value, not an error.
#pragma once

#include <string>
#include <tl/expected.hpp>
#include <utility>

namespace earmark {

enum class ErrorCode {
  kInvalidArgument,     // the caller's input is wrong: bad option, unreadable media
  kNotFound,            // a named thing (file, stream, account) does not exist
  kAlreadyExists,       // a named thing exists and must not
  kFailedPrecondition,  // the state does not allow it: stream incomplete, other key, old schema
  kUnauthenticated,     // no token, or none that is good
  kPermissionDenied,    // the operating system or a role says no
  kResourceExhausted,   // a bound was reached: disk full, size limit
  kUnavailable,         // try again later: store locked, server down
  kDataLoss,            // stored bytes are damaged: failed authentication, truncated record
  kCancelled,           // the caller asked to stop
  kInternal,            // a defect of ours
};

struct Error {
  ErrorCode code;
  std::string message;
};

// A value of type T or an Error. A class of its own, not an alias, so that ignoring one is a compiler warning.
template <typename T>
class [[nodiscard]] Result : public tl::expected<T, Error> {
 public:
  using tl::expected<T, Error>::expected;
};

inline tl::unexpected<Error> Fail(ErrorCode code, std::string message) {
  return tl::unexpected<Error>(Error{code, std::move(message)});
}

// Passes an error of one Result on as the error of another.
template <typename T>
tl::unexpected<Error> Pass(const Result<T>& failed) {
  return tl::unexpected<Error>(failed.error());
}

}  // namespace earmark
