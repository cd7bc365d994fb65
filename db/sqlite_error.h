// Turns failures of SQLite and of the file system into Errors. No exception leaves db/: every use of SQLite is wrapped in
// CatchSqlite.
#pragma once

#include <SQLiteCpp/SQLiteCpp.h>

#include <exception>
#include <new>
#include <string>
#include <type_traits>

#include "dsp/core/result.h"

namespace earmark {

// `doing` completes "cannot ..." and names the path. `system_errno` is what the system said, 0 if unknown.
Error SqliteError(const SQLite::Exception& exception, int system_errno, const std::string& doing);
Error SystemError(int system_errno, const std::string& doing);

// The system's own reason for the connection's latest I/O or open failure, 0 if there was none.
int SystemErrnoOf(const SQLite::Database& db);

// Returns what `body`, a callable giving some Result, returns, or an Error for what it throws.
// `system_errno` is called after a SQLite failure only.
template <typename Body, typename SystemErrno>
std::invoke_result_t<const Body&> CatchSqlite(const std::string& doing, const SystemErrno& system_errno, const Body& body) {
  try {
    return body();
  } catch (const SQLite::Exception& exception) {
    return tl::unexpected<Error>(SqliteError(exception, system_errno(), doing));
  } catch (const std::bad_alloc&) {
    return Fail(ErrorCode::kResourceExhausted, "cannot " + doing + ": out of memory");
  } catch (const std::exception& exception) {
    return Fail(ErrorCode::kInternal, "cannot " + doing + ": " + exception.what());
  } catch (...) {
    return Fail(ErrorCode::kInternal, "cannot " + doing + ": unknown exception");
  }
}

}  // namespace earmark
