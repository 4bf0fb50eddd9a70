// What statements return.
#pragma once

#include <absl/status/status.h>
#include <absl/time/time.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libs/pg/value.h"

struct pg_result;  // libpq's PGresult

namespace aima::pg {

// SQLSTATE of an error of the server, such as 23505 for a unique violation; empty for other errors.
std::string SqlState(const absl::Status& status);
inline constexpr std::string_view kUniqueViolation = "23505";

// One row. Valid while its Result lives.
class Row {
 public:
  Row(const pg_result* result, int row) : result_(result), row_(row) {}

  bool IsNull(int column) const;
  // The value of a column, as T: bool, int, int64_t, double, std::string, Bytes, absl::Time,
  // std::vector<std::string>, or std::optional of these. NULL is the empty value of T.
  template <class T>
  T Get(int column) const;

 private:
  std::string_view Text(int column) const;
  const pg_result* result_;
  int row_;
};

// The rows of one statement. Movable.
class Result {
 public:
  Result() = default;
  explicit Result(pg_result* owned);

  int size() const;      // rows returned
  bool empty() const { return size() == 0; }
  int affected() const;  // rows inserted, updated or deleted
  Row operator[](int row) const { return Row(result_.get(), row); }

 private:
  std::shared_ptr<pg_result> result_;
};

}  // namespace aima::pg
