// The call of an operation, from its beginning to what is known about it (operations.h).
#include "libs/operations/running.h"

#include <absl/strings/str_cat.h>
#include <absl/time/clock.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>

#include "aima/unit/v1/errors.pb.h"
#include "libs/base/ids.h"
#include "libs/errors/errors.h"

namespace aima::operations {

namespace asio = boost::asio;

namespace {

// True for failures that say nothing about the unit itself: the same call may succeed later.
bool MayPass(const absl::Status& status) {
  return HasReason(status, unit::v1::UNAVAILABLE) || HasReason(status, unit::v1::OUTCOME_UNKNOWN) ||
         HasReason(status, unit::v1::OVERLOADED) || HasReason(status, unit::v1::CANCELLED);
}

// True if a command that failed like this may have taken effect.
bool LeavesDoubt(const absl::Status& status) {
  return (MayPass(status) && !HasReason(status, unit::v1::OVERLOADED)) || HasReason(status, unit::v1::DEADLINE_EXCEEDED);
}

}  // namespace

absl::Status Cancelled() { return Error(unit::v1::CANCELLED, "the operation was cancelled"); }

void Operations::Launch(Operation operation) {
  auto run = std::make_shared<Running>();
  run->operation = std::move(operation);
  // An earlier process may have called already, and not heard the answer.
  run->doubt = run->operation.attempts > 1;
  runs_[run->operation.id] = run;
  run->calling = true;
  asio::co_spawn(loop_, CallUntilAnswered(run),
                 asio::bind_cancellation_slot(run->stop.slot(), [this, run](std::exception_ptr error, Outcome outcome) {
                   run->calling = false;
                   if (error) outcome = Cancelled();
                   asio::co_spawn(loop_, Conclude(run, std::move(outcome)), asio::detached);
                 }));
}

Task<Operations::Outcome> Operations::CallUntilAnswered(std::shared_ptr<Running> run) {
  Operation& operation = run->operation;
  const Caller::Tell tell = [this, run](std::string progress) {
    run->operation.progress = std::move(progress);
    run->unsaved = true;
    Wake(run->operation.id);
  };
  absl::Duration pause = settings_.first_pause;
  Outcome outcome = Error(unit::v1::DEADLINE_EXCEEDED, "the operation's deadline passed before its unit was called");
  while (!operation.cancel_requested && !stopping_ && absl::Now() < operation.deadline) {
    CallContext call;
    call.unit = operation.unit;
    call.request_id = NewId("req_");
    call.trace_id = operation.trace_id;
    call.principal = operation.principal;
    call.role = operation.role;
    call.idempotency_key = operation.idempotency_key;
    call.deadline = operation.deadline;
    outcome = co_await caller_.Call(std::move(call), operation, tell);
    if (!outcome.ok() && LeavesDoubt(outcome.status())) run->doubt = true;
    if (outcome.ok() || !MayPass(outcome.status())) break;
    spdlog::warn("operation {} of {} has no answer yet: attempt={} error={}", operation.id, operation.unit,
                 operation.attempts, DetailsOf(outcome.status()).message);
    co_await Sleep(std::max(absl::ZeroDuration(), std::min(pause, operation.deadline - absl::Now())));
    pause = std::min(pause * 2, settings_.longest_pause);
    if (absl::Now() >= operation.deadline) break;
    ++operation.attempts;
    Wake(operation.id);
    // Without a database there is nothing to record it in; the lease tells others to keep away.
    (co_await table_.SaveProgress(OwnCall(), operation)).IgnoreError();
  }
  co_return outcome;
}

// How an operation ended whose last call ended like this.
void Operations::Decide(Running& run, Outcome outcome) const {
  Operation& operation = run.operation;
  if (outcome.ok()) {
    operation.state = State::kSucceeded;
    operation.result = *std::move(outcome);
    return;
  }
  const absl::Status status = outcome.status();
  if (operation.cancel_requested) {
    operation.state = State::kCancelled;
    operation.error = Cancelled();
    return;
  }
  // An answer of the unit settles what earlier attempts left open.
  const bool answered = !MayPass(status) && !HasReason(status, unit::v1::DEADLINE_EXCEEDED);
  if (answered || !run.doubt || !caller_.Changes(operation.unit)) {
    operation.state = State::kFailed;
    operation.error = status;
    return;
  }
  operation.state = State::kUnknown;
  operation.error = Error(unit::v1::OUTCOME_UNKNOWN,
                          absl::StrCat("whether ", operation.unit, " took effect is not known after ", operation.attempts,
                                       operation.attempts == 1 ? " attempt: " : " attempts: ", DetailsOf(status).message),
                          {{"idempotency_key", operation.idempotency_key}, {"last_error", DetailsOf(status).reason}});
}

Task<void> Operations::Conclude(std::shared_ptr<Running> run, Outcome outcome) {
  Operation& operation = run->operation;
  // When this process ends, the operation does not.
  if (!run->lost && (!stopping_ || outcome.ok())) {
    Decide(*run, std::move(outcome));
    absl::Duration pause = settings_.first_pause;
    for (;;) {
      const absl::StatusOr<bool> written = co_await table_.Finish(OwnCall(), operation);
      if (written.ok()) {
        spdlog::info("operation {} of {} {}: attempts={} trace={} principal={}", operation.id, operation.unit,
                     *written ? NameOf(operation.state) : "was taken over", operation.attempts, operation.trace_id,
                     operation.principal);
        break;
      }
      if (stopping_) break;  // the next process asks again, under the same key
      if (!MayPass(written.status()) && !HasReason(written.status(), unit::v1::DEADLINE_EXCEEDED)) {
        spdlog::error("operation {}: its end cannot be stored: {}", operation.id, DetailsOf(written.status()).message);
        const bool changes = caller_.Changes(operation.unit) && operation.state != State::kFailed;
        operation.state = changes ? State::kUnknown : State::kFailed;
        operation.error = Error(unit::v1::INTERNAL_ERROR, "how the operation ended cannot be stored");
        operation.progress.clear();
      }
      co_await Sleep(pause);
      pause = std::min(pause * 2, settings_.longest_pause);
    }
  }
  Forget(run);
}

void Operations::Forget(const std::shared_ptr<Running>& run) {
  const std::string id = run->operation.id;
  if (const auto found = runs_.find(id); found != runs_.end() && found->second == run) runs_.erase(found);
  Wake(id);
  if (waiting_) tick_.cancel();
  if (runs_.empty()) all_ended_.cancel();
}

}  // namespace aima::operations
