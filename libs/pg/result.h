// What statements return.
#pragma once

#include <absl/status/status.h>
#include <absl/time/time.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
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
  // The value of a column, as T: bool, int, int64_t, uint64_t, double, std::string, Bytes, absl::Time,
  // std::vector<std::string> (an array of anything, each as text), or std::optional of these. NULL is the empty value
  // of T.
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
  std::string_view command() const;  // what was done, such as "INSERT 0 1"
  Row operator[](int row) const { return Row(result_.get(), row); }

 private:
  std::shared_ptr<pg_result> result_;
};

// Implementation.

namespace internal {
template <class T>
struct OptionalOf : std::false_type {};
template <class T>
struct OptionalOf<std::optional<T>> : std::true_type {
  using Value = T;
};
}  // namespace internal

template <class T>
T Row::Get(int column) const {
  static_assert(internal::OptionalOf<T>::value, "not a type that a column can be read as");
  if (IsNull(column)) return std::nullopt;
  return Get<typename internal::OptionalOf<T>::Value>(column);
}
template <> bool Row::Get<bool>(int column) const;
template <> int Row::Get<int>(int column) const;
template <> int64_t Row::Get<int64_t>(int column) const;
template <> uint64_t Row::Get<uint64_t>(int column) const;
template <> double Row::Get<double>(int column) const;
template <> std::string Row::Get<std::string>(int column) const;
template <> Bytes Row::Get<Bytes>(int column) const;
template <> absl::Time Row::Get<absl::Time>(int column) const;
template <> std::vector<std::string> Row::Get<std::vector<std::string>>(int column) const;

}  // namespace aima::pg
