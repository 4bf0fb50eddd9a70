#include "libs/pg/transaction.h"

#include "libs/errors/errors.h"
#include "libs/pg/sql_status.h"

namespace aima::pg {
namespace {

constexpr Statement kBegin{"begin", "BEGIN"};
constexpr Statement kCommit{"commit", "COMMIT"};
constexpr Statement kRollback{"rollback", "ROLLBACK"};

}  // namespace

LaneTransaction::~LaneTransaction() {
  // The next borrower's statements queue behind this one. On a new connection there is nothing to undo.
  if (begun_ && !ended_) lane_.Post({Operation{kRollback, {}, nullptr}}, epoch_);
}

Task<absl::StatusOr<Result>> LaneTransaction::Query(const Statement& statement, Values values) {
  return Query(Operation{statement, std::move(values), nullptr});
}

Task<absl::StatusOr<Result>> LaneTransaction::Query(Operation operation) {
  if (!failure_.ok()) co_return failure_;
  if (operation.on_commit) on_commit_.push_back(std::move(operation.on_commit));
  if (!operation.statement.sql) co_return Result();
  std::vector<Operation> operations;
  const bool first = !begun_;
  if (first) operations.push_back(Operation{kBegin, {}, nullptr});
  operations.push_back(std::move(operation));
  // A connection that is still being made gets the number after this one.
  if (first) epoch_ = lane_.connected() ? lane_.epoch() : lane_.epoch() + 1;
  begun_ = true;
  Lane::Outcome outcome = co_await lane_.Run(call_, std::move(operations), epoch_);
  if (!outcome.ok()) {
    if (failure_.ok()) failure_ = outcome.status();
    co_return outcome.status();
  }
  co_return std::move(outcome->back());
}

Task<absl::Status> LaneTransaction::Commit() {
  if (!failure_.ok()) co_return failure_;
  if (!begun_) {
    for (auto& notify : on_commit_) notify();
    co_return absl::OkStatus();
  }
  if (!lane_.connected() || lane_.epoch() != epoch_) {
    co_return Unreachable("the connection was lost in the middle of a transaction");
  }
  std::vector<Operation> operations;
  operations.push_back(Operation{kCommit, {}, nullptr});
  Lane::Outcome outcome = co_await lane_.Run(call_, std::move(operations), epoch_);
  if (outcome.ok() && outcome->front().command() != "COMMIT") {
    ended_ = true;
    co_return Error(unit::v1::INTERNAL_ERROR, "the database rolled the transaction back");
  }
  if (!outcome.ok() && !SqlState(outcome.status()).empty()) co_return outcome.status();
  ended_ = outcome.ok();
  for (auto& notify : on_commit_) notify();
  if (outcome.ok()) co_return absl::OkStatus();
  co_return OutcomeUnknown(DetailsOf(outcome.status()).message);
}

}  // namespace aima::pg
