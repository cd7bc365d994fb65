#include "db/sqlite_schema.h"

#include "db/store_checks.h"

namespace earmark {
namespace {

int SchemaVersion(SQLite::Database& db) { return db.execAndGet("PRAGMA user_version").getInt(); }

Result<void> CheckVersion(int version, int newest, const std::string& path) {
  if (version > newest) {
    return Fail(ErrorCode::kFailedPrecondition, "the store " + Printable(path) + " has schema " + std::to_string(version) +
                                                    ", this build knows up to " + std::to_string(newest) +
                                                    "; use the newer Earmark that wrote it");
  }
  if (version < 0) {
    return Fail(ErrorCode::kDataLoss, "the store " + Printable(path) + " has the impossible schema number " +
                                          std::to_string(version) + "; restore it from a backup");
  }
  return {};
}

// PRAGMA takes no parameters; the value is a number of ours.
void SetPragma(SQLite::Database& db, const std::string& name, int value) {
  db.exec("PRAGMA " + name + " = " + std::to_string(value));
}

}  // namespace

Result<void> MigrateSqliteSchema(SQLite::Database& db, const std::string& path) {
  const int newest = SqliteMigrations().back().version;
  const int seen = SchemaVersion(db);
  if (auto checked = CheckVersion(seen, newest, path); !checked) return checked;
  if (seen == newest) return {};  // the usual case, which must not wait for a writer

  SQLite::Transaction transaction(db, SQLite::TransactionBehavior::IMMEDIATE);
  const int version = SchemaVersion(db);  // again: another process may have migrated while this one waited for the lock
  if (auto checked = CheckVersion(version, newest, path); !checked) return checked;
  for (const SqliteMigration& migration : SqliteMigrations()) {
    if (migration.version > version) db.exec(migration.sql);
  }
  SetPragma(db, "application_id", kSqliteApplicationId);
  SetPragma(db, "user_version", newest);
  transaction.commit();
  return {};
}

}  // namespace earmark
