#include "db/sqlite_schema.h"

#include "db/store_checks.h"
#include "db/text.h"

namespace earmark {
namespace {

int SchemaVersion(SQLite::Database& db) { return db.execAndGet("PRAGMA user_version").getInt(); }

// PRAGMA takes no parameters; the value is a number of ours.
void SetPragma(SQLite::Database& db, const std::string& name, int value) {
  db.exec("PRAGMA " + name + " = " + std::to_string(value));
}

}  // namespace

Result<void> CheckSqliteSchema(SQLite::Database& db, const std::string& path) {
  const int seen = SchemaVersion(db);
  if (auto checked = CheckSchemaVersion(seen, SqliteMigrations(), path); !checked) return checked;
  if (seen == SqliteMigrations().back().version) return {};
  return Fail(ErrorCode::kFailedPrecondition,
              "the store " + Printable(path) + " has the older schema " + std::to_string(seen) +
                  " and may not be written; somebody who may is to bring it up to date with `earmark db migrate`");
}

Result<void> MigrateSqliteSchema(SQLite::Database& db, const std::string& path) {
  const int newest = SqliteMigrations().back().version;
  const int seen = SchemaVersion(db);
  if (auto checked = CheckSchemaVersion(seen, SqliteMigrations(), path); !checked) return checked;
  if (seen == newest) return {};  // the usual case, which must not wait for a writer

  SQLite::Transaction transaction(db, SQLite::TransactionBehavior::IMMEDIATE);
  const int version = SchemaVersion(db);  // again: another process may have migrated while this one waited for the lock
  if (auto checked = CheckSchemaVersion(version, SqliteMigrations(), path); !checked) return checked;
  for (const Migration& migration : SqliteMigrations()) {
    if (migration.version > version) db.exec(migration.sql);
  }
  SetPragma(db, "application_id", kSqliteApplicationId);
  SetPragma(db, "user_version", newest);
  transaction.commit();
  return {};
}

}  // namespace earmark
