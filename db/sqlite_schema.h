// The schema of the SQLite store.
#pragma once

#include <SQLiteCpp/SQLiteCpp.h>

#include <string>

#include "db/migration.h"
#include "dsp/core/result.h"

namespace earmark {

// Stands in the header of every Earmark database ("Earm"), so that any other SQLite file is known as foreign before it is
// touched.
inline constexpr int kSqliteApplicationId = 0x4561726D;

// Brings the schema up to this build's, in one transaction; when several processes try at once, one does it and the others wait.
// An empty database becomes an Earmark one. kFailedPrecondition: the schema is newer than this build. Throws SQLite::Exception.
Result<void> MigrateSqliteSchema(SQLite::Database& db, const std::string& path);

// For a database that may not be written. kFailedPrecondition: the schema is another than this build's. Throws SQLite::Exception.
Result<void> CheckSqliteSchema(SQLite::Database& db, const std::string& path);

}  // namespace earmark
