// PostgreSQL for coroutines: asynchronous, pipelined libpq on the process's event loop.
#pragma once

#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "libs/base/call_context.h"
#include "libs/base/task.h"
#include "libs/pg/result.h"
#include "libs/pg/value.h"

namespace aima::pg {

// A query with a name, prepared once per connection. Parameters are $1, $2 …; values never enter the text.
struct Statement {
  const char* name;
  const char* sql;
};

// A statement with its parameters, to be run with others.
struct Operation {
  Statement statement;  // none (sql is nullptr): does nothing and returns an empty Result
  Values values;
  // Called once the transaction may have been committed: after its commit, or when its outcome is unknown.
  std::function<void()> on_commit;
};

// A transaction in hand. Statements run in the order in which they are awaited.
class Transaction {
 public:
  virtual ~Transaction() = default;
  virtual Task<absl::StatusOr<Result>> Query(const Statement& statement, Values values) = 0;
  virtual Task<absl::StatusOr<Result>> Query(Operation operation) = 0;
};

struct Options {
  std::string url;     // libpq connection string
  std::string schema;  // made if missing, and the only entry of search_path
  int transaction_connections = 2;
  // A statement that runs longer is cancelled by the server.
  absl::Duration statement_timeout = absl::Seconds(30);
  // Accept a server that may lose or tear committed data (fsync, full_page_writes or synchronous_commit off), or a
  // standby. For tests.
  bool allow_unsafe_server = false;
};

// One database, one schema. Reads share one pipelined connection; writes share another and are committed in
// groups; transactions that must look before they write borrow one of a few connections of their own.
//
// Lost connections come back by themselves. While there is none, calls fail with UNAVAILABLE. A write whose
// connection is lost after it was sent fails with OUTCOME_UNKNOWN: it may have been applied.
//
// A caller that leaves, or whose deadline passes, is answered at once, but a statement that the server has already got
// runs to its end: PostgreSQL's cancel request names a connection, not a statement, and would meet whichever caller's
// statement runs there when it arrives. Those who share the connection wait for it, at most for statement_timeout, and
// for 5 s of that while it waits for a lock.
//
// Errors of the server keep their SQLSTATE (see SqlState in result.h). Not thread-safe: use it on its loop.
class Database {
 public:
  virtual ~Database() = default;

  // Runs one statement outside of any transaction, pipelined with those of other callers. For reads: the server
  // refuses anything else here.
  virtual Task<absl::StatusOr<Result>> Query(const CallContext& call, const Statement& statement, Values values) = 0;

  // Runs all operations in one transaction: either all are applied and durable when this returns, or none.
  // Writes of different callers share a commit; a failing write does not disturb the others.
  virtual Task<absl::StatusOr<std::vector<Result>>> Write(const CallContext& call,
                                                          std::vector<Operation> operations) = 0;

  // Runs `body` in a transaction of its own and commits if it returns OK, else rolls back and returns its error.
  // Runs it again after a deadlock or a serialization failure: it must have no effects of other kinds.
  using Body = std::function<Task<absl::Status>(Transaction&)>;
  virtual Task<absl::Status> Transact(const CallContext& call, Body body) = 0;

  // Applies the files NNNN_what.sql of `directory` that were not yet applied, in order, each in a transaction, one
  // process at a time (advisory lock). Files are known by their set, which is the directory's name (its parent's
  // where that is "migrations"), so that the tables of libs/events and those of a domain live in one schema. An
  // applied file that has changed is an error, and so is a server that is not durable.
  virtual Task<absl::Status> Migrate(const std::string& directory) = 0;

  // True while connected. For health checks.
  virtual bool Connected() const = 0;
};

// Starts connecting and returns at once; waits for nothing.
std::unique_ptr<Database> Open(Loop& loop, Options options);

}  // namespace aima::pg
