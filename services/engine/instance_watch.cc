// How an instance is watched, and kept running (instance.h).
#include <absl/cleanup/cleanup.h>
#include <absl/strings/str_cat.h>
#include <absl/time/clock.h>
#include <spdlog/spdlog.h>

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "aima/model/v1/model.pb.h"
#include "libs/errors/errors.h"
#include "services/engine/instance.h"

namespace aima::engine {
namespace {

constexpr absl::Duration kLookAgain = absl::Seconds(1);
// Between tries to end what the kernel does not let go.
constexpr absl::Duration kTryToEndAgain = absl::Seconds(30);

Task<void> SleepUntil(Loop& loop, absl::Time time) {
  boost::asio::steady_timer timer(loop, absl::ToChronoNanoseconds(time - absl::Now()));
  boost::system::error_code error;
  co_await timer.async_wait(boost::asio::redirect_error(boost::asio::use_awaitable, error));
}

}  // namespace

void Instance::Adopt(std::unique_ptr<process::Shim> process) {
  process_ = std::move(process);
  record_.shim = process_->identity();
  record_.process = process_->program();
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

// Whoever keeps it running leaves an instance alone while it is being started: it is told when that is over.
void Instance::Conclude(std::shared_ptr<Instance> self, absl::Status status, StartFeed& feed) {
  const bool started = status.ok();
  feed.Finish(std::move(status));
  if (started) return around_.spawn(Watch(std::move(self), record_.run));
  if (record_.wanted && !around_.draining) around_.spawn(KeepRunning(std::move(self), record_.generation));
}

Task<void> Instance::Bury(std::optional<process::Exit> exit) {
  const bool machine_ended = record_.process.pid != 0 && record_.process.boot_id != process::BootId();
  std::string how = "ended while the engine service was away, nobody knows how";
  if (machine_ended) how = "ended with the machine";
  if (exit) how = absl::StrCat(ExplainExit(spec_, *exit), ", while the engine service was away");
  co_await Fail(around_.background("bury"), StartFailed(how));
}

Task<void> Instance::Clear() {
  CallContext call = around_.background("clear");
  if (!(co_await EndProcesses(absl::ZeroDuration())).ok()) co_return;
  record_.shim = record_.process = {};
  (void)co_await GiveBackSlot(call);
  (void)co_await Commit(call);
}

Observed Instance::Look() const {
  Observed seen;
  seen.silent_since = silent_since_;
  if (process_) {
    seen.tree = process_->Ended() ? Observed::Tree::kEnded : Observed::Tree::kAlive;
  } else {
    seen.tree = record_.process.pid == 0 ? Observed::Tree::kNone : Observed::Tree::kHeadless;
  }
  return seen;
}

Task<void> Instance::Watch(std::shared_ptr<Instance> self, std::string run) {
  watched_ = run;
  const absl::Cleanup leave = [&] {
    if (watched_ == run) watched_.clear();
  };
  const auto watched = [&] { return record_.run == run && record_.status == v1::INSTANCE_STATUS_RUNNING && process_; };
  int silences = 0;
  silent_since_ = absl::InfiniteFuture();
  while (watched()) {
    const Step step = Plan(record_, Look(), policy(), absl::Now());
    if (step.action == Step::Action::kFail) {
      co_await Fail(around_.background("watch"), Explain(step.why));
      co_return;
    }
    const absl::Time asked = absl::Now();
    const Answer answer =
        co_await around_.probe.Ask(record_.port, spec_.health().path(), around_.patience.probe_timeout);
    if (!watched() || process_->Ended()) continue;
    silent_since_ = answer == Answer::kReady ? absl::InfiniteFuture() : std::min(silent_since_, asked);
    co_await NoteAnswer(answer, silences);
    if (record_.crashes > 0) co_await NoteStability(around_.background("watch"));
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

Task<void> Instance::NoteStability(CallContext call) {
  if (!record_.running_since || absl::Now() - *record_.running_since < policy().stable) co_return;
  record_.crashes = 0;
  (void)co_await Commit(call);
}

Task<void> Instance::KeepRunning(std::shared_ptr<Instance> self, int64_t generation) {
  for (;;) {
    if (record_.generation != generation || starting() || stopping() || failure_) co_return;
    if (record_.status != v1::INSTANCE_STATUS_FAILED) co_return;
    const Step step = Plan(record_, Look(), policy(), absl::Now());
    if (step.action == Step::Action::kLook) {
      // In short steps: the slot, the clock and what is wanted may change meanwhile.
      co_await SleepUntil(around_.loop, std::min(step.at, absl::Now() + kLookAgain));
    } else if (step.action == Step::Action::kClear && record_.process.pid != 0) {
      co_await Clear();
      if (record_.process.pid != 0) co_await SleepUntil(around_.loop, absl::Now() + kTryToEndAgain);
    } else if (step.action == Step::Action::kClear) {
      co_await SleepUntil(around_.loop, absl::Now() + kLookAgain);  // the slot is on its way back
    } else if (step.action == Step::Action::kStart) {
      if (co_await StartAgain(around_.background("start_again"))) co_return;
      co_await SleepUntil(around_.loop, absl::Now() + kLookAgain);
    } else {
      co_return;
    }
  }
}

// False if it is to be tried again.
Task<bool> Instance::StartAgain(CallContext call) {
  const int64_t generation = record_.generation;
  absl::StatusOr<StartOrder> order = co_await around_.order_again(call, record_);
  if (record_.generation != generation || starting() || !record_.wanted) co_return true;
  if (order.ok()) {
    const absl::StatusOr<std::shared_ptr<StartFeed>> feed = Start(call, *std::move(order));
    co_return feed.ok();
  }
  // Its model is gone, or the file that tells of its engine: it will never start again. Everything else may pass: a model
  // may be pulled anew, an engine installed anew, a service overloaded.
  const bool gone =
      HasReason(order.status(), model::v1::MODEL_NOT_FOUND) || HasReason(order.status(), v1::ENGINE_NOT_FOUND);
  if (!gone) co_return false;
  spdlog::warn("instance={} is not started again: {}", record_.instance_id, std::string(order.status().message()));
  record_.wanted = false;
  record_.next_start_at.reset();
  record_.error = absl::StrCat(record_.error, "; it is not started again: ", std::string(order.status().message()));
  (void)co_await Commit(call);
  co_return true;
}

}  // namespace aima::engine
