#include "libs/operations/operations.h"

#include <absl/cleanup/cleanup.h>
#include <absl/container/flat_hash_map.h>
#include <absl/strings/str_cat.h>
#include <absl/time/clock.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <limits>

#include "aima/unit/v1/errors.pb.h"
#include "libs/base/ids.h"
#include "libs/base/status_macros.h"
#include "libs/errors/errors.h"
#include "libs/operations/running.h"

namespace aima::operations {

namespace asio = boost::asio;

namespace {

constexpr absl::Duration kIdleTick = absl::Seconds(10);
constexpr absl::Duration kForgetEvery = absl::Minutes(1);
constexpr absl::Duration kLookAgain = absl::Seconds(1);  // at operations that another process runs
constexpr absl::Duration kCancelTime = absl::Seconds(2);
constexpr absl::Duration kReadyTime = absl::Seconds(3);
constexpr char kReady[] = "";  // what waits for the first look at the table; no operation has this id

bool Differs(const Operation& a, const Operation& b) {
  return a.state != b.state || a.progress != b.progress || a.attempts != b.attempts ||
         a.cancel_requested != b.cancel_requested;
}

}  // namespace

Operations::Operations(Loop& loop, pg::Database& db, Caller& caller, Settings settings)
    : loop_(loop),
      caller_(caller),
      settings_(std::move(settings)),
      table_(db, settings_.owner, settings_.lease),
      tick_(loop),
      all_ended_(loop, asio::steady_timer::time_point::max()) {}

Operations::~Operations() = default;

CallContext Operations::OwnCall() const {
  CallContext call;
  call.unit = "operation.run";
  call.request_id = NewId("bg_");
  call.trace_id = call.request_id;
  call.deadline = absl::Now() + absl::Seconds(20);
  return call;
}

Task<void> Operations::Sleep(absl::Duration time) {
  asio::steady_timer timer(loop_, absl::ToChronoMilliseconds(time));
  co_await timer.async_wait(asio::use_awaitable);
}

Task<void> Operations::Run() {
  ticking_ = true;
  absl::Duration pause = settings_.first_pause;
  while (!stopping_) {
    absl::Status status = co_await Renew();
    if (status.ok()) status = co_await TakeUp(/*inherit=*/!ready_);
    if (status.ok() && !ready_) {
      ready_ = true;
      pause = settings_.first_pause;
      Wake(kReady);
    }
    if (status.ok()) co_await ForgetOld();
    absl::Duration wait = runs_.empty() && !waiting_ ? kIdleTick : kIdleTick / 3;
    wait = std::min(wait, settings_.lease / 3);
    if (!status.ok()) {
      wait = std::min(wait, pause);
      pause = std::min(pause * 2, settings_.longest_pause);
    }
    if (stopping_) break;
    tick_.expires_after(absl::ToChronoMilliseconds(wait));
    co_await tick_.async_wait(asio::as_tuple(asio::use_awaitable));
  }
  ticking_ = false;
  if (runs_.empty()) all_ended_.cancel();
}

Task<void> Operations::Stop() {
  stopping_ = true;
  ready_ = false;
  tick_.cancel();
  for (const auto& [id, waiter] : waiters_) {
    waiter->woken = true;
    waiter->timer.cancel();
  }
  std::vector<std::string> ids;
  for (const auto& [id, run] : runs_) ids.push_back(id);
  for (const std::string& id : ids) {
    if (const auto found = runs_.find(id); found != runs_.end()) CancelCall(*std::shared_ptr<Running>(found->second));
  }
  while (ticking_ || !runs_.empty()) {
    all_ended_.expires_at(asio::steady_timer::time_point::max());
    co_await all_ended_.async_wait(asio::as_tuple(asio::use_awaitable));
  }
  // Failing that, they wait for the end of their lease.
  if (!ids.empty()) (co_await table_.GiveBack(OwnCall(), ids)).IgnoreError();
}

// A gateway that has just been started is not a gateway without a database.
Task<absl::Status> Operations::Ready(const CallContext& call) {
  if (ready_) co_return absl::OkStatus();
  Waiter waiter(loop_);
  const auto place = waiters_.emplace(kReady, &waiter);
  absl::Cleanup leave = [&] { waiters_.erase(place); };
  waiter.timer.expires_after(absl::ToChronoMilliseconds(std::max(absl::ZeroDuration(), std::min(kReadyTime, call.TimeLeft()))));
  if (!stopping_) co_await waiter.timer.async_wait(asio::as_tuple(asio::use_awaitable));
  if (ready_) co_return absl::OkStatus();
  co_return Error(unit::v1::UNAVAILABLE, stopping_ ? "this process is stopping"
                                                   : "operations are kept in PostgreSQL, which cannot be reached");
}

Task<absl::StatusOr<Operation>> Operations::Start(const CallContext& call, Operation order) {
  CO_RETURN_IF_ERROR(co_await Ready(call));
  order.id = NewId("op_");
  if (order.idempotency_key.empty()) order.idempotency_key = order.id;
  order.state = running() < settings_.most_running ? State::kRunning : State::kPending;
  if (order.state == State::kPending) {
    CO_ASSIGN_OR_RETURN(const OperationTable::Active active, co_await table_.CountActive(call, order.principal));
    if (active.all >= settings_.most_active) {
      co_return Error(unit::v1::OVERLOADED, absl::StrCat(active.all, " operations are running or waiting"));
    }
    if (active.of_principal >= settings_.most_active_of_principal) {
      co_return Error(unit::v1::OVERLOADED,
                      absl::StrCat(active.of_principal, " operations of yours are running or waiting, which is the most"));
    }
  }
  for (;;) {
    CO_ASSIGN_OR_RETURN(const bool recorded, co_await table_.Insert(call, order));
    if (recorded) break;
    CO_ASSIGN_OR_RETURN(std::optional<Operation> earlier, co_await table_.FindByKey(call, order));
    if (!earlier) continue;  // it was forgotten in between
    if (earlier->input != order.input) {
      co_return Error(unit::v1::IDEMPOTENCY_KEY_REUSED,
                      absl::StrCat("the key '", order.idempotency_key, "' was used for another ", order.unit));
    }
    earlier->repeated = true;
    co_return *std::move(earlier);
  }
  if (order.state == State::kRunning) {
    Launch(order);
  } else {
    waiting_ = true;
  }
  co_return order;
}

Task<absl::Status> Operations::TakeUp(bool inherit) {
  const int free = settings_.most_running - running();
  if (free <= 0) co_return absl::OkStatus();
  const CallContext call = OwnCall();
  if (!inherit) {
    CO_ASSIGN_OR_RETURN(const bool any, co_await table_.AnyToClaim(call));
    waiting_ = any;
    if (!any) co_return absl::OkStatus();
  }
  CO_ASSIGN_OR_RETURN(std::vector<Operation> claimed, co_await table_.Claim(call, inherit, free));
  for (Operation& operation : claimed) {
    if (stopping_) break;  // its lease runs out
    // A lease of our own that ran out while the database was away: what is in hand goes on, in the new term.
    if (const auto found = runs_.find(operation.id); found != runs_.end()) {
      found->second->operation.term = operation.term;
      continue;
    }
    if (operation.attempts > 1) {
      spdlog::info("operation {} of {} is taken up again: attempt={} trace={}", operation.id, operation.unit,
                   operation.attempts, operation.trace_id);
    }
    Launch(std::move(operation));
  }
  co_return absl::OkStatus();
}

Task<absl::Status> Operations::Renew() {
  std::vector<std::shared_ptr<Running>> asked;
  std::vector<std::string> ids;
  for (const auto& [id, run] : runs_) {
    if (!run->calling) continue;
    asked.push_back(run);
    ids.push_back(id);
  }
  if (asked.empty()) co_return absl::OkStatus();
  const CallContext call = OwnCall();
  CO_ASSIGN_OR_RETURN(const std::vector<OperationTable::Held> renewed, co_await table_.Renew(call, ids));
  absl::flat_hash_map<std::string, const OperationTable::Held*> held;
  for (const OperationTable::Held& entry : renewed) held[entry.id] = &entry;
  for (const std::shared_ptr<Running>& run : asked) {
    if (!run->calling) continue;
    const auto found = held.find(run->operation.id);
    if (found == held.end() || found->second->term != run->operation.term) {
      run->lost = true;
      CancelCall(*run);
    } else if (found->second->cancel_requested && !run->operation.cancel_requested) {
      run->operation.cancel_requested = true;
      CancelCall(*run);
    } else if (run->unsaved) {
      run->unsaved = false;
      CO_RETURN_IF_ERROR(co_await table_.SaveProgress(call, run->operation));
    }
  }
  co_return absl::OkStatus();
}

Task<void> Operations::ForgetOld() {
  if (absl::Now() - forgot_ < kForgetEvery) co_return;
  forgot_ = absl::Now();
  const auto most = [this](int64_t of_principal) {
    const int64_t without_overflow = std::numeric_limits<int64_t>::max() / settings_.most_full_principals;
    return OperationTable::Most{of_principal, std::min(of_principal, without_overflow) * settings_.most_full_principals};
  };
  (co_await table_.Forget(OwnCall(), settings_.retention, most(settings_.most_ended_of_principal),
                          most(settings_.most_bytes_of_principal))).IgnoreError();
}

void Operations::CancelCall(Running& run) {
  if (run.calling) run.stop.emit(asio::cancellation_type::terminal);
}

Task<absl::StatusOr<std::optional<Operation>>> Operations::Find(const CallContext& call, const std::string& id,
                                                                bool with_result) {
  CO_RETURN_IF_ERROR(co_await Ready(call));
  CO_ASSIGN_OR_RETURN(std::optional<Operation> operation, co_await table_.Find(call, id, with_result));
  // What runs here is known better than the table tells.
  const auto run = runs_.find(id);
  if (operation && !operation->ended() && run != runs_.end() && !run->second->operation.ended()) {
    operation->progress = run->second->operation.progress;
    operation->attempts = run->second->operation.attempts;
  }
  co_return operation;
}

Task<absl::StatusOr<std::vector<Operation>>> Operations::List(const CallContext& call, const Filter& filter) {
  CO_RETURN_IF_ERROR(co_await Ready(call));
  co_return co_await table_.List(call, filter);
}

Task<absl::StatusOr<std::optional<Operation>>> Operations::Remove(const CallContext& call, const std::string& id) {
  CO_RETURN_IF_ERROR(co_await Ready(call));
  co_return co_await table_.Remove(call, id);
}

Task<absl::StatusOr<std::optional<Operation>>> Operations::Cancel(const CallContext& call, const std::string& id) {
  CO_RETURN_IF_ERROR(co_await Ready(call));
  CO_RETURN_IF_ERROR(co_await table_.RequestCancel(call, id, Cancelled()));
  if (const auto found = runs_.find(id); found != runs_.end()) {
    const std::shared_ptr<Running> run = found->second;
    run->operation.cancel_requested = true;
    CancelCall(*run);
  }
  Wake(id);
  const absl::Time until = std::min(absl::Now() + kCancelTime, call.deadline);
  CO_ASSIGN_OR_RETURN(std::optional<Operation> now, co_await Find(call, id));
  while (now && !now->ended() && absl::Now() < until) {
    const Operation seen = *now;
    CO_ASSIGN_OR_RETURN(now, co_await Change(call, seen, until));
  }
  co_return now;
}

Task<absl::StatusOr<std::optional<Operation>>> Operations::Change(const CallContext& call, const Operation& seen,
                                                                  absl::Time until) {
  Waiter waiter(loop_);
  const auto place = waiters_.emplace(seen.id, &waiter);
  absl::Cleanup leave = [&] { waiters_.erase(place); };
  for (;;) {
    waiter.woken = false;  // what changes while the table is read cuts the wait short
    CO_ASSIGN_OR_RETURN(std::optional<Operation> now, co_await Find(call, seen.id));
    const absl::Duration left = until - absl::Now();
    if (!now || Differs(*now, seen) || left <= absl::ZeroDuration()) co_return now;
    if (stopping_) co_return Error(unit::v1::UNAVAILABLE, "the process that waits is stopping");
    if (waiter.woken) continue;
    const bool here = runs_.count(seen.id) > 0;
    waiter.timer.expires_after(absl::ToChronoMilliseconds(here ? left : std::min(left, kLookAgain)) +
                               std::chrono::milliseconds(1));
    co_await waiter.timer.async_wait(asio::as_tuple(asio::use_awaitable));
  }
}

void Operations::Wake(const std::string& id) {
  const auto [begin, end] = waiters_.equal_range(id);
  for (auto entry = begin; entry != end; ++entry) {
    entry->second->woken = true;
    entry->second->timer.cancel();
  }
}

}  // namespace aima::operations
