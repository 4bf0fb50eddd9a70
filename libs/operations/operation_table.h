// Operations in PostgreSQL.
#pragma once

#include <absl/status/statusor.h>

#include <string>
#include <vector>

#include "libs/base/call_context.h"
#include "libs/base/task.h"
#include "libs/operations/operation.h"
#include "libs/pg/database.h"

namespace aima::operations {

// Which operations a list shows.
struct Filter {
  std::optional<std::string> principal;
  std::optional<State> state;
  std::string unit;    // empty: all
  std::string after;  // those that come after this id; empty: from the first on
  bool oldest_first = false;
  int limit = 100;
};

// The table of libs/operations/migrations in the schema of `db`. What a process writes about an operation takes effect
// only while it holds its newest term.
class OperationTable {
 public:
  // Leases are taken in the name of `owner`, for `lease`.
  OperationTable(pg::Database& db, std::string owner, absl::Duration lease)
      : db_(db), owner_(std::move(owner)), lease_(lease) {}

  // Records `operation`, and where it is running takes its lease. Of several with the same principal, unit and key only
  // the first is recorded: false for the others.
  Task<absl::StatusOr<bool>> Insert(const CallContext& call, Operation& operation);

  Task<absl::StatusOr<std::optional<Operation>>> Find(const CallContext& call, const std::string& id,
                                                      bool with_result = true);
  Task<absl::StatusOr<std::optional<Operation>>> FindByKey(const CallContext& call, const Operation& like);
  // Without input and result.
  Task<absl::StatusOr<std::vector<Operation>>> List(const CallContext& call, const Filter& filter);
  struct Active {
    int64_t all = 0;
    int64_t of_principal = 0;
  };
  Task<absl::StatusOr<Active>> CountActive(const CallContext& call, const std::string& principal);

  // True if there may be something to claim. Costs far less than Claim.
  Task<absl::StatusOr<bool>> AnyToClaim(const CallContext& call);
  // Takes over operations that nobody holds, the oldest first; with `inherit`, also those that an earlier process of this
  // owner held. They are running then, in a new term.
  Task<absl::StatusOr<std::vector<Operation>>> Claim(const CallContext& call, bool inherit, int limit);

  // What is still held of these, with its term and whether its end was asked for.
  struct Held {
    std::string id;
    int64_t term = 0;
    bool cancel_requested = false;
  };
  Task<absl::StatusOr<std::vector<Held>>> Renew(const CallContext& call, const std::vector<std::string>& ids);
  // Lets others take them at once.
  Task<absl::Status> GiveBack(const CallContext& call, const std::vector<std::string>& ids);

  // Writes how far the operation is.
  Task<absl::Status> SaveProgress(const CallContext& call, const Operation& operation);
  // Writes how it ended; false if another process has taken it over meanwhile.
  Task<absl::StatusOr<bool>> Finish(const CallContext& call, const Operation& operation);

  // Asks for the operation's end. One that nobody has begun ends at once, with the error `cancelled`.
  Task<absl::Status> RequestCancel(const CallContext& call, const std::string& id, const absl::Status& cancelled);

  // Removes one that has ended, and returns what it was without its input; none if there is none, or it has not ended.
  Task<absl::StatusOr<std::optional<Operation>>> Remove(const CallContext& call, const std::string& id);
  struct Most {
    int64_t of_principal;
    int64_t of_all;
  };
  // Removes what ended longer than `age` ago, and of the rest what is more than `count` or has, with its input and result,
  // more than `bytes`, the oldest first; where all have too much together, of whoever has the most. The newest of each
  // principal stays, however large it is, unless all have too much.
  Task<absl::Status> Forget(const CallContext& call, absl::Duration age, Most count, Most bytes);

 private:
  pg::Database& db_;
  const std::string owner_;
  const absl::Duration lease_;
};

}  // namespace aima::operations
