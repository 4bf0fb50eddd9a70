// Errors of the server and of the connection as statuses.
#pragma once

#include <absl/status/status.h>

#include <string>
#include <string_view>

struct pg_result;  // libpq's PGresult

namespace aima::pg {

// The error that `result` reports about `statement`, with its SQLSTATE.
absl::Status StatusOf(const pg_result* result, std::string_view statement);

// UNAVAILABLE: nothing was applied.
absl::Status Unreachable(std::string_view why);
// OUTCOME_UNKNOWN: it may have been applied.
absl::Status OutcomeUnknown(std::string_view why);
// DEADLINE_EXCEEDED: nothing was applied.
absl::Status TooLate(std::string_view what);

// True for a deadlock or a serialization failure: the same transaction may succeed when it is run again.
bool IsConflict(const absl::Status& status);

}  // namespace aima::pg
