#include "services/inference/loader.h"

#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>
#include <absl/time/clock.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <optional>

#include "aima/engine/v1/engine.pb.h"
#include "libs/base/status_macros.h"
#include "libs/errors/errors.h"
#include "libs/errors/missing_memory.h"

namespace aima::inference {
namespace {

// A load goes on when those who asked for it leave, for at most this long.
constexpr absl::Duration kLoadFor = absl::Minutes(10);
constexpr absl::Duration kUnloadFor = absl::Minutes(2);
constexpr int kTriesAfterUnload = 25;
// Between looks at what is idle, if nothing changes.
constexpr absl::Duration kLookAtIdle = absl::Seconds(30);

// Answers before the caller's own clock ends its call, so that it learns why.
absl::Time ShortOf(absl::Time deadline) {
  if (deadline == absl::InfiniteFuture()) return deadline;
  const absl::Duration left = deadline - absl::Now();
  return deadline - std::clamp(left / 10, absl::ZeroDuration(), absl::Duration(absl::Milliseconds(500)));
}

// The engine service, or something that it needs, is away for a moment. What it was told may have been done.
bool IsAway(const absl::Status& status) {
  return HasReason(status, unit::v1::UNAVAILABLE) || HasReason(status, unit::v1::OUTCOME_UNKNOWN);
}

std::vector<EngineTable::Used> Chosen(const std::vector<EngineTable::Used>& engines, const EvictionPlan& plan) {
  std::vector<EngineTable::Used> chosen;
  for (const EngineTable::Used& engine : engines) {
    const bool goes = std::find(plan.unload.begin(), plan.unload.end(), engine.instance_id) != plan.unload.end();
    if (goes) chosen.push_back(engine);
  }
  return chosen;
}

std::string Megabytes(int64_t bytes) { return absl::StrCat((bytes + 999'999) / 1'000'000, " MB"); }

}  // namespace

// Leaves everything that it is in however its coroutine ends.
struct Loader::Demand {
  Demand(Loader& l, std::string m) : loader(l), alive(l.self_), model(std::move(m)) { loader.demands_.push_back(this); }
  ~Demand() {
    if (alive.expired()) return;  // the process ends
    for (const std::string& instance : closed) loader.table_.Reopen(instance);
    loader.demands_.remove(this);
    loader.line_.remove(this);
    if (loader.taking_ == this) loader.taking_ = nullptr;
    if (loader.line_.empty()) loader.turns_.clear();
    loader.Changed();
  }
  Loader& loader;
  const std::weak_ptr<Loader*> alive;
  const std::string model;
  std::string missing;            // in words, while it finds no memory
  std::vector<std::string> closed;  // for it
  int patience = 0;                 // tries that are left although nobody can make room
};

Loader::Loader(Loop& loop, EngineDirectory& engines, EngineTable& table, LoaderSettings settings)
    : loop_(loop), engines_(engines), table_(table), settings_(settings), self_(std::make_shared<Loader*>(this)) {}

Task<absl::Status> Loader::Load(CallContext call, std::string model_id) {
  if (const auto failed = failures_.find(model_id); failed != failures_.end() && absl::Now() < failed->second.until) {
    co_return failed->second.status;
  }
  struct Place {
    Place(Loader& l, const std::string& m) : loader(l), alive(l.self_), model(m) { ++loader.waiting_[model]; }
    ~Place() {
      if (alive.expired()) return;
      if (--loader.waiting_[model] == 0) loader.Changed();
    }
    Loader& loader;
    const std::weak_ptr<Loader*> alive;
    const std::string model;
  };
  if (static_cast<size_t>(waiting_[model_id]) >= settings_.max_waiting) {
    co_return Error(unit::v1::OVERLOADED,
                    absl::StrCat("model '", model_id, "' is being loaded and has ", settings_.max_waiting, " waiting"),
                    {{"model", model_id}, {"retry_after_s", "1"}});
  }
  const Place place(*this, model_id);
  std::shared_ptr<Flight> load = loads_[model_id];
  if (load == nullptr || load->done()) load = loads_[model_id] = Flight::Launch(loop_, Run(call, model_id));
  const absl::Time deadline = ShortOf(call.deadline);
  absl::Status status = co_await load->Wait(deadline, absl::StrCat("an engine for model '", model_id, "'"));
  if (!load->done()) {
    for (const Demand* demand : demands_) {
      if (demand->model == model_id && !demand->missing.empty()) co_return NoRoom(*demand);
    }
  }
  co_return status;
}

Task<absl::Status> Loader::Run(CallContext call, std::string model_id) {
  call.deadline = absl::Now() + kLoadFor;
  call.idempotency_key.clear();
  Demand demand(*this, model_id);
  absl::Status status = co_await Start(call, demand);
  if (!status.ok()) co_return Noted(model_id, std::move(status));
  failures_.erase(model_id);
  const absl::Time patient_until = absl::Now() + settings_.unreachable;
  while (true) {
    status = co_await table_.ReadAnew(call);
    if (!IsAway(status) || absl::Now() >= patient_until) co_return status;
    Waiter waiter(loop_);
    co_await waiter.Wait(absl::Now() + settings_.pause);
  }
}

Task<absl::Status> Loader::Start(CallContext& call, Demand& demand) {
  absl::Time away_since = absl::InfiniteFuture();
  while (true) {
    co_await AwaitTaking(demand);
    const absl::Time begun = absl::Now();
    absl::Status status = co_await engines_.Start(call, demand.model);
    if (taking_ == &demand) taking_ = nullptr;
    Changed();
    if (status.ok()) {
      load_times_[demand.model] = absl::Now() - begun;
      co_return status;
    }
    if (const std::optional<int64_t> missing = MissingMemory(status)) {
      CO_RETURN_IF_ERROR(co_await MakeRoom(call, demand, *missing));
      continue;
    }
    demand.missing.clear();
    const bool stops = HasReason(status, engine::v1::ENGINE_INSTANCE_BUSY);
    if (!IsAway(status)) away_since = absl::InfiniteFuture();
    if (IsAway(status)) away_since = std::min(away_since, absl::Now());
    const bool patient = stops || absl::Now() - away_since < settings_.unreachable;
    if ((!stops && !IsAway(status)) || !patient || absl::Now() >= call.deadline) co_return status;
    Waiter waiter(loop_);
    co_await waiter.Wait(absl::Now() + settings_.pause);
  }
}

// OK when it is worth while to try again.
Task<absl::Status> Loader::MakeRoom(CallContext& call, Demand& demand, int64_t missing) {
  if (std::find(line_.begin(), line_.end(), &demand) == line_.end()) line_.push_back(&demand);
  demand.missing = absl::StrCat("model '", demand.model, "' needs ", Megabytes(missing), " more memory than is free");
  const absl::Time try_again = absl::Now() + settings_.try_again;
  bool read = false;
  bool waited = false;
  while (true) {
    if (waiting_[demand.model] == 0) co_return Error(unit::v1::CANCELLED, "nobody waits for the model any more");
    if (absl::Now() >= call.deadline) co_return NoRoom(demand);
    if (absl::Now() >= try_again) co_return absl::OkStatus();
    if (line_.front() != &demand || IsTaken(demand)) {
      waited = true;
      co_await Await(in_line_, try_again);
      continue;
    }
    const std::vector<EngineTable::Used> engines = Look();
    const EvictionPlan plan = PlanEviction({engines.begin(), engines.end()}, missing, settings_.turns, absl::Now());
    if (!plan.possible && demands_.size() == line_.size()) {
      // Nobody is being loaded who will have to make room in turn. What was waited for may have freed memory as it went.
      if (waited) co_return absl::OkStatus();
      if (read && demand.patience == 0) co_return NoRoom(demand);
      if (read) {
        // What an engine has freed may take a moment to be seen.
        --demand.patience;
        Waiter waiter(loop_);
        co_await waiter.Wait(absl::Now() + settings_.pause);
        co_return absl::OkStatus();
      }
      const absl::Status anew = co_await table_.ReadAnew(call);
      if (IsAway(anew)) {
        Waiter waiter(loop_);
        co_await waiter.Wait(absl::Now() + settings_.pause);
        co_return absl::OkStatus();
      }
      CO_RETURN_IF_ERROR(anew);
      read = true;
      continue;
    }
    if (!plan.unload.empty()) {
      taking_ = &demand;
      taking_until_ = absl::InfiniteFuture();
      const std::vector<EngineTable::Used> gone = co_await UnloadAll(call, Chosen(engines, plan), demand.closed);
      for (const EngineTable::Used& engine : gone) {
        std::erase(demand.closed, engine.instance_id);
        missing -= engine.memory;
      }
      if (gone.size() == plan.unload.size()) {
        demand.patience = kTriesAfterUnload;
        demand.missing.clear();
        // Enough for a start to take what is free; how long the model then loads is nobody else's affair.
        taking_until_ = absl::Now() + settings_.try_again;
        co_return absl::OkStatus();
      }
      if (taking_ == &demand) taking_ = nullptr;
      Wake(in_line_);
      continue;
    }
    for (const std::string& instance : plan.close) {
      table_.Close(instance);
      demand.closed.push_back(instance);
    }
    waited = true;
    co_await Await(in_line_, std::min(plan.look_again, try_again));
  }
}

// An engine that is closed for being unloaded must not stay so because the caller has left.
Task<absl::StatusOr<Loader::Room>> Loader::MakeIdleRoom(CallContext call, int64_t bytes, bool only_look) {
  const auto room = std::make_shared<Room>();
  const std::shared_ptr<Flight> search = Flight::Launch(loop_, FindIdleRoom(call, bytes, only_look, room));
  CO_RETURN_IF_ERROR(co_await search->Wait(call.deadline, "idle engines to make room"));
  co_return *room;
}

// Who asks for this is no request that can wait for others to end: what is in use counts as taken.
Task<absl::Status> Loader::FindIdleRoom(CallContext call, int64_t bytes, bool only_look, std::weak_ptr<Room> asked) {
  Demand demand(*this, "");
  (co_await table_.ReadAnew(call)).IgnoreError();
  TurnPolicy at_once = settings_.turns;
  at_once.shortest_linger = at_once.longest_linger = absl::ZeroDuration();
  while (true) {
    if (!only_look) co_await AwaitTaking(demand);
    const std::shared_ptr<Room> room = asked.lock();
    if (room == nullptr) co_return Error(unit::v1::CANCELLED, "nobody waits for room any more");
    const std::vector<EngineTable::Used> idle = Idle();
    const EvictionPlan plan = PlanEviction({idle.begin(), idle.end()}, bytes, at_once, absl::Now());
    room->enough = !plan.unload.empty();
    if (!room->enough || only_look) {
      room->engines = room->enough ? Chosen(idle, plan) : idle;
      co_return absl::OkStatus();
    }
    taking_ = &demand;
    taking_until_ = absl::InfiniteFuture();
    for (EngineTable::Used& engine : co_await UnloadAll(call, Chosen(idle, plan), {})) {
      bytes -= engine.memory;
      room->unloaded.push_back(std::move(engine));
    }
    if (bytes <= 0) co_return absl::OkStatus();
  }
}

// What may go at once: nobody uses it, or has had it loaded and is about to.
std::vector<EngineTable::Used> Loader::Idle() {
  std::vector<EngineTable::Used> idle;
  for (EngineTable::Used& engine : Look()) {
    const bool wanted = std::any_of(engine.models.begin(), engine.models.end(), [this](const std::string& model) {
      const auto waiting = waiting_.find(model);
      return waiting != waiting_.end() && waiting->second > 0;
    });
    const bool used = engine.closed || engine.in_flight > 0 || engine.queued > 0;  // closed: it makes room for another
    if (engine.evictable && engine.memory > 0 && !used && !wanted) idle.push_back(std::move(engine));
  }
  return idle;
}

// Memory that was freed for another is the other's.
bool Loader::IsTaken(const Demand& demand) const {
  return taking_ != nullptr && taking_ != &demand && absl::Now() < taking_until_;
}

Task<void> Loader::AwaitTaking(const Demand& demand) {
  while (IsTaken(demand)) co_await Await(in_line_, std::min(taking_until_, absl::Now() + settings_.try_again));
}

// All at once: while the first one stops, the others get nothing in hand. Ends with the first that is not unloaded; those
// after it serve on, unless they are to stay closed. Returns what is gone.
Task<std::vector<EngineTable::Used>> Loader::UnloadAll(CallContext call, std::vector<EngineTable::Used> engines,
                                                       const std::vector<std::string>& stay_closed) {
  for (const EngineTable::Used& engine : engines) table_.Close(engine.instance_id);
  std::vector<EngineTable::Used> gone;
  bool done = true;
  for (const EngineTable::Used& engine : engines) {
    if (done) {
      done = co_await Unload(call, engine.instance_id, engine.generation, UnloadReason::kRoom);
      if (done) gone.push_back(engine);
    } else if (std::find(stay_closed.begin(), stay_closed.end(), engine.instance_id) == stay_closed.end()) {
      table_.Reopen(engine.instance_id);
    }
  }
  co_return gone;
}

// False if it is not, because somebody wants to keep it.
Task<bool> Loader::Unload(CallContext call, std::string instance_id, int64_t generation, UnloadReason reason) {
  call.deadline = absl::Now() + kUnloadFor;
  call.idempotency_key.clear();
  table_.Close(instance_id);
  absl::Status status;
  while (true) {
    status = co_await engines_.Unload(call, instance_id, generation, reason);
    if (!IsAway(status) || absl::Now() >= call.deadline) break;
    Waiter waiter(loop_);
    co_await waiter.Wait(absl::Now() + settings_.pause);
  }
  const bool gone = status.ok() || HasReason(status, engine::v1::ENGINE_NOT_FOUND);
  if (gone) {
    spdlog::info("unloaded instance={} reason={}", instance_id, reason == UnloadReason::kRoom ? "room" : "idle");
    table_.Forget(instance_id);
  } else {
    spdlog::warn("instance={} is not unloaded: {}", instance_id, DetailsOf(status).message);
    kept_[instance_id] = absl::Now() + settings_.kept;
    table_.Reopen(instance_id);
  }
  (co_await table_.ReadAnew(call)).IgnoreError();
  co_return gone;
}

Task<void> Loader::UnloadIdle(CallContext call) {
  while (true) {
    const absl::Time now = absl::Now();
    absl::Time next = now + kLookAtIdle;
    const EngineTable::Used* due = nullptr;
    const std::vector<EngineTable::Used> engines = Look();
    for (const EngineTable::Used& engine : engines) {
      const auto kept = kept_.find(engine.instance_id);
      if (engine.idle_timeout <= absl::ZeroDuration()) continue;
      const bool busy = engine.closed || engine.in_flight > 0 || engine.queued > 0;
      absl::Time at = (busy ? now : engine.last_used) + engine.idle_timeout;
      if (kept != kept_.end()) at = std::max(at, kept->second);
      next = std::min(next, at);
      if (at <= now) due = &engine;
    }
    if (due != nullptr) {
      co_await Unload(call, due->instance_id, due->generation, UnloadReason::kIdle);
    } else {
      co_await Await(watching_, next);
    }
  }
}

// The engines, with their turns and the loads of their models.
std::vector<EngineTable::Used> Loader::Look() {
  const absl::Time now = absl::Now();
  std::vector<EngineTable::Used> engines = table_.Engines();
  for (EngineTable::Used& engine : engines) {
    const auto kept = kept_.find(engine.instance_id);
    if (kept != kept_.end() && kept->second > now) {
      engine.evictable = false;
      engine.why_kept = "wanted";
    }
    for (const std::string& model : engine.models) {
      const auto load = load_times_.find(model);
      if (load != load_times_.end()) engine.load_time = std::max(engine.load_time, load->second);
    }
    if (line_.empty()) continue;
    Turn& turn = turns_[engine.instance_id];
    if (turn.generation != engine.generation) turn = {engine.generation, now, engine.granted};
    engine.turn_began = turn.began;
    engine.turn_served = engine.granted - turn.granted;
  }
  return engines;
}

std::string Loader::Holders() const {
  std::vector<std::string> holders;
  for (const EngineTable::Used& engine : table_.Engines()) {
    if (engine.memory <= 0) continue;
    const std::string why = !engine.evictable       ? engine.why_kept
                            : engine.in_flight > 0 ? absl::StrCat(engine.in_flight, " requests in hand")
                                                   : "idle";
    holders.push_back(absl::StrCat("'", engine.instance_id, "' (", Megabytes(engine.memory), ", ", why, ")"));
  }
  return holders.empty() ? "no engine that is known to serve anything" : absl::StrJoin(holders, ", ");
}

absl::Status Loader::NoRoom(const Demand& demand) const {
  return Error(v1::INFERENCE_NO_ROOM, absl::StrCat(demand.missing, "; it is held by ", Holders()),
               {{"model", demand.model}, {"retry_after_s", "1"}});
}

// A start that failed costs time and memory, and most fail again.
absl::Status Loader::Noted(const std::string& model_id, absl::Status status) {
  if (!HasReason(status, engine::v1::ENGINE_START_FAILED)) return status;
  Failure& failure = failures_[model_id];
  absl::Duration backoff = settings_.first_backoff;
  for (int i = 0; i < failure.times && backoff < settings_.last_backoff; ++i) backoff *= 2;
  ++failure.times;
  failure.status = status;
  failure.until = absl::Now() + std::min(backoff, settings_.last_backoff);
  return status;
}

Task<void> Loader::Await(Waiters& waiters, absl::Time until) {
  struct Place {
    Place(Loader& loader, Waiters& w) : alive(loader.self_), waiters(w), waiter(loader.loop_) {
      waiters.push_back(&waiter);
    }
    ~Place() {
      if (!alive.expired()) waiters.remove(&waiter);
    }
    const std::weak_ptr<Loader*> alive;
    Waiters& waiters;
    Waiter waiter;
  } place(*this, waiters);
  co_await place.waiter.Wait(until);
}

void Loader::Changed() {
  Wake(in_line_);
  Wake(watching_);
}

void Loader::Wake(const Waiters& waiters) {
  for (Waiter* waiter : waiters) waiter->Wake();
}

}  // namespace aima::inference
