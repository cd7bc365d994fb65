#include "db/sqlite_connection.h"

#include <SQLiteCpp/SQLiteCpp.h>
#include <sqlite3.h>

#include <optional>
#include <unordered_map>
#include <utility>

#include "db/sqlite_error.h"
#include "db/sqlite_open.h"
#include "db/store_checks.h"
#include "db/text.h"

namespace earmark {
namespace {

// A prepared statement, and at which of its places each parameter stands: SQLite counts $1, $2, … in the order in which they first occur.
struct Prepared {
  Prepared(const SQLite::Database& db, const std::string& sql) : statement(db, sql) {
    for (int number = 1; number <= statement.getBindParameterCount(); ++number) {
      places.push_back(statement.getIndex(("$" + std::to_string(number)).c_str()));
    }
  }

  SQLite::Statement statement;
  std::vector<int> places;
};

class Row final : public SqlRow {
 public:
  explicit Row(const SQLite::Statement& statement) : statement_(statement) {}
  bool IsNull(int column) const override { return statement_.getColumn(column).isNull(); }
  std::int64_t Integer(int column) const override { return statement_.getColumn(column).getInt64(); }
  double Real(int column) const override { return statement_.getColumn(column).getDouble(); }
  std::string Text(int column) const override { return statement_.getColumn(column).getString(); }
  std::vector<std::uint8_t> Bytes(int column) const override {
    const SQLite::Column value = statement_.getColumn(column);
    const auto* const first = static_cast<const std::uint8_t*>(value.getBlob());
    return {first, first + value.getBytes()};
  }

 private:
  const SQLite::Statement& statement_;
};

struct Binder {
  SQLite::Statement& statement;
  int index;

  void operator()(std::nullptr_t) const { statement.bind(index); }
  void operator()(std::int64_t value) const { statement.bind(index, value); }
  void operator()(double value) const { statement.bind(index, value); }
  void operator()(std::string_view text) const { statement.bind(index, std::string(text)); }
  // Never a null pointer, which SQLite would take for NULL.
  void operator()(std::span<const std::uint8_t> bytes) const {
    static const std::uint8_t kNothing = 0;
    statement.bindNoCopy(index, bytes.empty() ? &kNothing : bytes.data(), static_cast<int>(bytes.size()));
  }
};

class SqliteConnection final : public SqlConnection {
 public:
  SqliteConnection(SQLite::Database db, std::string path) : db_(std::move(db)), path_(std::move(path)) {}

  std::int64_t Execute(const std::string& sql, const SqlParameters& parameters) override {
    Use use(*this, sql, parameters);
    use.statement().exec();
    return db_.getChanges();
  }

  void Query(const std::string& sql, const SqlParameters& parameters, const RowVisitor& visit) override {
    Visit(sql, parameters, visit);
  }

  void Visit(const std::string& sql, const SqlParameters& parameters, const RowVisitor& visit) override {
    Use use(*this, sql, parameters);
    const Row row(use.statement());
    while (use.statement().executeStep()) visit(row);
  }

  std::int64_t NowUnixUs() override {
    const auto since_epoch = std::chrono::system_clock::now().time_since_epoch();
    return std::chrono::duration_cast<std::chrono::microseconds>(since_epoch).count();
  }

  // A writing transaction holds the whole database.
  const char* lock_rows() const override { return ""; }
  const char* lock_free_rows() const override { return ""; }

 private:
  // A statement while it is in use, taken out of the kept ones, so that a visitor may run the same SQL again.
  class Use {
   public:
    Use(SqliteConnection& connection, const std::string& sql, const SqlParameters& parameters)
        : connection_(connection), sql_(sql) {
      auto kept = connection.prepared_.extract(sql);
      prepared_ = kept.empty() ? std::make_unique<Prepared>(connection.db_, sql) : std::move(kept.mapped());
      for (std::size_t i = 0; i < prepared_->places.size(); ++i) {
        std::visit(Binder{prepared_->statement, prepared_->places[i]}, parameters.at(i));
      }
    }
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;
    ~Use() {
      if (prepared_->statement.tryReset() == SQLITE_OK && connection_.prepared_.size() < kMaxKept) {
        connection_.prepared_.emplace(sql_, std::move(prepared_));
      }
    }
    SQLite::Statement& statement() { return prepared_->statement; }

   private:
    SqliteConnection& connection_;
    std::string sql_;
    std::unique_ptr<Prepared> prepared_;
  };
  static constexpr std::size_t kMaxKept = 128;

  // A writer takes the write lock at once: a transaction that began as a reader could not wait for another writer to finish. A reader needs no
  // transaction: each of its statements sees one moment.
  void Begin(Access access) override {
    if (access == Access::kWrite) transaction_.emplace(db_, SQLite::TransactionBehavior::IMMEDIATE);
  }
  void Commit() override {
    if (transaction_) transaction_->commit();
    transaction_.reset();
  }
  void Rollback() noexcept override { transaction_.reset(); }

  Failure Diagnose(const std::exception_ptr& thrown, const std::string& doing) override {
    const auto rethrow = [&]() -> Result<void> { std::rethrow_exception(thrown); };
    return {.error = CatchSqlite(
                         doing + " in the store " + path_, [this] { return SystemErrnoOf(db_); }, rethrow)
                         .error()};
  }

  SQLite::Database db_;
  std::string path_;  // for messages
  std::unordered_map<std::string, std::unique_ptr<Prepared>> prepared_;
  std::optional<SQLite::Transaction> transaction_;
};

}  // namespace

Result<std::unique_ptr<SqlConnection>> ConnectSqlite(const std::string& path, OpenMode mode,
                                                     std::chrono::milliseconds busy_timeout) {
  auto db = OpenSqliteDatabase(path, mode, busy_timeout);
  if (!db) return Pass(db);
  return std::make_unique<SqliteConnection>(*std::move(db), Printable(path));
}

}  // namespace earmark
