#include "services/engine/instance.h"

#include <absl/strings/str_cat.h>
#include <absl/time/clock.h>
#include <signal.h>
#include <spdlog/spdlog.h>

#include <boost/asio/experimental/awaitable_operators.hpp>

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

int SignalOf(const v1::EngineSpec& spec) { return spec.stop().signal() == "INT" ? SIGINT : SIGTERM; }

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
    : around_(around), record_(std::move(record)), spec_(std::move(spec)) {}

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
  start_ = feed;
  around_.spawn(RunStart(shared_from_this(), Detached(call), std::move(order), feed));
  return feed;
}

std::shared_ptr<StopFeed> Instance::Stop(const CallContext& call, bool force, std::optional<absl::Duration> grace) {
  if (stopping()) {
    // Somebody has lost patience with a stop that waits.
    if (force && process_) process_->Signal(SIGKILL);
    return stop_;
  }
  if (!record_.Live() && failure_) return failure_;
  auto feed = std::make_shared<StopFeed>(around_.loop);
  if (!record_.Live()) {
    feed->Finish(absl::OkStatus());
    return feed;
  }
  stop_ = feed;
  const int signal = force ? SIGKILL : SignalOf(spec_);
  const absl::Duration time = force ? absl::ZeroDuration() : grace.value_or(GraceOf(spec_));
  around_.spawn(RunStop(shared_from_this(), Detached(call), signal, time, feed));
  return feed;
}

Task<void> Instance::RunStop(std::shared_ptr<Instance> self, CallContext call, int signal, absl::Duration grace,
                             std::shared_ptr<StopFeed> feed) {
  absl::Status status = co_await TryStop(call, signal, grace);
  feed->Finish(std::move(status));
}

