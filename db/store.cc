#include "db/store.h"

#include <string_view>

#include "db/sqlite_store.h"
#include "db/store_checks.h"

namespace earmark {
namespace {

constexpr std::string_view kSqlitePrefix = "sqlite:";
constexpr std::chrono::milliseconds kBusyTimeout{10000};

// Says the scheme only: the rest of a URL may hold a password.
Result<std::unique_ptr<Store>> RefuseUrl(const std::string& url) {
  const std::size_t colon = url.find(':');
  const std::string scheme = url.substr(0, colon);
  if (colon != std::string::npos && (scheme == "postgresql" || scheme == "postgres")) {
    return Fail(ErrorCode::kInvalidArgument,
                "store URL: this build has only SQLite, PostgreSQL comes with the live service; "
                "wanted sqlite:PATH, such as sqlite:/var/lib/earmark/store.db");
  }
  const std::string got = colon == std::string::npos ? "one without a scheme" : "scheme '" + Printable(scheme) + "'";
  return Fail(ErrorCode::kInvalidArgument, "store URL: wanted sqlite:PATH, such as sqlite:/var/lib/earmark/store.db, got " + got);
}

}  // namespace

Result<std::unique_ptr<Store>> OpenStore(const std::string& url, OpenMode mode) {
  if (!url.starts_with(kSqlitePrefix)) return RefuseUrl(url);
  return OpenSqliteStore(url.substr(kSqlitePrefix.size()), mode, kBusyTimeout);
}

}  // namespace earmark
