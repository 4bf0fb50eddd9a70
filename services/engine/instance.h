// One instance: a process tree that serves a model, from the wish to have it to the proof that it is gone.
#pragma once

#include <absl/status/statusor.h>
#include <absl/time/clock.h>
#include <absl/time/time.h>

#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "libs/base/call_context.h"
#include "libs/events/outbox.h"
#include "libs/process/shim.h"
#include "services/engine/feed.h"
#include "services/engine/health_probe.h"
#include "services/engine/installer.h"
#include "services/engine/instance_store.h"
#include "services/engine/launch.h"
#include "services/engine/neighbours.h"
#include "services/engine/planner.h"
#include "services/engine/record.h"

namespace aima::engine {

using StartFeed = Feed<v1::StartProgress>;
using StopFeed = Feed<bool>;

// What to start.
struct StartOrder {
  v1::EngineSpec spec;
  Installation installation;
  ServedModel model;  // without an id if the engine manages models itself
  v1::InstanceConfig requested;
  Retention retention;
  bool evict_idle = false;  // engines that nobody uses make room for it
  absl::Time not_before = absl::InfinitePast();
};

// How patient instances are.
struct Patience {
  absl::Duration stall = absl::Seconds(60);         // without progress while starting
  absl::Duration start = absl::Minutes(30);         // for a start, progress or not
  absl::Duration poll = absl::Milliseconds(200);    // between looks at an instance that starts
  absl::Duration probe_every = absl::Seconds(3);    // between looks at one that runs
  absl::Duration probe_timeout = absl::Seconds(3);  // for an answer to such a look
  int silences = 2;                                 // without an answer until it counts as unhealthy
  int64_t log_bytes = 16 << 20;
  absl::Duration hung = absl::Minutes(1);           // without an answer until it is killed
  absl::Duration stable = absl::Minutes(10);        // of running, after which earlier ends are forgotten
  absl::Duration first_backoff = absl::Seconds(1);  // until it is started again
  absl::Duration last_backoff = absl::Minutes(5);
  absl::Duration join = absl::Seconds(10);          // for which a caller waits for that; longer ones are told
  absl::Duration freed = absl::Seconds(5);          // until memory of what was unloaded is seen free
  absl::Duration idle = absl::Minutes(30);          // without a request until what was loaded on demand is unloaded
};

// What all instances of this process share. Outlives them.
struct Surroundings {
  Loop& loop;
  std::string data_dir;
  pg::Database& db;
  events::Outbox& outbox;
  InstanceStore& store;
  Neighbours& neighbours;
  HealthProbe& probe;
  Environment environment;
  Patience patience;
  std::function<void(Task<void>)> spawn;                    // work that no caller waits for
  std::function<CallContext(std::string_view)> background;  // its call context
  std::function<std::set<std::string>()> other_runs;        // markers of processes that are wanted for other reasons
  bool draining = false;  // the process ends: what cannot be stored now never will be
  // What to start once more; the engine and the model may have changed since. Set before Recover.
  std::function<Task<absl::StatusOr<StartOrder>>(CallContext&, Record)> order_again = nullptr;
  // Another engine service has taken over: whatever is in hand is its business now. Does not return in production.
  std::function<void()> superseded = [] {};
  std::function<bool()> in_office = [] { return true; };
  std::string tenure_file;  // which shims obey; empty is none
};

// Everything that happens to an instance happens on the loop, one thing at a time: a start that is under way is joined,
// a stop that is under way is joined, and a stop ends a start. Truth comes from the process, intent from the row, and
// the row is written before each step that it announces.
class Instance : public std::enable_shared_from_this<Instance> {
 public:
  Instance(Surroundings& around, Record record, v1::EngineSpec spec);

  const Record& record() const { return record_; }
  v1::Health health() const { return health_; }
  // How it is to be kept, as whoever asked last wants it; a start that is under way may not have recorded it yet.
  const Retention& wish() const { return wish_; }
  bool starting() const { return start_ && !start_->finished(); }
  bool stopping() const { return stop_ && !stop_->finished(); }
  // False of one that is there only because somebody asked for it and was refused. Nobody is told of it.
  bool begun() const { return record_.generation > 0 || starting() || stopping(); }
  // True if, besides, nothing of it is still at work.
  bool forgettable() const { return !begun() && !failure_; }

  // Starts it, or joins the start under way; a running instance gives a feed that is finished. The work does not stop
  // when nobody waits for it. ENGINE_INSTANCE_BUSY while it is being stopped.
  absl::StatusOr<std::shared_ptr<StartFeed>> Start(const CallContext& call, StartOrder order);

