#include "db/postgres_connection.h"

#include <charconv>
#include <cstdio>
#include <pqxx/pqxx>
#include <unordered_map>
#include <utility>

#include "db/migration.h"
#include "db/store_checks.h"
#include "db/text.h"

namespace earmark {
namespace {

// A parameter in PostgreSQL's text form.
struct Parameter {
  bool is_null = false;
  std::string text;
};

struct ToParameter {
  Parameter operator()(std::nullptr_t) const { return {.is_null = true, .text = {}}; }
  Parameter operator()(std::int64_t value) const { return {.text = std::to_string(value)}; }
  Parameter operator()(double value) const {
    char text[32];
    std::snprintf(text, sizeof text, "%.17g", value);
    return {.text = text};
  }
  Parameter operator()(std::string_view text) const { return {.text = std::string(text)}; }
  Parameter operator()(std::span<const std::uint8_t> bytes) const {
    constexpr char kDigits[] = "0123456789abcdef";
    std::string hex = "\\x";
    hex.reserve(2 + 2 * bytes.size());
    for (const std::uint8_t byte : bytes) {
      hex += kDigits[byte >> 4];
      hex += kDigits[byte & 15];
    }
    return {.text = std::move(hex)};
  }
};

}  // namespace
}  // namespace earmark

namespace pqxx {

// Lets libpqxx send a Parameter.
template <>
struct string_traits<earmark::Parameter> {
  static constexpr const char* name() noexcept { return "parameter"; }
  static constexpr bool has_null() noexcept { return true; }
  static bool is_null(const earmark::Parameter& parameter) { return parameter.is_null; }
  static std::string to_string(const earmark::Parameter& parameter) { return parameter.text; }
};

}  // namespace pqxx

namespace earmark {
namespace {

constexpr int kSchemaLock = 0x4561726D;  // "Earm", as SQLite's application_id
constexpr char kSessionSettings[] = "SET lock_timeout = '10s'; SET client_min_messages = 'warning'";
// Of the catalogue itself: a lookup by name may be answered from memory that is older than a lock just waited for.
constexpr char kHasSchemaTable[] =
    "SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE c.relname = 'earmark_schema' AND n.nspname = current_schema())";
constexpr char kCreateSchemaTable[] =
    "CREATE TABLE earmark_schema (version INTEGER NOT NULL); INSERT INTO earmark_schema VALUES (0)";

class Row final : public SqlRow {
 public:
  explicit Row(const pqxx::row& row) : row_(row) {}
  bool IsNull(int column) const override { return row_[column].is_null(); }
  std::int64_t Integer(int column) const override { return row_[column].as<std::int64_t>(); }
  double Real(int column) const override { return row_[column].as<double>(); }
  std::string Text(int column) const override {
    const pqxx::field field = row_[column];
    return field.is_null() ? std::string() : std::string(field.c_str(), field.size());
  }
  std::vector<std::uint8_t> Bytes(int column) const override {
    if (row_[column].is_null()) return {};
    const pqxx::binarystring bytes(row_[column]);
    return {bytes.begin(), bytes.end()};
  }

