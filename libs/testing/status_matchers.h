// gmock matchers for absl::Status and StatusOr.
#pragma once

#include <gmock/gmock.h>

#include <string>

#include "libs/errors/errors.h"

namespace aima::testing {

inline const absl::Status& StatusOf(const absl::Status& status) { return status; }
template <class T>
const absl::Status& StatusOf(const absl::StatusOr<T>& result) {
  return result.status();
}

// OK, be it a Status or a StatusOr.
MATCHER(IsOk, negation ? "is an error" : "is OK") {
  *result_listener << StatusOf(arg).ToString();
  return StatusOf(arg).ok();
}

// Fails with a declared reason, and its message contains `text`.
MATCHER_P2(FailsWith, reason, text, "") {
  *result_listener << StatusOf(arg).ToString();
  return HasReason(StatusOf(arg), reason) && std::string(StatusOf(arg).message()).find(text) != std::string::npos;
}

}  // namespace aima::testing
