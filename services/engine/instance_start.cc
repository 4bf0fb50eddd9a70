// How an instance is started (instance.h).
#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>
#include <absl/strings/str_split.h>
#include <absl/time/clock.h>
#include <signal.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <filesystem>
#include <thread>

#include "aima/resource/v1/resource.pb.h"
#include "libs/base/ids.h"
#include "libs/base/status_macros.h"
#include "libs/errors/errors.h"
#include "libs/errors/missing_memory.h"
#include "libs/process/log_file.h"
#include "libs/process/port.h"
#include "services/engine/instance.h"

namespace aima::engine {
namespace {

using namespace boost::asio::experimental::awaitable_operators;  // NOLINT: operators

// Before what once ran is started again although that cannot be stored.
constexpr absl::Duration kStoreAgain = absl::Seconds(1);
constexpr absl::Duration kWaitingStep = absl::Milliseconds(100);
constexpr int kPortTries = 5;
// How a request wanted to have its model loaded is remembered for this long when there is no memory; inference tries more
// often than that.
constexpr absl::Duration kUnmetFor = absl::Minutes(1);
// So often idle engines are unloaded for one start.
constexpr int kMostRooms = 3;
constexpr int kDefaultContext = 4096;
constexpr absl::Duration kProgressEvery = absl::Seconds(1);
// What an instance is taken to need whose engine manages models itself.
constexpr int64_t kUnknownModelBytes = 512 << 20;

v1::StartProgress Progress(std::string_view phase, std::string message, double percent) {
  v1::StartProgress progress;
  progress.set_phase(std::string(phase));
  progress.set_message(std::move(message));
  progress.set_percent(percent);
  return progress;
}

// What was asked for, with what suits the engine, the model and the machine where nothing was.
v1::InstanceConfig FillIn(const StartOrder& order) {
  v1::InstanceConfig config = order.requested;
  if (!config.has_parallel()) config.set_parallel(std::max(1, order.spec.features().max_concurrent()));
  if (!config.has_threads()) {
    // Threads of an engine wait for each other: with one on every core, whatever else runs slows all of them down.
    config.set_threads(std::max(1, static_cast<int>(std::thread::hardware_concurrency()) - 1));
  }
  if (!config.has_context_length()) {
    const int made_for = order.model.context_length > 0 ? order.model.context_length : kDefaultContext;
    const int wanted = order.spec.launch().context_shared() ? made_for * std::min(config.parallel(), 1024) : made_for;
    config.set_context_length(std::min(wanted, kDefaultContext));
  }
  return config;
}

std::string NamesOf(const Neighbours::Room::Engines& engines) {
  return absl::StrJoin(engines, ", ", [](std::string* out, const auto& engine) {
    absl::StrAppend(out, "'", engine.first, "' (", engine.second, " bytes)");
  });
}

// Why it was refused, who could be unloaded, and who was although it did not help.
absl::Status TooLittle(const absl::Status& refused, const Neighbours::Room& room, bool evict_idle,
                       const Neighbours::Room::Engines& unloaded) {
  ErrorDetails details = DetailsOf(refused);
  std::string hint = "no engine that is idle could be unloaded instead";
  if (!room.engines.empty() && !room.enough) {
    hint = absl::StrCat("all that is idle and could be unloaded is too little: ", NamesOf(room.engines));
  } else if (!room.engines.empty()) {
    hint = absl::StrCat("idle, and enough if unloaded: ", NamesOf(room.engines), "; ",
                        evict_idle ? "others take what is freed" : "evict_idle unloads them");
  }
  if (!unloaded.empty()) hint = absl::StrCat("unloaded for it: ", NamesOf(unloaded), "; ", hint);
  details.metadata["evictable"] = absl::StrJoin(room.engines, ",", [](std::string* out, const auto& engine) {
    absl::StrAppend(out, engine.first);
  });
  return Error(resource::v1::RESOURCE_INSUFFICIENT, absl::StrCat(refused.message(), "; ", hint), details.metadata);
}

// Sees whether a process that starts gets anywhere.
class ProgressMeter {
 public:
  // True if there was progress since the last call.
  bool Advanced(const process::Shim& process, const std::string& log_path, bool answers) {
    const int64_t log = process::SizeOf(log_path);
    const int64_t memory = process.ResidentBytes();
    const bool advanced = answers || log > log_ || memory > memory_ + (64 << 10);
    log_ = log;
    memory_ = std::max(memory_, memory);
    return advanced;
  }
  int64_t memory() const { return memory_; }