 private:
  const pqxx::row& row_;
};

// The first line of what the server or libpq says; what follows may quote rows.
std::string FirstLine(std::string_view message) {
  while (!message.empty() && message.front() == '\n') message.remove_prefix(1);
  const std::string line(message.substr(0, message.find('\n')));
  return Printable(line.starts_with("ERROR:  ") ? line.substr(8) : line);
}

// A server that is not there, or no longer, is noticed within seconds, where the URL does not say otherwise.
std::string WithTimeouts(std::string url) {
  for (const std::string option : {"connect_timeout=5", "tcp_user_timeout=10000"}) {
    if (url.find(option.substr(0, option.find('=') + 1)) != std::string::npos) continue;
    url += (url.find('?') == std::string::npos ? '?' : '&') + option;
  }
  return url;
}

// The one map from SQLSTATEs to our codes: https://www.postgresql.org/docs/15/errcodes-appendix.html
ErrorCode CodeOf(const std::string& state) {
  if (state == "42501" || state.starts_with("28")) return ErrorCode::kPermissionDenied;
  if (state.starts_with("53") || state == "54000") return ErrorCode::kResourceExhausted;
  if (state == "55P03" || state.starts_with("57") || state.starts_with("08")) return ErrorCode::kUnavailable;
  if (state == "XX001" || state == "XX002") return ErrorCode::kDataLoss;
  // a table of ours is there, but not our schema: another program's
  if (state == "42P07") return ErrorCode::kFailedPrecondition;
  return ErrorCode::kInternal;
}

class PostgresConnection final : public SqlConnection {
 public:
  explicit PostgresConnection(std::string url) : url_(std::move(url)), name_(PrintableStoreUrl(url_)) {}

  const std::string& name() const { return name_; }

  std::int64_t Execute(const std::string& sql, const SqlParameters& parameters) override {
    return static_cast<std::int64_t>(Run(sql, parameters).affected_rows());
  }

  void Query(const std::string& sql, const SqlParameters& parameters, const RowVisitor& visit) override {
    VisitRows(Run(sql, parameters), visit);
  }

  void Visit(const std::string& sql, const SqlParameters& parameters, const RowVisitor& visit) override {
    constexpr char kBatch[] = "200";
    const std::string cursor = "earmark_" + std::to_string(++num_cursors_);
    work_->exec_params("DECLARE " + cursor + " NO SCROLL CURSOR FOR " + sql, Dynamic(ToText(parameters)));
    for (;;) {
      const pqxx::result rows = work_->exec("FETCH FORWARD " + std::string(kBatch) + " FROM " + cursor);
      if (rows.empty()) break;
      VisitRows(rows, visit);
    }
    work_->exec("CLOSE " + cursor);
  }

  std::int64_t NowUnixUs() override {
    return work_->exec1("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")[0].as<std::int64_t>();
  }

  const char* lock_rows() const override { return " FOR UPDATE"; }
  const char* lock_free_rows() const override { return " FOR UPDATE SKIP LOCKED"; }

  Result<void> Migrate(OpenMode mode) {
    const int newest = PostgresMigrations().back().version;
    auto seen = ReadSchemaVersion();
    if (!seen) return Pass(seen);
    if (*seen == 0 && mode == OpenMode::kReadWrite) {
      return Fail(ErrorCode::kNotFound,
                  "cannot open the store " + name_ + ": the database has none; `earmark db migrate` makes one");
    }
    if (auto checked = CheckSchemaVersion(*seen, PostgresMigrations(), name_); !checked || *seen == newest) return checked;
    return Write("bring up to date the schema of the store " + name_, [&]() -> Result<void> {
      work_->exec("SELECT pg_advisory_xact_lock(" + std::to_string(kSchemaLock) + ")");  // others wait, and find it done
      const auto version = SchemaVersion();
      if (!version) return Pass(version);
      if (auto checked = CheckSchemaVersion(*version, PostgresMigrations(), name_); !checked) return checked;
      if (!HasSchemaTable()) work_->exec(kCreateSchemaTable);
      for (const Migration& migration : PostgresMigrations()) {
        if (migration.version > *version) work_->exec(migration.sql);
      }
      work_->exec_params("UPDATE earmark_schema SET version = $1", newest);
      return {};
    });
  }

  Result<int> ReadSchemaVersion() {
    return Read("open the store " + name_, [&] { return SchemaVersion(); });
  }

 private:
  static std::vector<Parameter> ToText(const SqlParameters& parameters) {
    std::vector<Parameter> text;
    text.reserve(parameters.size());
    for (const SqlValue& value : parameters) text.push_back(std::visit(ToParameter{}, value));
    return text;
  }

