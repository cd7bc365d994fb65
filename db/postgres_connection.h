// The PostgreSQL engine.
#pragma once

#include <memory>
#include <string>

#include "db/sql_connection.h"
#include "db/store.h"

namespace earmark {

// As OpenStore. A connection that broke is made anew by the next call. A call that finds rows locked waits up to 10 s and then is kUnavailable.
Result<std::unique_ptr<SqlConnection>> ConnectPostgres(const std::string& url, OpenMode mode);

// 0: the database has no store.
Result<int> PostgresSchemaVersion(const std::string& url);

}  // namespace earmark