Task<absl::Status> Instance::TryStop(CallContext& call, int signal, absl::Duration grace) {
  const v1::InstanceStatus before = record_.status;
  record_.status = v1::INSTANCE_STATUS_STOPPING;
  if (absl::Status stored = co_await Commit(call); !stored.ok() && !around_.draining) {
    record_.status = before;
    co_return stored;
  }
  absl::Status ended = co_await EndProcesses(signal, grace);
  // A start that is under way sees that its process has ended, or that it is not wanted any more, and leaves. It may
  // have made a process meanwhile.
  if (starting()) {
    (void)co_await start_->Result();
    ended = co_await EndProcesses(signal, grace);
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
  co_await GiveBackSlot(call);
  record_.status = v1::INSTANCE_STATUS_STOPPED;
  record_.process = {};
  record_.port = 0;
  v1::EngineStopped event;
  event.set_engine_name(record_.engine);
  event.set_instance_id(record_.instance_id);
  event.set_model_id(record_.model_id);
  co_await CommitFact(call, event);
  spdlog::info("stopped instance={} engine={}", record_.instance_id, record_.engine);
  co_return absl::OkStatus();
}

Task<absl::Status> Instance::EndProcesses(int signal, absl::Duration grace) {
  if (const std::shared_ptr<process::Process> process = process_) co_return co_await process->End(signal, grace);
  if (record_.process.pid == 0) co_return absl::OkStatus();
  co_return co_await process::EndTree(record_.process, record_.run, signal, grace);
}

void Instance::Adopt(std::unique_ptr<process::Process> process) {
  process_ = std::move(process);
  record_.process = process_->identity();
  const CallContext call = around_.background("adopt");
  spdlog::info("adopted instance={} pid={} status={}", record_.instance_id, record_.process.pid,
               v1::InstanceStatus_Name(record_.status));
  if (record_.status == v1::INSTANCE_STATUS_STARTING) {
    start_ = std::make_shared<StartFeed>(around_.loop);
    around_.spawn(ResumeStart(shared_from_this(), call, start_));
  } else {
    health_ = v1::HEALTH_HEALTHY;  // as it was when it was last seen; the first look comes at once
    around_.spawn(Watch(shared_from_this(), record_.run));
  }
}

Task<void> Instance::Bury() {
  co_await Fail(around_.background("bury"),
                StartFailed("ended while the engine service was away"));
}

Task<void> Instance::FreeSlot() {
  CallContext call = around_.background("free_slot");
  co_await GiveBackSlot(call);
  (void)co_await Commit(call);
}

Task<void> Instance::Watch(std::shared_ptr<Instance> self, std::string run) {
  const auto watched = [&] { return record_.run == run && record_.status == v1::INSTANCE_STATUS_RUNNING && process_; };
  int silences = 0;
  while (watched()) {
    if (const std::optional<process::Exit> exit = process_->Ended()) {
      co_await Fail(around_.background("watch"), Ended(*exit));
      co_return;
    }
    const Answer answer =
        co_await around_.probe.Ask(record_.port, spec_.health().path(), around_.patience.probe_timeout);
    if (watched() && !process_->Ended()) co_await NoteAnswer(answer, silences);
    process::BoundLog(record_.log_path, around_.patience.log_bytes);
    if (watched()) co_await PauseOrEnd(around_.patience.probe_every);
  }
}

Task<void> Instance::NoteAnswer(Answer answer, int& silences) {
  silences = answer == Answer::kReady ? 0 : silences + 1;
  v1::Health now = health_;
  if (answer == Answer::kReady) now = v1::HEALTH_HEALTHY;
  if (silences >= around_.patience.silences) now = v1::HEALTH_UNHEALTHY;
  if (now == health_) co_return;
  health_ = now;
  spdlog::warn("health instance={} status={}", record_.instance_id, v1::Health_Name(now));
  v1::EngineHealthChanged event;
  event.set_engine_name(record_.engine);
  event.set_status(now);
  event.set_instance_id(record_.instance_id);
  event.set_model_id(record_.model_id);
  around_.outbox.Tell(around_.background("watch"), event);
}

Task<void> Instance::Fail(CallContext call, absl::Status why) {
  const auto cleanup = failure_ = std::make_shared<StopFeed>(around_.loop);
  health_ = v1::HEALTH_UNSPECIFIED;
  record_.error = std::string(why.message());
  record_.log_tail = process::TailOf(record_.log_path, 20);
  // Readers see the end at once; the row follows when nothing is left of the instance.
  record_.status = v1::INSTANCE_STATUS_FAILED;
  const absl::Status ended = co_await EndProcesses(SIGKILL, absl::ZeroDuration());
  process_.reset();
  if (ended.ok()) {
    co_await GiveBackSlot(call);
    record_.process = {};
  } else {
    // Its memory is not free: the slot stays held.
    absl::StrAppend(&record_.error, "; ", std::string(ended.message()));
  }
  record_.port = 0;
  spdlog::warn("failed instance={} engine={} error={}", record_.instance_id, record_.engine, record_.error);
  v1::EngineError event;
  event.set_engine_name(record_.engine);
  event.set_error(record_.error);
  event.set_instance_id(record_.instance_id);
  event.set_model_id(record_.model_id);
  event.set_log_tail(record_.log_tail);
  co_await CommitFact(call, event);
  failure_.reset();
  cleanup->Finish(absl::OkStatus());
}

Task<void> Instance::GiveBackSlot(CallContext& call) {
  if (record_.slot_id.empty()) co_return;
  const std::string slot_id = record_.slot_id;
  if (around_.draining) call.deadline = absl::Now() + kDrainPatience;
  const absl::Status released = co_await around_.neighbours.Release(call, slot_id);
  if (released.ok()) {
    record_.slot_id.clear();
  } else if (!around_.draining) {
    // The row keeps the slot's id, so that it is given back even if this process ends first.
    spdlog::warn("slot={} of instance={} is not released yet: {}", slot_id, record_.instance_id,
                 std::string(released.message()));
    around_.spawn(KeepGivingBack(shared_from_this(), slot_id));
  }
}

Task<void> Instance::KeepGivingBack(std::shared_ptr<Instance> self, std::string slot_id) {
  CallContext call = around_.background("release_slot");
  absl::Status released;
  do {
    co_await Sleep(around_.loop, kRetryEvery);
    released = co_await around_.neighbours.Release(call, slot_id);
  } while (!released.ok());
  if (record_.slot_id != slot_id) co_return;
  record_.slot_id.clear();
  (void)co_await Commit(call);
}

Task<absl::Status> Instance::Commit(CallContext& call) {
  record_.updated_at = absl::Now();
  std::vector<pg::Operation> operations;
  operations.push_back(around_.store.Save(record_));
  co_return (co_await around_.db.Write(call, std::move(operations))).status();
}

Task<absl::Status> Instance::CommitWith(CallContext& call, pg::Operation told) {
  record_.updated_at = absl::Now();
  std::vector<pg::Operation> operations;
  operations.push_back(around_.store.Save(record_));
  operations.push_back(std::move(told));
  // Should this be repeated although it was applied, the event service knows the event by its id.
  co_return (co_await around_.db.Write(call, std::move(operations))).status();
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
  if (const std::shared_ptr<process::Process> process = process_) {
    co_await (process->Wait() || Sleep(around_.loop, time));
  } else {
    co_await Sleep(around_.loop, time);
  }
}

}  // namespace aima::engine