  static pqxx::internal::dynamic_params<std::vector<Parameter>::const_iterator> Dynamic(
      const std::vector<Parameter>& parameters) {
    return pqxx::prepare::make_dynamic_params(parameters.begin(), parameters.end());
  }

  static void VisitRows(const pqxx::result& rows, const RowVisitor& visit) {
    for (const pqxx::row row : rows) visit(Row(row));
  }

  pqxx::result Run(const std::string& sql, const SqlParameters& parameters) {
    const auto [statement, is_new] = prepared_.try_emplace(sql, "earmark_" + std::to_string(prepared_.size()));
    if (is_new) connection_->prepare(statement->second, sql);
    return work_->exec_prepared(statement->second, Dynamic(ToText(parameters)));
  }

  bool HasSchemaTable() { return work_->exec1(kHasSchemaTable)[0].as<bool>(); }
  Result<int> SchemaVersion() {
    if (!HasSchemaTable()) return 0;
    return work_->exec1("SELECT version FROM earmark_schema")[0].as<int>();
  }

  void Connect() {
    work_.reset();
    prepared_.clear();
    connection_ = std::make_unique<pqxx::connection>(url_);
    pqxx::nontransaction(*connection_).exec(kSessionSettings);
  }

  // A connection that was lost while nobody looked is made anew.
  void Begin(Access) override {
    if (!connection_ || !connection_->is_open()) Connect();
    try {
      work_ = std::make_unique<pqxx::work>(*connection_);
    } catch (const pqxx::broken_connection&) {
      Connect();
      work_ = std::make_unique<pqxx::work>(*connection_);
    }
  }

  void Commit() override {
    work_->commit();
    work_.reset();
  }

  void Rollback() noexcept override {
    try {
      work_.reset();
    } catch (...) {
      connection_.reset();
    }
  }

  Failure Diagnose(const std::exception_ptr& thrown, const std::string& doing) override {
    const std::string what = "cannot " + doing + (doing.ends_with(name_) ? "" : " in the store " + name_) + ": ";
    const auto failure = [&](ErrorCode code, std::string_view why) { return Failure{.error = {code, what + FirstLine(why)}}; };
    try {
      std::rethrow_exception(thrown);
    } catch (const pqxx::in_doubt_error&) {
      return failure(ErrorCode::kUnavailable,
                     "the connection was lost while the change was being kept, so it may have happened or not");
    } catch (const pqxx::broken_connection& exception) {
      connection_.reset();
      return Failure{.error = {ErrorCode::kUnavailable, what + FirstLine(exception.what())}, .may_run_again = true};
    } catch (const pqxx::transaction_rollback& exception) {
      return Failure{.error = {ErrorCode::kUnavailable, what + FirstLine(exception.what())}, .may_run_again = true};
    } catch (const pqxx::sql_error& exception) {
      return failure(CodeOf(exception.sqlstate()), exception.what());
    } catch (const std::bad_alloc&) {
      return failure(ErrorCode::kResourceExhausted, "out of memory");
    } catch (const std::exception& exception) {
      return failure(ErrorCode::kInternal, exception.what());
    } catch (...) {
      return failure(ErrorCode::kInternal, "unknown exception");
    }
  }

  std::string url_;
  std::string name_;  // for messages
  std::unique_ptr<pqxx::connection> connection_;
  std::unique_ptr<pqxx::work> work_;
  std::unordered_map<std::string, std::string> prepared_;  // by SQL
  std::int64_t num_cursors_ = 0;
};

}  // namespace

Result<std::unique_ptr<SqlConnection>> ConnectPostgres(const std::string& url, OpenMode mode) {
  auto connection = std::make_unique<PostgresConnection>(WithTimeouts(url));
  if (auto migrated = connection->Migrate(mode); !migrated) return Pass(migrated);
  return connection;
}

Result<int> PostgresSchemaVersion(const std::string& url) { return PostgresConnection(url).ReadSchemaVersion(); }

}  // namespace earmark
