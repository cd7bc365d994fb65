// Finds, makes and checks the database file of the SQLite store.
#pragma once

#include <SQLiteCpp/SQLiteCpp.h>

#include <chrono>
#include <string>

#include "db/store.h"

namespace earmark {

// Opens the database at `path` with its schema up to date. With kReadWriteCreate, a missing one is made, mode 0600, and missing
// folders, mode 0700. It is built beside its place and moved there when it is whole, so that no one ever meets a half-made one
// and a failure leaves nothing. A file that is not an Earmark store is refused before SQLite reads or locks anything in it.
// With kReadWrite, one that may not be written is opened for reading, if its schema is this build's.
Result<SQLite::Database> OpenSqliteDatabase(const std::string& path, OpenMode mode, std::chrono::milliseconds busy_timeout);

// 0: there is no file.
Result<int> SqliteSchemaVersion(const std::string& path, std::chrono::milliseconds busy_timeout);

}  // namespace earmark
