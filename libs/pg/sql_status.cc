#include "libs/pg/sql_status.h"

#include <absl/strings/cord.h>
#include <absl/strings/str_cat.h>
#include <libpq-fe.h>

#include "libs/errors/errors.h"
#include "libs/pg/result.h"

namespace aima::pg {
namespace {

constexpr char kSqlStateUrl[] = "aima/sqlstate";

absl::string_view View(std::string_view text) { return {text.data(), text.size()}; }

}  // namespace

std::string SqlState(const absl::Status& status) {
  auto payload = status.GetPayload(kSqlStateUrl);
  return payload ? std::string(*payload) : std::string();
}

absl::Status StatusOf(const pg_result* result, std::string_view statement) {
  const char* field = PQresultErrorField(result, PG_DIAG_SQLSTATE);
  const std::string state = field ? field : "";
  const char* primary = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
  const std::string message =
      absl::StrCat("database, in ", View(statement), ": ", primary ? primary : "error", " [", state, "]");
  absl::Status status;
  if (state == "57014") {  // query_canceled, which is what statement_timeout does
    status = Error(unit::v1::DEADLINE_EXCEEDED, message);
  } else if (state.substr(0, 2) == "08" || state.substr(0, 2) == "53" || state.substr(0, 2) == "57" ||
             state == "55P03" || state == "40001" || state == "40P01") {
    status = Error(unit::v1::UNAVAILABLE, message);
  } else {
    status = Error(unit::v1::INTERNAL_ERROR, message);
  }
  if (!state.empty()) status.SetPayload(kSqlStateUrl, absl::Cord(state));
  return status;
}

absl::Status Unreachable(std::string_view why) {
  return Error(unit::v1::UNAVAILABLE, absl::StrCat("the database cannot be reached: ", View(why)));
}

absl::Status OutcomeUnknown(std::string_view why) {
  return Error(unit::v1::OUTCOME_UNKNOWN,
               absl::StrCat("whether the change was applied is not known: ", View(why)));
}

absl::Status TooLate(std::string_view what) {
  return Error(unit::v1::DEADLINE_EXCEEDED, absl::StrCat("the deadline passed while ", View(what)));
}

bool IsConflict(const absl::Status& status) {
  const std::string state = SqlState(status);
  return state == "40001" || state == "40P01";
}

}  // namespace aima::pg
