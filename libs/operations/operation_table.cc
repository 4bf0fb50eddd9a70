#include "libs/operations/operation_table.h"

#include <absl/strings/str_cat.h>

#include <utility>

#include "libs/base/status_macros.h"
#include "libs/errors/errors.h"

namespace aima::operations {
namespace {

#define OPERATION_BRIEF                                                                                             \
  "id, unit, principal, role, trace_id, idempotency_key, state, attempts, progress, error_code, error_message, "     \
  "error_details, cancel_requested, term, created, started, finished, deadline"
#define OPERATION_COLUMNS OPERATION_BRIEF ", input, result"
#define LEASE "now() + make_interval(secs => "

constexpr pg::Statement kInsertRunning = {
    "operation_insert_running",
    "INSERT INTO operation (id, unit, input, principal, role, trace_id, idempotency_key, deadline, state, attempts, "
    "owner, lease_until, term, started) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'running', 1, $9, " LEASE "$10), 1, "
    "now()) ON CONFLICT (principal, unit, idempotency_key) DO NOTHING RETURNING created"};
constexpr pg::Statement kInsertPending = {
    "operation_insert_pending",
    "INSERT INTO operation (id, unit, input, principal, role, trace_id, idempotency_key, deadline, state, attempts, "
    "lease_until, term) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'pending', 0, '-infinity', 0) "
    "ON CONFLICT (principal, unit, idempotency_key) DO NOTHING RETURNING created"};
constexpr pg::Statement kFind = {"operation_find", "SELECT " OPERATION_COLUMNS " FROM operation WHERE id = $1"};
constexpr pg::Statement kFindWithoutResult = {
    "operation_find_without_result", "SELECT " OPERATION_BRIEF ", input, NULL::bytea FROM operation WHERE id = $1"};
constexpr pg::Statement kFindByKey = {
    "operation_find_by_key", "SELECT " OPERATION_COLUMNS
                             " FROM operation WHERE principal = $1 AND unit = $2 AND idempotency_key = $3"};
#define LISTED                                                                                                      \
  " FROM operation WHERE ($1::text IS NULL OR principal = $1) AND ($2::text IS NULL OR state = $2) AND ($3 = '' OR " \
  "unit = $3) AND ($4 = '' OR id "
constexpr pg::Statement kList = {"operation_list",
                                 "SELECT " OPERATION_BRIEF LISTED "< $4) ORDER BY id DESC LIMIT $5::bigint"};
constexpr pg::Statement kListOldest = {"operation_list_oldest",
                                       "SELECT " OPERATION_BRIEF LISTED "> $4) ORDER BY id LIMIT $5::bigint"};
constexpr pg::Statement kCountActive = {
    "operation_count_active",
    "SELECT count(*), count(*) FILTER (WHERE principal = $1) FROM operation WHERE finished IS NULL"};
constexpr pg::Statement kAnyToClaim = {
    "operation_any_to_claim",
    "SELECT EXISTS (SELECT FROM operation WHERE finished IS NULL AND lease_until < now())"};
constexpr pg::Statement kClaim = {
    "operation_claim",
    "UPDATE operation SET owner = $1, lease_until = " LEASE "$2), term = term + 1, attempts = attempts + 1, "
    "state = 'running', started = coalesce(started, now()) WHERE id IN (SELECT id FROM operation "
    "WHERE finished IS NULL AND (lease_until < now() OR ($3::boolean AND owner = $1)) "
    "ORDER BY id LIMIT $4::bigint FOR UPDATE SKIP LOCKED) RETURNING " OPERATION_COLUMNS};
constexpr pg::Statement kRenew = {
    "operation_renew", "UPDATE operation SET lease_until = " LEASE
                       "$2) WHERE id = ANY($3::text[]) AND owner = $1 AND finished IS NULL "
                       "RETURNING id, term, cancel_requested"};
constexpr pg::Statement kGiveBack = {
    "operation_give_back", "UPDATE operation SET lease_until = '-infinity' WHERE id = ANY($2::text[]) AND owner = $1 "
                           "AND finished IS NULL"};
constexpr pg::Statement kSaveProgress = {
    "operation_save_progress",
    "UPDATE operation SET attempts = $3, progress = $4 WHERE id = $1 AND term = $2 AND finished IS NULL"};
constexpr pg::Statement kFinish = {
    "operation_finish",
    "UPDATE operation SET state = $3, attempts = $4, progress = $5, result = $6, error_code = $7, error_message = $8, "
    "error_details = $9, finished = now(), owner = NULL WHERE id = $1 AND term = $2 AND finished IS NULL"};
constexpr pg::Statement kRequestCancel = {
    "operation_request_cancel", "UPDATE operation SET cancel_requested = true WHERE id = $1 AND finished IS NULL"};
constexpr pg::Statement kCancelPending = {
    "operation_cancel_pending",
    "UPDATE operation SET state = 'cancelled', finished = now(), error_code = $2, error_message = $3, "
    "error_details = $4 WHERE id = $1 AND state = 'pending'"};
// What is long is not read only to be thrown away.
constexpr pg::Statement kRemove = {"operation_remove",
                                   "DELETE FROM operation WHERE id = $1 AND finished IS NOT NULL RETURNING " OPERATION_BRIEF
                                   ", NULL::bytea, CASE WHEN octet_length(result) <= $2::bigint THEN result END"};
constexpr pg::Statement kForgetOld = {
    "operation_forget_old", "DELETE FROM operation WHERE finished < now() - make_interval(secs => $1)"};
// Of all that are too many together, those go first that have the most newer ones of their own principal.
constexpr pg::Statement kForgetMany = {
    "operation_forget_many",
    "DELETE FROM operation WHERE id IN (SELECT id FROM (SELECT id, place, row_number() OVER (ORDER BY place, finished DESC, "
    "id DESC) AS place_of_all FROM (SELECT id, finished, row_number() OVER (PARTITION BY principal ORDER BY finished DESC, "
    "id DESC) AS place FROM operation WHERE finished IS NOT NULL) ended) places WHERE place > $1::bigint OR place_of_all > "
    "$2::bigint)"};

// Lengths are known without reading what is long.
constexpr pg::Statement kForgetLarge = {
    "operation_forget_large",
    "DELETE FROM operation WHERE id IN (SELECT id FROM (SELECT id, bytes, place, sum(size) OVER (ORDER BY bytes, finished DESC, "
    "id DESC) AS bytes_of_all FROM (SELECT id, finished, size, sum(size) OVER newer AS bytes, row_number() OVER newer AS place "
    "FROM (SELECT id, principal, finished, octet_length(input) + coalesce(octet_length(result), 0)::bigint AS size FROM operation "
    "WHERE finished IS NOT NULL) ended WINDOW newer AS (PARTITION BY principal ORDER BY finished DESC, id DESC)) sums) places "
    "WHERE (bytes > $1::bigint AND place > 1) OR bytes_of_all > $2::bigint)"};

std::optional<pg::Bytes> BytesOf(const std::string& data) {
  if (data.empty()) return std::nullopt;
  return pg::Bytes{data};
}

// Texts of errors come from anywhere and need not be UTF-8, hence bytes.
pg::Bytes MessageOf(const absl::Status& status) { return {std::string(status.message())}; }
pg::Bytes DetailBytesOf(const absl::Status& status) { return {SerializeDetails(status)}; }

// The columns of OPERATION_BRIEF.
Operation BriefOf(const pg::Row& row) {
  Operation operation;
  operation.id = row.Get<std::string>(0);
  operation.unit = row.Get<std::string>(1);
  operation.principal = row.Get<std::string>(2);
  operation.role = row.Get<std::string>(3);
  operation.trace_id = row.Get<std::string>(4);
  operation.idempotency_key = row.Get<std::string>(5);
  operation.state = StateOf(row.Get<std::string>(6));
  operation.attempts = row.Get<int>(7);
  operation.progress = row.Get<pg::Bytes>(8).data;
  if (const int code = row.Get<int>(9); code != 0) {
    operation.error = StatusFromWire(code, row.Get<pg::Bytes>(10).data, row.Get<pg::Bytes>(11).data);
  }
  operation.cancel_requested = row.Get<bool>(12);
  operation.term = row.Get<int64_t>(13);
  operation.created = row.Get<absl::Time>(14);
  operation.started = row.Get<std::optional<absl::Time>>(15);
  operation.finished = row.Get<std::optional<absl::Time>>(16);
  operation.deadline = row.Get<absl::Time>(17);
  return operation;
}

// The columns of OPERATION_COLUMNS.
Operation OperationOf(const pg::Row& row) {
  Operation operation = BriefOf(row);
  operation.input = row.Get<pg::Bytes>(18).data;
  operation.result = row.Get<pg::Bytes>(19).data;
  return operation;
}

std::optional<Operation> FirstOf(const pg::Result& rows) {
  if (rows.empty()) return std::nullopt;
  return OperationOf(rows[0]);
}

constexpr std::pair<State, std::string_view> kNames[] = {
    {State::kPending, "pending"}, {State::kRunning, "running"},     {State::kSucceeded, "succeeded"},
    {State::kFailed, "failed"},   {State::kCancelled, "cancelled"}, {State::kUnknown, "unknown"}};

}  // namespace

std::string_view NameOf(State state) {
  for (const auto& [value, name] : kNames) {
    if (value == state) return name;
  }
  return "";
}

State StateOf(std::string_view name) {
  for (const auto& [value, known] : kNames) {
    if (known == name) return value;
  }
  return State::kUnknown;
}

Task<absl::StatusOr<bool>> OperationTable::Insert(const CallContext& call, Operation& operation) {
  const bool running = operation.state == State::kRunning;
  pg::Values values = {operation.id,       operation.unit,     pg::Bytes{operation.input}, operation.principal,
                       operation.role,     operation.trace_id, operation.idempotency_key,  operation.deadline};
  if (running) {
    values.push_back(owner_);
    values.push_back(absl::ToDoubleSeconds(lease_));
  }
  std::vector<pg::Operation> writes;
  writes.push_back({running ? kInsertRunning : kInsertPending, std::move(values), nullptr});
  CO_ASSIGN_OR_RETURN(const std::vector<pg::Result> results, co_await db_.Write(call, std::move(writes)));
  if (results[0].empty()) co_return false;
  operation.created = results[0][0].Get<absl::Time>(0);
  operation.term = running ? 1 : 0;
  operation.attempts = running ? 1 : 0;
  if (running) operation.started = operation.created;
  co_return true;
}

Task<absl::StatusOr<std::optional<Operation>>> OperationTable::Find(const CallContext& call, const std::string& id,
                                                                    bool with_result) {
  const pg::Statement& find = with_result ? kFind : kFindWithoutResult;
  CO_ASSIGN_OR_RETURN(const pg::Result rows, co_await db_.Query(call, find, {id}));
  co_return FirstOf(rows);
}

Task<absl::StatusOr<std::optional<Operation>>> OperationTable::FindByKey(const CallContext& call,
                                                                         const Operation& like) {
  pg::Values values = {like.principal, like.unit, like.idempotency_key};
  CO_ASSIGN_OR_RETURN(const pg::Result rows, co_await db_.Query(call, kFindByKey, std::move(values)));
  co_return FirstOf(rows);
}

Task<absl::StatusOr<std::vector<Operation>>> OperationTable::List(const CallContext& call, const Filter& filter) {
  std::optional<std::string> state;
  if (filter.state) state = std::string(NameOf(*filter.state));
  pg::Values values = {filter.principal, state, filter.unit, filter.after, filter.limit};
  const pg::Statement& list = filter.oldest_first ? kListOldest : kList;
  CO_ASSIGN_OR_RETURN(const pg::Result rows, co_await db_.Query(call, list, std::move(values)));
  std::vector<Operation> operations;
  for (int i = 0; i < rows.size(); ++i) operations.push_back(BriefOf(rows[i]));
  co_return operations;
}

Task<absl::StatusOr<OperationTable::Active>> OperationTable::CountActive(const CallContext& call,
                                                                         const std::string& principal) {
  const pg::Values values = {principal};
  CO_ASSIGN_OR_RETURN(const pg::Result rows, co_await db_.Query(call, kCountActive, values));
  co_return Active{rows[0].Get<int64_t>(0), rows[0].Get<int64_t>(1)};
}

Task<absl::StatusOr<bool>> OperationTable::AnyToClaim(const CallContext& call) {
  CO_ASSIGN_OR_RETURN(const pg::Result rows, co_await db_.Query(call, kAnyToClaim, {}));
  co_return rows[0].Get<bool>(0);
}

Task<absl::StatusOr<std::vector<Operation>>> OperationTable::Claim(const CallContext& call, bool inherit, int limit) {
  std::vector<pg::Operation> writes;
  writes.push_back({kClaim, {owner_, absl::ToDoubleSeconds(lease_), inherit, limit}, nullptr});
  CO_ASSIGN_OR_RETURN(const std::vector<pg::Result> results, co_await db_.Write(call, std::move(writes)));
  std::vector<Operation> claimed;
  for (int i = 0; i < results[0].size(); ++i) claimed.push_back(OperationOf(results[0][i]));
  co_return claimed;
}

Task<absl::StatusOr<std::vector<OperationTable::Held>>> OperationTable::Renew(const CallContext& call,
                                                                              const std::vector<std::string>& ids) {
  std::vector<pg::Operation> writes;
  writes.push_back({kRenew, {owner_, absl::ToDoubleSeconds(lease_), ids}, nullptr});
  CO_ASSIGN_OR_RETURN(const std::vector<pg::Result> results, co_await db_.Write(call, std::move(writes)));
  std::vector<Held> held;
  for (int i = 0; i < results[0].size(); ++i) {
    const pg::Row row = results[0][i];
    held.push_back({row.Get<std::string>(0), row.Get<int64_t>(1), row.Get<bool>(2)});
  }
  co_return held;
}

Task<absl::Status> OperationTable::GiveBack(const CallContext& call, const std::vector<std::string>& ids) {
  std::vector<pg::Operation> writes;
  writes.push_back({kGiveBack, {owner_, ids}, nullptr});
  co_return (co_await db_.Write(call, std::move(writes))).status();
}

Task<absl::Status> OperationTable::SaveProgress(const CallContext& call, const Operation& operation) {
  std::vector<pg::Operation> writes;
  writes.push_back(
      {kSaveProgress, {operation.id, operation.term, operation.attempts, BytesOf(operation.progress)}, nullptr});
  co_return (co_await db_.Write(call, std::move(writes))).status();
}

Task<absl::StatusOr<bool>> OperationTable::Finish(const CallContext& call, const Operation& operation) {
  pg::Values values = {operation.id, operation.term, NameOf(operation.state), operation.attempts,
                       BytesOf(operation.progress)};
  if (operation.state == State::kSucceeded) {
    values.push_back(pg::Bytes{operation.result});
  } else {
    values.push_back(nullptr);
  }
  values.push_back(static_cast<int>(operation.error.code()));
  values.push_back(MessageOf(operation.error));
  values.push_back(DetailBytesOf(operation.error));
  std::vector<pg::Operation> writes;
  writes.push_back({kFinish, std::move(values), nullptr});
  CO_ASSIGN_OR_RETURN(const std::vector<pg::Result> results, co_await db_.Write(call, std::move(writes)));
  co_return results[0].affected() == 1;
}

Task<absl::Status> OperationTable::RequestCancel(const CallContext& call, const std::string& id,
                                                 const absl::Status& cancelled) {
  std::vector<pg::Operation> writes;
  writes.push_back({kRequestCancel, {id}, nullptr});
  writes.push_back(
      {kCancelPending, {id, static_cast<int>(cancelled.code()), MessageOf(cancelled), DetailBytesOf(cancelled)}, nullptr});
  co_return (co_await db_.Write(call, std::move(writes))).status();
}

Task<absl::StatusOr<std::optional<Operation>>> OperationTable::Remove(const CallContext& call, const std::string& id) {
  std::vector<pg::Operation> writes;
  writes.push_back({kRemove, {id, kShortResult}, nullptr});
  CO_ASSIGN_OR_RETURN(const std::vector<pg::Result> results, co_await db_.Write(call, std::move(writes)));
  co_return FirstOf(results[0]);
}

Task<absl::Status> OperationTable::Forget(const CallContext& call, absl::Duration age, Most count, Most bytes) {
  std::vector<pg::Operation> writes;
  writes.push_back({kForgetOld, {absl::ToDoubleSeconds(age)}, nullptr});
  writes.push_back({kForgetMany, {count.of_principal, count.of_all}, nullptr});
  writes.push_back({kForgetLarge, {bytes.of_principal, bytes.of_all}, nullptr});
  co_return (co_await db_.Write(call, std::move(writes))).status();
}

}  // namespace aima::operations
