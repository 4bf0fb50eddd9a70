#include "services/engine/instance.h"

#include <absl/cleanup/cleanup.h>
#include <absl/strings/str_cat.h>
#include <absl/time/clock.h>
#include <spdlog/spdlog.h>

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <filesystem>
#include <random>

#include "libs/base/status_macros.h"
#include "libs/errors/errors.h"
#include "libs/process/log_file.h"

namespace aima::engine {
namespace {

using boost::asio::redirect_error;
using boost::asio::use_awaitable;
using namespace boost::asio::experimental::awaitable_operators;  // NOLINT: operators

constexpr absl::Duration kDefaultGrace = absl::Seconds(5);
constexpr absl::Duration kRetryEvery = absl::Milliseconds(500);
// For the database and the ledger while this process ends; they may be ending, too.
constexpr absl::Duration kDrainPatience = absl::Seconds(2);

Task<void> Sleep(Loop& loop, absl::Duration time) {
  boost::asio::steady_timer timer(loop, absl::ToChronoNanoseconds(time));
  boost::system::error_code error;
  co_await timer.async_wait(redirect_error(use_awaitable, error));
}

absl::Duration GraceOf(const v1::EngineSpec& spec) {
  return spec.stop().timeout() > 0 ? absl::Milliseconds(spec.stop().timeout()) : kDefaultGrace;
}

// The caller's trace, but the time and the idempotency of work that goes on without it.
CallContext Detached(CallContext call) {
  call.deadline = absl::InfiniteFuture();
  call.idempotency_key.clear();
  return call;
}

}  // namespace

Instance::Instance(Surroundings& around, Record record, v1::EngineSpec spec)
    : around_(around), record_(std::move(record)), spec_(std::move(spec)), wish_(record_.retention) {}

absl::StatusOr<std::shared_ptr<StartFeed>> Instance::Start(const CallContext& call, StartOrder order) {
  if (around_.draining) return absl::UnavailableError("the engine service is ending");
  if (starting()) return start_;
  if (stopping() || record_.status == v1::INSTANCE_STATUS_STOPPING) {
    return Error(v1::ENGINE_INSTANCE_BUSY, absl::StrCat("instance '", record_.instance_id, "' is being stopped"),
                 {{"instance_id", record_.instance_id}});
  }
  auto feed = std::make_shared<StartFeed>(around_.loop);
  if (record_.status == v1::INSTANCE_STATUS_RUNNING) {
    feed->Finish(absl::OkStatus());
    return feed;
  }
  if (record_.status == v1::INSTANCE_STATUS_FAILED && record_.wanted && record_.next_start_at && policy().restart) {
    const absl::Duration wait = *record_.next_start_at - absl::Now();
    if (wait > around_.patience.join) {
      const int64_t seconds = absl::ToInt64Seconds(absl::Ceil(wait, absl::Seconds(1)));
      return Error(v1::ENGINE_CRASH_LOOP,
                   absl::StrCat("instance '", record_.instance_id, "' has ended by itself ", record_.crashes,
                                " times in a row and is started again in ", seconds, " s: ", record_.error),
                   {{"instance_id", record_.instance_id}, {"error", record_.error},
                    {"retry_after_s", absl::StrCat(seconds)}});
    }
    order.not_before = *record_.next_start_at;
  }
  wish_ = order.retention;
  start_ = feed;
  around_.spawn(RunStart(shared_from_this(), Detached(call), std::move(order), feed));
  return feed;
}

std::shared_ptr<StopFeed> Instance::Stop(const CallContext& call, StopOrder order) {
  if (stopping()) {
    // Somebody has lost patience with a stop that waits.
    if (order.force && process_ && around_.in_office()) process_->Stop(absl::ZeroDuration());
    return stop_;
  }
  // One that has failed is stopped by whoever has taken note of that.
  const bool to_do =
      record_.Live() || record_.wanted || starting() || record_.status == v1::INSTANCE_STATUS_FAILED;
  auto feed = std::make_shared<StopFeed>(around_.loop);
  if (!to_do) {
    feed->Finish(absl::OkStatus());
    return feed;
  }
  stop_ = feed;
  around_.spawn(RunStop(shared_from_this(), Detached(call), std::move(order), feed));
  return feed;
}

Task<absl::Status> Instance::Keep(CallContext call, Retention retention) {
  wish_ = retention;
  if (record_.retention == retention) co_return absl::OkStatus();
  const Retention before = std::exchange(record_.retention, retention);
  v1::EngineRetentionChanged event;
  event.set_engine_name(record_.engine);
  event.set_instance_id(record_.instance_id);
  event.set_model_id(record_.model_id);
  event.set_on_demand(retention.on_demand);
  event.set_pinned(retention.pinned);
  event.set_idle_timeout(retention.idle_timeout);
  call = Detached(std::move(call));
  absl::Status stored = co_await CommitWith(call, around_.outbox.Emit(call, event));
  if (!stored.ok() && record_.retention == retention) record_.retention = before;
  co_return stored;
}

Task<void> Instance::RunStop(std::shared_ptr<Instance> self, CallContext call, StopOrder order,
                             std::shared_ptr<StopFeed> feed) {
  absl::Status status = co_await TryStop(call, order);
  feed->Finish(std::move(status));
  if (record_.wanted && !around_.draining) around_.spawn(KeepRunning(self, record_.generation));
}

Task<absl::Status> Instance::TryStop(CallContext& call, const StopOrder& order) {
  const absl::Duration grace = order.force ? absl::ZeroDuration() : order.grace.value_or(GraceOf(spec_));
  if (const std::shared_ptr<StopFeed> cleanup = failure_) (void)co_await cleanup->Result();
  const Record before = record_;
  record_.status = v1::INSTANCE_STATUS_STOPPING;
  // The end of this process is nobody's wish that the instance ends for good. Nor is the end of an earlier one: a stop
  // that was under way then has left in the row whether somebody wished it.
  if (!around_.draining && before.status != v1::INSTANCE_STATUS_STOPPING) {
    record_.wanted = false;
    record_.crashes = 0;
    record_.next_start_at.reset();
    record_.restart_key = order.restart_key;
  }
  if (absl::Status stored = co_await Commit(call); !stored.ok() && !around_.draining) {
    record_.status = before.status;
    record_.wanted = before.wanted;
    record_.crashes = before.crashes;
    record_.next_start_at = before.next_start_at;
    record_.restart_key = before.restart_key;
    // Its watch may have seen that it is being stopped, and left.
    if (before.status == v1::INSTANCE_STATUS_RUNNING && process_ && watched_ != record_.run) {
      around_.spawn(Watch(shared_from_this(), record_.run));
    }
    if (before.status == v1::INSTANCE_STATUS_STARTING && !starting()) {
      // The start has left meanwhile, and has left what it made to this stop.
      co_await Fail(call, StartFailed("was stopped while it was being started, and that could not be stored"));
    }
    co_return stored;
  }
  absl::Status ended = co_await EndProcesses(grace);
  // A start that is under way sees that its process has ended, or that it is not wanted any more, and leaves. It may
  // have made a process meanwhile.
  if (starting()) {
    (void)co_await start_->Result();
    ended = co_await EndProcesses(grace);
  }
  process_.reset();
  health_ = v1::HEALTH_UNSPECIFIED;
  if (!ended.ok()) {
    const std::string why = absl::StrCat("instance '", record_.instance_id, "': ", std::string(ended.message()));
    record_.status = v1::INSTANCE_STATUS_FAILED;
    record_.error = why;
    v1::EngineError event;
    event.set_engine_name(record_.engine);
    event.set_instance_id(record_.instance_id);
    event.set_model_id(record_.model_id);
    event.set_error(why);
    co_await CommitFact(call, event);
    co_return Error(v1::ENGINE_STOP_FAILED, why, {{"instance_id", record_.instance_id}});
  }
  (void)co_await GiveBackSlot(call);
  if (record_.wanted) {
    record_.status = v1::INSTANCE_STATUS_FAILED;
    // One that was waiting for its turn goes on waiting in the next life of this process.
    if (before.status == v1::INSTANCE_STATUS_STARTING) {
      record_.error = "the engine service ended while the instance was being started";
    }
    if (!record_.next_start_at) record_.next_start_at = absl::Now();
  } else {
    record_.status = v1::INSTANCE_STATUS_STOPPED;
  }
  record_.shim = record_.process = {};
  record_.port = 0;
  v1::EngineStopped event;
  event.set_engine_name(record_.engine);
  event.set_instance_id(record_.instance_id);
  event.set_model_id(record_.model_id);
  event.set_reason(order.why);
  co_await CommitFact(call, event);
  ForgetRun();
  spdlog::info("stopped instance={} engine={} reason={}", record_.instance_id, record_.engine, order.why);
  co_return absl::OkStatus();
}

Task<absl::Status> Instance::EndProcesses(absl::Duration grace) {
  // Long enough for another service to take over between two signals.
  absl::Status ended;
  if (const std::shared_ptr<process::Shim> process = process_; process && around_.in_office()) {
    ended = co_await process->End(grace, around_.in_office);
  } else if (!record_.run.empty() && around_.in_office()) {
    ended = co_await process::EndRun(record_.shim, record_.run, RunDirectory(), grace, around_.in_office);
  }
  if (around_.in_office()) co_return ended;
  around_.superseded();
  co_return absl::UnavailableError("another engine service looks after it now");
}

std::string Instance::RunDirectory() const { return absl::StrCat(around_.data_dir, "/run/engines/", record_.run); }

// What its shim has written down is in the row.
void Instance::ForgetRun() const {
  std::error_code error;
  if (!record_.run.empty()) std::filesystem::remove_all(RunDirectory(), error);
}

Policy Instance::policy() const {
  const Patience& patience = around_.patience;
  const auto or_else = [](int64_t own, absl::Duration common) { return own > 0 ? absl::Milliseconds(own) : common; };
  return {.restart = spec_.restart() != "never" && around_.order_again,
          .stall = or_else(spec_.health().stall_timeout(), patience.stall),
          .start = patience.start,
          .hung = or_else(spec_.health().hung_timeout(), patience.hung),
          .stable = patience.stable,
          .first_backoff = patience.first_backoff,
          .last_backoff = patience.last_backoff};
}

void Instance::PlanNextStart() {
  static std::mt19937_64 random(std::random_device{}());
  const bool machine_ended = record_.process.pid != 0 && record_.process.boot_id != process::BootId();
  const Retry retry = PlanRetry(record_, machine_ended, policy(), absl::Now(),
                                std::uniform_real_distribution<double>(0, 1)(random));
  record_.crashes = retry.crashes;
  record_.next_start_at = retry.at;
}

Task<void> Instance::Fail(CallContext call, absl::Status why) {
  const auto cleanup = failure_ = std::make_shared<StopFeed>(around_.loop);
  health_ = v1::HEALTH_UNSPECIFIED;
  record_.error = std::string(why.message());
  record_.log_tail = process::TailOf(record_.log_path, 20);
  // Readers see the end at once; the row follows when nothing is left of the instance.
  record_.status = v1::INSTANCE_STATUS_FAILED;
  if (record_.wanted) PlanNextStart();
  const absl::Status ended = co_await EndProcesses(absl::ZeroDuration());
  process_.reset();
  if (ended.ok()) {
    (void)co_await GiveBackSlot(call);
    record_.shim = record_.process = {};
  } else {
    // Its memory is not free: the slot stays held.
    absl::StrAppend(&record_.error, "; ", std::string(ended.message()));
  }
  record_.port = 0;
  spdlog::warn("failed instance={} engine={} crashes={} error={}", record_.instance_id, record_.engine, record_.crashes,
               record_.error);
  v1::EngineError event;
  event.set_engine_name(record_.engine);
  event.set_error(record_.error);
  event.set_instance_id(record_.instance_id);
  event.set_model_id(record_.model_id);
  event.set_log_tail(record_.log_tail);
  co_await CommitFact(call, event);
  if (ended.ok()) ForgetRun();
  failure_.reset();
  cleanup->Finish(absl::OkStatus());
  if (record_.wanted && !starting() && !around_.draining) around_.spawn(KeepRunning(shared_from_this(), record_.generation));
}

Task<absl::Status> Instance::GiveBackSlot(CallContext& call) {
  if (record_.slot_id.empty()) co_return absl::OkStatus();
  const std::string slot_id = record_.slot_id;
  if (around_.draining) call.deadline = absl::Now() + kDrainPatience;
  const absl::Status released = co_await around_.neighbours.Release(call, slot_id);
  if (released.ok()) {
    if (record_.slot_id == slot_id) record_.slot_id.clear();
  } else if (!around_.draining && giving_back_.insert(slot_id).second) {
    // The row keeps the slot's id, so that it is given back even if this process ends first.
    spdlog::warn("slot={} of instance={} is not released yet: {}", slot_id, record_.instance_id,
                 std::string(released.message()));
    around_.spawn(KeepGivingBack(shared_from_this(), slot_id));
  }
  co_return released;
}

Task<void> Instance::KeepGivingBack(std::shared_ptr<Instance> self, std::string slot_id) {
  const absl::Cleanup leave = [&] { giving_back_.erase(slot_id); };
  CallContext call = around_.background("release_slot");
  absl::Status released;
  do {
    co_await Sleep(around_.loop, kRetryEvery);
    if (around_.draining) co_return;
    released = co_await around_.neighbours.Release(call, slot_id);
  } while (!released.ok());
  if (record_.slot_id != slot_id) co_return;
  record_.slot_id.clear();
  (void)co_await Commit(call);
}

Task<absl::Status> Instance::Write(CallContext& call, std::vector<pg::Operation> also) {
  record_.updated_at = absl::Now();
  std::vector<pg::Operation> operations = around_.store.Save(record_);
  for (pg::Operation& operation : also) operations.push_back(std::move(operation));
  const absl::Status written = (co_await around_.db.Write(call, std::move(operations))).status();
  if (!Tenure::Refused(written)) co_return written;
  around_.superseded();
  co_return absl::UnavailableError("another engine service looks after the engines of this machine now");
}

Task<absl::Status> Instance::Commit(CallContext& call) { co_return co_await Write(call, {}); }

Task<absl::Status> Instance::CommitWith(CallContext& call, pg::Operation told) {
  std::vector<pg::Operation> also;
  also.push_back(std::move(told));
  // Should this be repeated although it was applied, the event service knows the event by its id.
  co_return co_await Write(call, std::move(also));
}

Task<void> Instance::CommitFact(CallContext& call, const google::protobuf::Message& event) {
  const pg::Operation told = around_.outbox.Emit(call, event);
  if (around_.draining) call.deadline = absl::Now() + kDrainPatience;
  const absl::Status stored = co_await CommitWith(call, told);
  if (stored.ok()) co_return;
  spdlog::error("instance={} is not stored yet: {}", record_.instance_id, std::string(stored.message()));
  if (!around_.draining) around_.spawn(KeepCommitting(shared_from_this(), call, told));
}

Task<void> Instance::KeepCommitting(std::shared_ptr<Instance> self, CallContext call, pg::Operation told) {
  absl::Status stored;
  do {
    co_await Sleep(around_.loop, kRetryEvery);
    stored = co_await CommitWith(call, told);
  } while (stored.code() == absl::StatusCode::kUnavailable);
  if (!stored.ok()) spdlog::error("instance={} is not stored: {}", record_.instance_id, std::string(stored.message()));
}

Task<void> Instance::PauseOrEnd(absl::Duration time) {
  if (const std::shared_ptr<process::Shim> process = process_) {
    co_await (process->Wait() || Sleep(around_.loop, time));
  } else {
    co_await Sleep(around_.loop, time);
  }
}

}  // namespace aima::engine
