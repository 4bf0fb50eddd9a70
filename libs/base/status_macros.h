// Early returns for absl::Status, in functions and in coroutines.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#define AIMA_CONCAT_(a, b) a##b
#define AIMA_CONCAT(a, b) AIMA_CONCAT_(a, b)

// Returns from the function if `expression` is not OK.
#define RETURN_IF_ERROR(expression)                              \
  do {                                                           \
    if (absl::Status status_ = (expression); !status_.ok()) {    \
      return status_;                                            \
    }                                                            \
  } while (false)

// Assigns the value of a StatusOr to `target`, or returns its error.
#define ASSIGN_OR_RETURN(target, expression) \
  AIMA_ASSIGN_OR_RETURN_(AIMA_CONCAT(statusor_, __LINE__), target, expression, return)

// The same two, in coroutines; `expression` may contain co_await.
#define CO_RETURN_IF_ERROR(expression)                           \
  do {                                                           \
    if (absl::Status status_ = (expression); !status_.ok()) {    \
      co_return status_;                                         \
    }                                                            \
  } while (false)

#define CO_ASSIGN_OR_RETURN(target, expression) \
  AIMA_ASSIGN_OR_RETURN_(AIMA_CONCAT(statusor_, __LINE__), target, expression, co_return)

#define AIMA_ASSIGN_OR_RETURN_(holder, target, expression, leave) \
  auto holder = (expression);                                     \
  if (!holder.ok()) {                                             \
    leave std::move(holder).status();                             \
  }                                                               \
  target = *std::move(holder)
