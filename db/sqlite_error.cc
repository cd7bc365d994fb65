#include "db/sqlite_error.h"

#include <sqlite3.h>

#include <cerrno>
#include <system_error>

namespace earmark {
namespace {

struct Diagnosis {
  ErrorCode code;
  std::string text;  // the reason, and what to do
};

std::string Describe(int system_errno) { return std::generic_category().message(system_errno); }

Diagnosis DiagnoseErrno(int system_errno) {
  switch (system_errno) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      return {ErrorCode::kResourceExhausted, Describe(system_errno) + "; free some space or raise the limit, then try again"};
    case EMFILE:
    case ENFILE:
    case ENOMEM:
      return {ErrorCode::kResourceExhausted, Describe(system_errno)};
    case ENOTDIR:
    case EISDIR:
    case ELOOP:
    case ENAMETOOLONG:
      return {ErrorCode::kInvalidArgument, Describe(system_errno) + "; choose another path"};
    case EIO:
      return {ErrorCode::kDataLoss, Describe(system_errno) + "; check the disk"};
    default:
      return {ErrorCode::kPermissionDenied, Describe(system_errno) + "; check the path and its permissions"};
  }
}

bool IsDamage(int extended_code) {
  return extended_code == SQLITE_IOERR_SHORT_READ || extended_code == SQLITE_IOERR_DATA ||
         extended_code == SQLITE_IOERR_CORRUPTFS;
}

Diagnosis DiagnoseIo(int extended_code, int system_errno, const std::string& message) {
  if (extended_code == SQLITE_IOERR_NOMEM) return {ErrorCode::kResourceExhausted, "out of memory"};
  if (extended_code == SQLITE_IOERR_SHMSIZE) return DiagnoseErrno(system_errno != 0 ? system_errno : ENOSPC);
  if (IsDamage(extended_code)) return {ErrorCode::kDataLoss, message + "; check the disk and restore the store from a backup"};
  if (system_errno != 0) return DiagnoseErrno(system_errno);
  return {ErrorCode::kUnavailable, message + "; check the disk, then try again"};
}

// The one map from SQLite's result codes to ours.
Diagnosis DiagnoseSqlite(int code, int extended_code, int system_errno, const std::string& message) {
  switch (code) {
    case SQLITE_FULL:
      return {ErrorCode::kResourceExhausted, "the disk is full; free some space, then try again"};
    case SQLITE_NOMEM:
      return {ErrorCode::kResourceExhausted, "out of memory"};
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_PROTOCOL:
      return {ErrorCode::kUnavailable, "another connection is writing to it for too long; try again"};
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return {ErrorCode::kDataLoss, "the file is damaged (" + message + "); restore the store from a backup"};
    case SQLITE_PERM:
    case SQLITE_AUTH:
    case SQLITE_READONLY:
      return {ErrorCode::kPermissionDenied, message + "; check the permissions of the file and its folder"};
    case SQLITE_CANTOPEN:
      if (system_errno != 0) return DiagnoseErrno(system_errno);
      return {ErrorCode::kPermissionDenied, message + "; check the permissions of the file and its folder"};
    case SQLITE_IOERR:
      return DiagnoseIo(extended_code, system_errno, message);
    case SQLITE_TOOBIG:
      return {ErrorCode::kInvalidArgument, message};
    case SQLITE_INTERRUPT:
      return {ErrorCode::kCancelled, message};
    default:
      return {ErrorCode::kInternal, message + " (SQLite code " + std::to_string(extended_code) + ")"};
  }
}

Error ToError(Diagnosis diagnosis, const std::string& doing) {
  return Error{diagnosis.code, "cannot " + doing + ": " + diagnosis.text};
}

// 0 if the file, which may be null or closed, had no failure.
int LastErrno(sqlite3_file* file) {
  int last = 0;
  if (file == nullptr || file->pMethods == nullptr) return 0;
  const int asked = file->pMethods->xFileControl(file, SQLITE_FCNTL_LAST_ERRNO, &last);
  return asked == SQLITE_OK ? last : 0;
}

}  // namespace

Error SqliteError(const SQLite::Exception& exception, int system_errno, const std::string& doing) {
  const int code = exception.getErrorCode() & 0xFF;
  return ToError(DiagnoseSqlite(code, exception.getExtendedErrorCode(), system_errno, exception.what()), doing);
}

Error SystemError(int system_errno, const std::string& doing) { return ToError(DiagnoseErrno(system_errno), doing); }

// SQLite keeps the reason with the connection for some failures, and with the file it was writing for others.
int SystemErrnoOf(const SQLite::Database& db) {
  sqlite3* const connection = db.getHandle();
  if (const int known = sqlite3_system_errno(connection); known != 0) return known;
  for (const int which : {SQLITE_FCNTL_JOURNAL_POINTER, SQLITE_FCNTL_FILE_POINTER}) {
    sqlite3_file* file = nullptr;
    if (sqlite3_file_control(connection, "main", which, static_cast<void*>(&file)) != SQLITE_OK) continue;
    if (const int known = LastErrno(file); known != 0) return known;
  }
  return 0;
}

}  // namespace earmark