  // Begins to end it, or joins the stop under way. The feed finishes when nothing of it is left, whether anybody waits
  // for that or not.
  // `why` is told in the event; `restart_key` is stored with the wish.
  struct StopOrder {
    bool force = false;
    std::optional<absl::Duration> grace = std::nullopt;
    std::string why = "asked";
    std::string restart_key = "";
  };
  std::shared_ptr<StopFeed> Stop(const CallContext& call, StopOrder order);

  // Decides anew for how long it stays, and tells of that.
  Task<absl::Status> Keep(CallContext call, Retention retention);

  // After a restart of this service (Instances::Recover).
  void Adopt(std::unique_ptr<process::Shim> process);
  Task<void> Bury(std::optional<process::Exit> exit);
  Task<void> Clear();
  // Starts it again when its time has come, unless somebody stops it before.
  Task<void> KeepRunning(std::shared_ptr<Instance> self, int64_t generation);

  Policy policy() const;
  // Of this run alone: what its shim writes down.
  std::string RunDirectory() const;

 private:
  // instance_start.cc
  Task<bool> Withdraw(CallContext& call, const Record& before, const absl::Status& why);
  Task<void> RunStart(std::shared_ptr<Instance> self, CallContext call, StartOrder order,
                      std::shared_ptr<StartFeed> feed);
  Task<absl::Status> TryStart(CallContext& call, const StartOrder& order, StartFeed& feed);
  Task<absl::Status> Reserve(CallContext& call, const StartOrder& order, StartFeed& feed);
  Task<void> UntilStopping();
  Task<absl::Status> ReserveOrMakeRoom(CallContext& call, const StartOrder& order, StartFeed& feed);
  Task<absl::Status> Launch(CallContext& call, const StartOrder& order);
  Task<void> ResumeStart(std::shared_ptr<Instance> self, CallContext call, std::shared_ptr<StartFeed> feed);
  Task<absl::Status> AwaitReady(StartFeed& feed);
  Task<absl::Status> Announce(CallContext& call);
  void Prepare(const StartOrder& order);
  void StartLater(const std::shared_ptr<Instance>& self);
  Task<absl::Status> AwaitTurn(absl::Time not_before, StartFeed& feed);
  bool PortWasTaken() const;
  absl::Status Explain(Step::Why why) const;
  absl::Status StartFailed(const std::string& why) const;
  absl::Status StoppedEarly() const;

  // instance_watch.cc
  // Ends a start: what runs is watched, and what did not come back is tried again.
  void Conclude(std::shared_ptr<Instance> self, absl::Status status, StartFeed& feed);
  Task<void> Watch(std::shared_ptr<Instance> self, std::string run);
  Task<void> NoteAnswer(Answer answer, int& silences);
  Task<void> NoteStability(CallContext call);
  Observed Look() const;
  Task<bool> StartAgain(CallContext call);

  // instance.cc
  Task<void> RunStop(std::shared_ptr<Instance> self, CallContext call, StopOrder order, std::shared_ptr<StopFeed> feed);
  Task<absl::Status> TryStop(CallContext& call, const StopOrder& order);
  Task<absl::Status> EndProcesses(absl::Duration grace);
  void PlanNextStart();
  void ForgetRun() const;
  // Cleans up and records why. Nothing else is done to the instance until it has finished.
  Task<void> Fail(CallContext call, absl::Status why);
  Task<absl::Status> GiveBackSlot(CallContext& call);
  Task<void> KeepGivingBack(std::shared_ptr<Instance> self, std::string slot_id);
  Task<absl::Status> Commit(CallContext& call);
  Task<absl::Status> Write(CallContext& call, std::vector<pg::Operation> also);
  // Stores what has happened already, and so cannot be refused: if the database is away, it is stored when it is back.
  Task<void> CommitFact(CallContext& call, const google::protobuf::Message& event);
  Task<absl::Status> CommitWith(CallContext& call, pg::Operation told);
  Task<void> KeepCommitting(std::shared_ptr<Instance> self, CallContext call, pg::Operation told);
  Task<void> PauseOrEnd(absl::Duration time);

  Surroundings& around_;
  Record record_;
  v1::EngineSpec spec_;
  std::shared_ptr<process::Shim> process_;
  v1::Health health_ = v1::HEALTH_UNSPECIFIED;
  absl::Time silent_since_ = absl::InfiniteFuture();
  std::shared_ptr<StartFeed> start_;
  std::shared_ptr<StopFeed> stop_;
  std::shared_ptr<StopFeed> failure_;  // being cleaned up
  std::set<std::string> giving_back_;  // slots for which KeepGivingBack runs
  std::string watched_;                // run for which Watch runs
  Retention wish_;                     // of whoever asked last
};

// In the environment of every process of an instance: the data directory. Those of other directories are left alone.
inline constexpr std::string_view kHomeVariable = "AIMA_HOME";

}  // namespace aima::engine
