// Unit calls that outlive their callers, the process that makes them, and the process that serves them.
#pragma once

#include <absl/status/statusor.h>

#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "libs/base/call_context.h"
#include "libs/base/task.h"
#include "libs/operations/operation.h"
#include "libs/operations/operation_table.h"
#include "libs/pg/database.h"

namespace aima::operations {

// Makes the calls of operations. Called on the loop.
class Caller {
 public:
  virtual ~Caller() = default;

  // Calls the operation's unit once, under its idempotency key, and returns the output. Hands on what the unit tells
  // about its progress, if it tells.
  using Tell = std::function<void(std::string progress)>;
  virtual Task<absl::StatusOr<std::string>> Call(CallContext call, const Operation& operation, Tell tell) = 0;

  // True if the unit is a command: then a call without an answer may have taken effect.
  virtual bool Changes(const std::string& unit) const = 0;
};

struct Settings {
  std::string owner;                             // Owner::name
  absl::Duration lease = absl::Seconds(10);      // others take over after the death of a process, this late at most
  absl::Duration first_pause = absl::Milliseconds(100);  // before a call is made again; doubles up to longest_pause
  absl::Duration longest_pause = absl::Seconds(5);
  int most_running = 100;                        // by this process; more wait
  int most_active = 1000;                        // running and waiting; more are refused
  int most_active_of_principal = 250;            // where not all can run at once: nobody takes the places of everybody
  absl::Duration retention = absl::Hours(24);    // of those that have ended
  int64_t most_ended_of_principal = 10'000;      // the newest stay
  int64_t most_bytes_of_principal = 1 << 30;     // inputs and results of those that have ended; the newest stay
  int64_t most_full_principals = 10;             // all together keep what so many do that have the most they may
};

// Records operations, runs them, and tells about them. A unit whose service cannot be reached, or whose answer got lost,
// is called again under the same key until the operation's deadline: services apply a keyed command once. What is not
// known then is kUnknown, and never kFailed. Several processes may share a table; each operation is run by one of them.
// Used on the loop.
class Operations {
 public:
  Operations(Loop& loop, pg::Database& db, Caller& caller, Settings settings);
  ~Operations();

  // Takes up what an earlier process of this owner had in hand, then whatever nobody has, and forgets what is old. Runs
  // until Stop. The table must be there. What is asked before the first look waits for it, for a few seconds at most.
  Task<void> Run();

  // Ends what runs here without ending the operations: they go on in another process, or in this one when it is started
  // again.
  Task<void> Stop();

  // Records `order` (id, state and times are set here) and runs it. An earlier one of the same principal, unit and key is
  // returned instead; if that had another input, IDEMPOTENCY_KEY_REUSED. OVERLOADED when too many are active.
  Task<absl::StatusOr<Operation>> Start(const CallContext& call, Operation order);

  // None if there is no such operation. Results may be large: who only looks how far it is leaves them out.
  Task<absl::StatusOr<std::optional<Operation>>> Find(const CallContext& call, const std::string& id,
                                                      bool with_result = true);
  Task<absl::StatusOr<std::vector<Operation>>> List(const CallContext& call, const Filter& filter);

  // Asks for its end, and returns when it has ended or after two seconds.
  Task<absl::StatusOr<std::optional<Operation>>> Cancel(const CallContext& call, const std::string& id);

  // Forgets one that has ended, and returns what it was, with its result if that is at most kShortResult long. None if
  // there is none, or it has not ended.
  Task<absl::StatusOr<std::optional<Operation>>> Remove(const CallContext& call, const std::string& id);

  // Returns the operation once it differs from `seen`, or at `until`. At once if there is none. UNAVAILABLE after Stop.
  Task<absl::StatusOr<std::optional<Operation>>> Change(const CallContext& call, const Operation& seen,
                                                        absl::Time until);

  int running() const { return static_cast<int>(runs_.size()); }

 private:
  struct Running;
  struct Waiter {
    explicit Waiter(Loop& loop) : timer(loop) {}
    boost::asio::steady_timer timer;
    bool woken = false;
  };
  using Outcome = absl::StatusOr<std::string>;

  void Launch(Operation operation);
  Task<Outcome> CallUntilAnswered(std::shared_ptr<Running> run);
  Task<void> Conclude(std::shared_ptr<Running> run, Outcome outcome);
  void Decide(Running& run, Outcome outcome) const;
  void Forget(const std::shared_ptr<Running>& run);

  Task<absl::Status> Ready(const CallContext& call);
  Task<absl::Status> TakeUp(bool inherit);
  Task<absl::Status> Renew();
  Task<void> ForgetOld();
  void CancelCall(Running& run);
  void Wake(const std::string& id);
  Task<void> Sleep(absl::Duration time);
  CallContext OwnCall() const;

  Loop& loop_;
  Caller& caller_;
  const Settings settings_;
  OperationTable table_;
  std::map<std::string, std::shared_ptr<Running>> runs_;  // by operation
  std::multimap<std::string, Waiter*> waiters_;
  boost::asio::steady_timer tick_;
  boost::asio::steady_timer all_ended_;  // never fires; cancelled when the last run is forgotten
  bool ready_ = false;
  bool stopping_ = false;
  bool ticking_ = false;
  bool waiting_ = false;  // some may be pending
  absl::Time forgot_ = absl::InfinitePast();
};

}  // namespace aima::operations
