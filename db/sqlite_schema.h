// The schema of the SQLite store and the numbered steps that lead to it.
#pragma once

#include <SQLiteCpp/SQLiteCpp.h>

#include <span>
#include <string>

#include "dsp/core/result.h"

namespace earmark {

// Stands in the header of every Earmark database ("Earm"), so that any other SQLite file is known as foreign before it is
// touched.
inline constexpr int kSqliteApplicationId = 0x4561726D;

struct SqliteMigration {
  int version;  // 1, 2, 3, ... without gaps; the database's user_version once it is applied
  const char* sql;
};

// All migrations of this build, ascending. Compiled from db/migrations/sqlite/.
std::span<const SqliteMigration> SqliteMigrations();

// Brings the schema up to this build's, in one transaction; when several processes try at once, one does it and the others wait.
// An empty database becomes an Earmark one. kFailedPrecondition: the schema is newer than this build. Throws SQLite::Exception.
Result<void> MigrateSqliteSchema(SQLite::Database& db, const std::string& path);

}  // namespace earmark
