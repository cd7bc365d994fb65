// What stands behind WHERE in a query whose filters may be set or not.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "db/sql_connection.h"

namespace earmark {

// Conditions that are set, joined by AND, with their parameters. Text is borrowed until the query has run. For one thread at a time.
class Conditions {
 public:
  // `condition` ends where its parameter stands.
  void Add(std::string_view condition, SqlValue value) { Append(std::string(condition) + Parameter(value)); }
  void AddIf(const std::optional<std::string>& value, std::string_view condition) {
    if (value) Add(condition, std::string_view(*value));
  }
  void Append(const std::string& condition) { text_ += (text_.empty() ? " WHERE " : " AND ") + condition; }
  // What stands for it in the SQL.
  std::string Parameter(SqlValue value) {
    parameters_.push_back(value);
    return "$" + std::to_string(parameters_.size());
  }

  const std::string& text() const { return text_; }
  const SqlParameters& parameters() const { return parameters_; }

 private:
  std::string text_;
  SqlParameters parameters_;
};

}  // namespace earmark
