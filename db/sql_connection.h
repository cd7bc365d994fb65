// One connection to an SQL engine: the little that the store's SQL needs of SQLite and PostgreSQL, where they agree ($1 parameters, RETURNING,
// ON CONFLICT) and where they do not (row locks).
//
// Read and Write run a body, which may call Execute, Query and Visit, and turn what the engine throws into Errors. They nest: an inner one belongs
// to the transaction of the outer one. For one thread at a time.
#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>
#include <vector>

#include "dsp/core/result.h"

namespace earmark {

// A parameter. Text and bytes are borrowed until the call returns.
using SqlValue = std::variant<std::nullptr_t, std::int64_t, double, std::string_view, std::span<const std::uint8_t>>;
using SqlParameters = std::vector<SqlValue>;

inline SqlValue TextOrNull(std::string_view text) { return text.empty() ? SqlValue(nullptr) : SqlValue(text); }

// Columns count from 0. Valid during the visit.
class SqlRow {
 public:
  virtual ~SqlRow() = default;
  virtual bool IsNull(int column) const = 0;
  virtual std::int64_t Integer(int column) const = 0;
  virtual double Real(int column) const = 0;
  virtual std::string Text(int column) const = 0;  // "" for NULL
  virtual std::vector<std::uint8_t> Bytes(int column) const = 0;
};

class SqlConnection {
 public:
  using RowVisitor = std::function<void(const SqlRow&)>;

  virtual ~SqlConnection() = default;

  // A reading body sees committed data. `doing` completes "cannot ...".
  template <typename Body>
  std::invoke_result_t<const Body&> Read(const std::string& doing, const Body& body) {
    return Run(Access::kRead, doing, body);
  }
  // A writing body's changes are kept if it returns no Error. It may run again where the engine asks for that (deadlock).
  template <typename Body>
  std::invoke_result_t<const Body&> Write(const std::string& doing, const Body& body) {
    return Run(Access::kWrite, doing, body);
  }

  // ---- within a body; these throw what the engine throws
  // The number of rows changed.
  virtual std::int64_t Execute(const std::string& sql, const SqlParameters& parameters) = 0;
  // For few rows: they may be held in memory.
  virtual void Query(const std::string& sql, const SqlParameters& parameters, const RowVisitor& visit) = 0;
  // For many rows: memory does not grow with their number. The visitor may use this connection.
  virtual void Visit(const std::string& sql, const SqlParameters& parameters, const RowVisitor& visit) = 0;
  // Of the engine's clock, which all users of the database share.
  virtual std::int64_t NowUnixUs() = 0;

  // What a SELECT ends with that locks its rows until the end of a Write: waiting for them, or passing over those that others hold.
  virtual const char* lock_rows() const = 0;
  virtual const char* lock_free_rows() const = 0;

 protected:
  enum class Access { kRead, kWrite };
  struct Failure {
    Error error;
    bool may_run_again = false;
  };

 private:
  static constexpr int kMaxAttempts = 5;

  virtual void Begin(Access access) = 0;
  virtual void Commit() = 0;
  virtual void Rollback() noexcept = 0;
  virtual Failure Diagnose(const std::exception_ptr& thrown, const std::string& doing) = 0;

  template <typename Body>
  std::invoke_result_t<const Body&> Run(Access access, const std::string& doing, const Body& body) {
    if (inside_) {
      if (access == Access::kWrite && !writing_)
        return Fail(ErrorCode::kInternal, "cannot " + doing + ": a reader may not write");
      return body();
    }
    writing_ = access == Access::kWrite;
    for (int attempt = 1;; ++attempt) {
      try {
        Begin(access);
        inside_ = true;
        auto result = body();
        inside_ = false;
        if (result) {
          Commit();
        } else {
          Rollback();
        }
        return result;
      } catch (...) {
        inside_ = false;
        const Failure failure = Diagnose(std::current_exception(), doing);
        Rollback();
        if (failure.may_run_again && access == Access::kWrite && attempt < kMaxAttempts) continue;
        return tl::unexpected<Error>(failure.error);
      }
    }
  }

  bool inside_ = false;   // a body runs
  bool writing_ = false;  // … that of a Write
};

}  // namespace earmark
