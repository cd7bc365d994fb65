#include "db/store.h"

#include <chrono>
#include <string_view>

#include "db/postgres_connection.h"
#include "db/sql_store.h"
#include "db/sqlite_connection.h"
#include "db/sqlite_open.h"
#include "db/store_checks.h"
#include "db/text.h"

namespace earmark {
namespace {

constexpr std::string_view kSqlitePrefix = "sqlite:";
constexpr std::chrono::milliseconds kBusyTimeout{10000};

bool IsPostgres(std::string_view url) { return url.starts_with("postgresql://") || url.starts_with("postgres://"); }

tl::unexpected<Error> FailScheme(const std::string& url) {
  // Says the scheme only: the rest of a URL may hold a password.
  const std::size_t colon = url.find(':');
  const std::string got =
      colon == std::string::npos ? "one without a scheme" : "scheme '" + Printable(url.substr(0, colon)) + "'";
  return Fail(
      ErrorCode::kInvalidArgument,
      "store URL: wanted sqlite:PATH, such as sqlite:/var/lib/earmark/store.db, or postgresql://USER@HOST/DATABASE, got " + got);
}

Result<std::unique_ptr<SqlConnection>> Connect(const std::string& url, OpenMode mode) {
  if (url.starts_with(kSqlitePrefix)) return ConnectSqlite(url.substr(kSqlitePrefix.size()), mode, kBusyTimeout);
  if (IsPostgres(url)) return ConnectPostgres(url, mode);
  return FailScheme(url);
}

}  // namespace

Result<std::unique_ptr<Store>> OpenStore(const std::string& url, OpenMode mode) {
  auto connection = Connect(url, mode);
  if (!connection) return Pass(connection);
  return std::unique_ptr<Store>(std::make_unique<SqlStore>(std::move(*connection)));
}

Result<int> StoreSchemaVersion(const std::string& url) {
  if (url.starts_with(kSqlitePrefix)) return SqliteSchemaVersion(url.substr(kSqlitePrefix.size()), kBusyTimeout);
  if (IsPostgres(url)) return PostgresSchemaVersion(url);
  return FailScheme(url);
}

std::string PrintableStoreUrl(const std::string& url) {
  if (!IsPostgres(url)) return Printable(url);
  std::string text = url.substr(0, url.find('?'));  // options may hold a password, too
  const std::size_t host = text.find('@');
  const std::size_t user = text.find("//") + 2;
  const std::size_t colon = text.find(':', user);
  if (host != std::string::npos && colon < host) text.replace(colon, host - colon, ":…");
  return Printable(text);
}

}  // namespace earmark
