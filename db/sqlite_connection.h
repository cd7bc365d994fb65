// The SQLite engine: one file, several processes.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "db/sql_connection.h"
#include "db/store.h"

namespace earmark {

// As OpenStore. A call that finds another connection writing waits up to `busy_timeout` and then is kUnavailable.
Result<std::unique_ptr<SqlConnection>> ConnectSqlite(const std::string& path, OpenMode mode,
                                                     std::chrono::milliseconds busy_timeout);

}  // namespace earmark
