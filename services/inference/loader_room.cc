// Who makes room, and how engines are unloaded (loader.h).
#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>
#include <absl/time/clock.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "aima/engine/v1/engine.pb.h"
#include "libs/base/status_macros.h"
#include "libs/errors/errors.h"
#include "services/inference/loader_demand.h"

namespace aima::inference {
namespace {

constexpr absl::Duration kUnloadFor = absl::Minutes(2);
// Between looks at what is idle, if nothing changes.
constexpr absl::Duration kLookAtIdle = absl::Seconds(30);

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
    spdlog::info("unloaded instance={} reason={}", instance_id,
                 reason == UnloadReason::kRoom     ? "room"
                 : reason == UnloadReason::kReload ? "reload"
                                                   : "idle");
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

}  // namespace aima::inference