 private:
  int64_t log_ = 0;
  int64_t memory_ = 0;
};

}  // namespace

Task<void> Instance::RunStart(std::shared_ptr<Instance> self, CallContext call, StartOrder order,
                              std::shared_ptr<StartFeed> feed) {
  if (const std::shared_ptr<StopFeed> cleanup = failure_) (void)co_await cleanup->Result();
  absl::Status status = co_await AwaitTurn(order.not_before, *feed);
  if (!status.ok()) {
    feed->Finish(std::move(status));
    co_return;
  }
  // The row has room for one slot: that of an earlier run, should it be held still, goes before there is another.
  status = co_await GiveBackSlot(call);
  const bool given_up = record_.status == v1::INSTANCE_STATUS_STOPPING;
  if (!status.ok() || given_up) {
    feed->Finish(given_up ? StoppedEarly() : std::move(status));
    if (!given_up && record_.wanted) StartLater(self);
    co_return;
  }
  feed->Report(Progress("reserving", "reserving memory", 2));
  const Record before = record_;
  Prepare(order);
  status = co_await Commit(call);
  if (!status.ok()) {
    // Nothing was done that could not be stored. A stop that came meanwhile says what becomes of the record.
    const bool stopped = record_.status != v1::INSTANCE_STATUS_STARTING;
    if (!stopped) record_ = before;
    feed->Finish(std::move(status));
    if (!stopped && record_.wanted) StartLater(self);
    co_return;
  }
  status = co_await TryStart(call, order, *feed);
  // A stop that came meanwhile cleans up and records what became of it.
  if (!status.ok() && record_.status != v1::INSTANCE_STATUS_STOPPING) {
    const bool withdrawn = co_await Withdraw(call, before, status);
    if (!withdrawn) co_await Fail(call, status);
  }
  if (status.ok()) around_.spawn(Watch(self, record_.run));
  feed->Finish(std::move(status));
}

void Instance::StartLater(const std::shared_ptr<Instance>& self) {
  record_.next_start_at = absl::Now() + kStoreAgain;
  around_.spawn(KeepRunning(self, record_.generation));
}

// What is refused before anything has begun is no failure of the instance, and whoever asked has the answer. True if that
// is so, and it is as it was before.
Task<bool> Instance::Withdraw(CallContext& call, const Record& before, const absl::Status& why) {
  if (record_.process.pid != 0 || !record_.slot_id.empty() || before.Live()) co_return false;
  // Others may make room meanwhile.
  const bool unmet = HasReason(why, resource::v1::RESOURCE_INSUFFICIENT) && record_.retention.on_demand;
  if (before.wanted) {
    if (unmet) {
      // It has ended by itself, and its memory was given to another: whoever needs it will ask.
      record_.wanted = false;
      record_.next_start_at.reset();
    }
    co_return false;
  }
  if (unmet) {
    unmet_ = record_.requested;
    unmet_until_ = absl::Now() + kUnmetFor;
  }
  record_ = before;
  // There was none before: there is none.
  if (before.generation == 0) {
    (void)co_await around_.db.Write(call, around_.store.Forget(record_.instance_id));
  } else {
    (void)co_await Commit(call);
  }
  co_return true;
}

Task<void> Instance::ResumeStart(std::shared_ptr<Instance> self, CallContext call, std::shared_ptr<StartFeed> feed) {
  absl::Status status = co_await AwaitReady(*feed);
  if (status.ok()) status = co_await Announce(call);
  if (!status.ok() && record_.status != v1::INSTANCE_STATUS_STOPPING) co_await Fail(call, status);
  if (status.ok()) around_.spawn(Watch(self, record_.run));
  feed->Finish(std::move(status));
}

// After an end by itself a start has its time. A stop may come first.
Task<absl::Status> Instance::AwaitTurn(absl::Time not_before, StartFeed& feed) {
  if (absl::Now() < not_before) {
    feed.Report(Progress("waiting", absl::StrCat("it has ended by itself and is started again in a moment: ",
                                                 record_.error), 0));
  }
  while (absl::Now() < not_before && record_.status != v1::INSTANCE_STATUS_STOPPING) co_await PauseOrEnd(kWaitingStep);
  if (record_.status == v1::INSTANCE_STATUS_STOPPING) co_return StartFailed("was stopped before it was started again");
  co_return absl::OkStatus();
}

void Instance::Prepare(const StartOrder& order) {
  spec_ = order.spec;
  record_.engine = spec_.name();
  record_.model_id = order.model.id;
  record_.model_type = order.model.type;
  record_.served_name = order.model.id;
  record_.status = v1::INSTANCE_STATUS_STARTING;
  record_.generation += 1;
  record_.run = NewId("run_");
  record_.shim = record_.process = {};
  record_.running_since.reset();
  record_.slot_id = NewId("slot_");
  record_.port = 0;
  record_.api_key = RandomHex(24);
  record_.requested = order.requested;
  record_.retention = wish_;
  record_.config = FillIn(order);
  record_.error.clear();
  record_.log_tail.clear();
  record_.log_path = absl::StrCat(around_.data_dir, "/logs/engines/", record_.instance_id, ".log");
  record_.started_at = absl::Now();
  health_ = v1::HEALTH_UNSPECIFIED;
}

Task<absl::Status> Instance::TryStart(CallContext& call, const StartOrder& order, StartFeed& feed) {
  CO_RETURN_IF_ERROR(co_await Reserve(call, order, feed));
  std::error_code error;
  std::filesystem::create_directories(std::filesystem::path(record_.log_path).parent_path(), error);
  process::StartNewLog(record_.log_path);
  for (int tries = 1;; ++tries) {
    feed.Report(Progress("spawning", absl::StrCat("starting ", spec_.name()), 10));
    CO_RETURN_IF_ERROR(co_await Launch(call, order));
    const absl::Status ready = co_await AwaitReady(feed);
    if (ready.ok()) break;
    if (!PortWasTaken() || tries == kPortTries) co_return ready;
    // Somebody was quicker. Whatever the process started is gone before the next one comes.
    CO_RETURN_IF_ERROR(co_await EndProcesses(absl::ZeroDuration()));
  }
  CO_RETURN_IF_ERROR(co_await Announce(call));
  co_return absl::OkStatus();
}

Task<absl::Status> Instance::Reserve(CallContext& call, const StartOrder& order, StartFeed& feed) {
  record_.memory_bytes = order.spec.memory() > 0 ? order.spec.memory() : kUnknownModelBytes;
  if (!order.model.id.empty()) {
    const absl::StatusOr<int64_t> bytes =
        co_await around_.neighbours.EstimateMemory(call, spec_.name(), order.model.id, record_.config);
    if (!bytes.ok()) {
      record_.slot_id.clear();  // nobody has been asked for it
      co_return bytes.status();
    }
    record_.memory_bytes = *bytes;
  }
  const absl::Status reserved = co_await ReserveOrMakeRoom(call, order, feed);
  // After any other error it may be held, and is given back.
  if (HasReason(reserved, resource::v1::RESOURCE_INSUFFICIENT)) record_.slot_id.clear();
  co_return reserved;
}

// For what a request needs, inference makes room by itself. Somebody who starts an engine is told who could make room, and
// decides.
Task<absl::Status> Instance::ReserveOrMakeRoom(CallContext& call, const StartOrder& order, StartFeed& feed) {
  int rooms = 0;
  Neighbours::Room::Engines unloaded;
  absl::Time freed_by = absl::InfinitePast();
  for (;;) {
    const absl::Status reserved =
        co_await around_.neighbours.Reserve(call, record_.slot_id, record_.instance_id, record_.memory_bytes);
    const bool for_a_request = order.retention.on_demand && !order.evict_idle;
    const std::optional<int64_t> missing = MissingMemory(reserved);
    if (!missing || for_a_request) co_return reserved;
    if (record_.status == v1::INSTANCE_STATUS_STOPPING) co_return StoppedEarly();
    if (absl::Now() < freed_by) {
      co_await PauseOrEnd(kWaitingStep);
      continue;
    }
    // Others may have taken what was freed.
    const bool evict = order.evict_idle && rooms++ < kMostRooms;
    absl::StatusOr<Neighbours::Room> room = absl::CancelledError();
    const auto ask = [&]() -> Task<void> { room = co_await around_.neighbours.MakeRoom(call, *missing, !evict); };
    // Others take minutes to end, and need this service for it; a stop, which waits for this start, does not wait for them.
    co_await (ask() || UntilStopping());
    if (record_.status == v1::INSTANCE_STATUS_STOPPING) co_return StoppedEarly();
    if (!room.ok()) {
      spdlog::warn("nobody can say who makes room: {}", std::string(room.status().message()));
      if (!evict) co_return reserved;
      rooms = kMostRooms;  // it may have been made all the same, but not twice
    } else if (room->unloaded.empty()) {
      co_return TooLittle(reserved, *room, order.evict_idle, unloaded);
    } else {
      feed.Report(Progress("reserving", absl::StrCat("unloaded ", NamesOf(room->unloaded)), 5));
      unloaded.insert(unloaded.end(), room->unloaded.begin(), room->unloaded.end());
    }
    freed_by = absl::Now() + around_.patience.freed;
  }
}

Task<void> Instance::UntilStopping() {
  while (record_.status != v1::INSTANCE_STATUS_STOPPING) co_await PauseOrEnd(kWaitingStep);
}

absl::Status Instance::StoppedEarly() const {
  // Not the engine's fault: the next engine service starts it.
  if (around_.draining) return absl::UnavailableError("the engine service is ending");
  return StartFailed("was stopped before it was ready");
}

Task<absl::Status> Instance::Launch(CallContext& call, const StartOrder& order) {
  if (record_.status == v1::INSTANCE_STATUS_STOPPING) co_return StoppedEarly();
  CO_ASSIGN_OR_RETURN(record_.port, process::FreePort());
  CO_RETURN_IF_ERROR(co_await Commit(call));
  if (record_.status == v1::INSTANCE_STATUS_STOPPING) co_return StoppedEarly();
  if (!around_.in_office()) {
    around_.superseded();
    co_return absl::UnavailableError("another engine service looks after it now");
  }

  LaunchValues values;
  values.model_path = order.model.path;
  values.model_type = order.model.type;
  values.served_name = record_.served_name;
  values.port = record_.port;
  values.context_length = record_.config.context_length();
  values.parallel = record_.config.parallel();
  values.threads = record_.config.threads();
  values.api_key = record_.api_key;
  values.data_dir = around_.data_dir;
  CO_ASSIGN_OR_RETURN(process::Command command,
                      MakeCommand(spec_, order.installation.program, values, around_.environment));
  command.env.push_back(absl::StrCat("AIMA_HOME=", around_.data_dir));
  command.marker = record_.run;
  command.log_path = record_.log_path;
  command.working_dir = around_.data_dir;
  process::ShimOrder run;
  run.command = std::move(command);
  run.directory = RunDirectory();
  run.tenure_file = around_.tenure_file;
  run.log_bytes = around_.patience.log_bytes;
  run.stop_signal = spec_.stop().signal() == "INT" ? SIGINT : SIGTERM;
  if (spec_.stop().timeout() > 0) run.grace = absl::Milliseconds(spec_.stop().timeout());
  CO_ASSIGN_OR_RETURN(const std::string shim, process::FindShim());
  absl::StatusOr<std::unique_ptr<process::Shim>> process =
      co_await process::Shim::Start(around_.loop, shim, std::move(run));
  if (!process.ok()) co_return StartFailed(std::string(process.status().message()));
  process_ = *std::move(process);
  record_.shim = process_->identity();
  record_.process = process_->program();
  spdlog::info("spawned instance={} engine={} pid={} port={}", record_.instance_id, record_.engine,
               record_.process.pid, record_.port);
  CO_RETURN_IF_ERROR(co_await Commit(call));
  // From here on its memory is counted in its slot, not besides it.
  const absl::Status told =
      co_await around_.neighbours.Occupy(call, record_.slot_id, record_.process.pid, record_.model_id);
  if (!told.ok()) spdlog::warn("slot={} is not told of its process: {}", record_.slot_id, std::string(told.message()));
  co_return absl::OkStatus();
}

Task<absl::Status> Instance::AwaitReady(StartFeed& feed) {
  Observed seen;
  seen.advanced = absl::Now();
  absl::Time looked = absl::InfinitePast();
  ProgressMeter meter;
  for (bool loading = false;;) {
    if (record_.status == v1::INSTANCE_STATUS_STOPPING) co_return StoppedEarly();
    Answer answer = Answer::kRefused;
    const auto ask = [&]() -> Task<void> {
      answer = co_await around_.probe.Ask(record_.port, spec_.health().path(), absl::Seconds(1));
    };
    // The end of the process ends the question, too.
    co_await (ask() || process_->Wait());
    seen.tree = Look().tree;
    // A stranger's answer does not count: the port must be in the hands of this very process tree.
    seen.ready = answer == Answer::kReady &&
                 process::ListensOn(process::TreeOf(record_.process, record_.run), record_.port);
    loading = loading || answer == Answer::kLoading;
    const absl::Time now = absl::Now();
    if (now - looked >= kProgressEvery) {
      looked = now;
      if (meter.Advanced(*process_, record_.log_path, answer == Answer::kLoading)) seen.advanced = now;
      const double needed = static_cast<double>(std::max<int64_t>(1, record_.memory_bytes));
      const double share = std::min(1.0, static_cast<double>(meter.memory()) / needed);
      feed.Report(Progress("loading", loading ? "loading the model" : "waiting for the engine to listen",
                           15 + 80 * share));
    }
    const Step step = engine::Plan(record_, seen, policy(), now);
    if (step.action == Step::Action::kAnnounce) co_return absl::OkStatus();
    if (step.action == Step::Action::kFail) co_return Explain(step.why);
    co_await PauseOrEnd(around_.patience.poll);
  }
}

Task<absl::Status> Instance::Announce(CallContext& call) {
  if (record_.status == v1::INSTANCE_STATUS_STOPPING) co_return StoppedEarly();
  record_.status = v1::INSTANCE_STATUS_RUNNING;
  record_.wanted = true;
  record_.next_start_at.reset();
  record_.running_since = absl::Now();
  health_ = v1::HEALTH_HEALTHY;
  v1::EngineStarted event;
  event.set_engine_name(record_.engine);
  event.set_process_id(record_.process.pid);
  event.set_instance_id(record_.instance_id);
  event.set_model_id(record_.model_id);
  CO_RETURN_IF_ERROR(co_await CommitWith(call, around_.outbox.Emit(call, event)));
  spdlog::info("started instance={} engine={} pid={} seconds={:.2f}", record_.instance_id, record_.engine,
               record_.process.pid, absl::ToDoubleSeconds(absl::Now() - *record_.started_at));
  co_return absl::OkStatus();
}

bool Instance::PortWasTaken() const {
  if (!process_ || record_.status == v1::INSTANCE_STATUS_STOPPING) return false;
  const std::optional<process::Exit> exit = process_->Ended();
  if (!exit) return false;
  return MeansPortTaken(spec_, *exit) || !process::PortIsFree(record_.port);
}

absl::Status Instance::Explain(Step::Why why) const {
  const Policy limits = policy();
  switch (why) {
    case Step::Why::kStalled:
      return StartFailed(absl::StrCat("made no progress for ", absl::FormatDuration(limits.stall), " and was killed"));
    case Step::Why::kTooSlow:
      return StartFailed(absl::StrCat("was not ready after ", absl::FormatDuration(limits.start)));
    case Step::Why::kHung:
      return StartFailed(absl::StrCat("gave no answer for ", absl::FormatDuration(limits.hung), " and was killed"));
    default: break;
  }
  const std::optional<process::Exit> exit = process_ ? process_->Ended() : std::nullopt;
  return StartFailed(ExplainExit(spec_, exit.value_or(process::Exit())));
}

absl::Status Instance::StartFailed(const std::string& why) const {
  const std::string tail = process::TailOf(record_.log_path, 20);
  std::string message = absl::StrCat("instance '", record_.instance_id, "' of '", record_.engine, "' ", why);
  const std::vector<std::string> lines = absl::StrSplit(tail, '\n', absl::SkipEmpty());
  if (!lines.empty()) absl::StrAppend(&message, "; its log ends: ", lines.back());
  return Error(v1::ENGINE_START_FAILED, message,
               {{"instance_id", record_.instance_id}, {"engine", record_.engine}, {"log_tail", tail}});
}

}  // namespace aima::engine
