#include "services/inference/loader.h"

#include <absl/strings/str_cat.h>
#include <absl/time/clock.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "aima/engine/v1/engine.pb.h"
#include "libs/base/status_macros.h"
#include "libs/errors/errors.h"
#include "libs/errors/missing_memory.h"
#include "services/inference/loader_demand.h"

namespace aima::inference {
namespace {

// A load goes on when those who asked for it leave, for at most this long.
constexpr absl::Duration kLoadFor = absl::Minutes(10);

// Answers before the caller's own clock ends its call, so that it learns why.
absl::Time ShortOf(absl::Time deadline) {
  if (deadline == absl::InfiniteFuture()) return deadline;
  const absl::Duration left = deadline - absl::Now();
  return deadline - std::clamp(left / 10, absl::ZeroDuration(), absl::Duration(absl::Milliseconds(500)));
}

// With less context it may fit.
bool IsTooMuch(const absl::Status& status) {
  return HasReason(status, v1::INFERENCE_NO_ROOM) || HasReason(status, engine::v1::ENGINE_START_FAILED);
}

}  // namespace

Loader::Loader(Loop& loop, EngineDirectory& engines, EngineTable& table, LoaderSettings settings)
    : loop_(loop), engines_(engines), table_(table), settings_(settings), self_(std::make_shared<Loader*>(this)) {}

Task<absl::Status> Loader::Load(CallContext call, std::string model_id, v1::LoadOptions load) {
  if (const auto failed = failures_.find(model_id); failed != failures_.end() && absl::Now() < failed->second.until) {
    co_return failed->second.status;
  }
  co_return co_await Join(std::move(call), std::move(model_id), std::move(load), std::nullopt);
}

Task<absl::Status> Loader::LoadLarger(CallContext call, std::string model_id, v1::LoadOptions load) {
  if (!Possible(model_id, load).has_context_length()) co_return absl::OkStatus();
  const auto loading = loads_.find(model_id);  // for somebody who has left
  if (loading != loads_.end() && loading->second != nullptr && !loading->second->done()) co_return absl::OkStatus();
  for (EngineTable::Used& engine : Idle()) {
    if (engine.models != std::vector<std::string>{model_id}) continue;
    // At once: from now on nobody else is given a place in it.
    table_.Close(engine.instance_id);
    co_return co_await Join(std::move(call), std::move(model_id), std::move(load), std::move(engine));
  }
  co_return absl::OkStatus();
}

// Waits for the load that is under way, or begins it.
Task<absl::Status> Loader::Join(CallContext call, std::string model_id, v1::LoadOptions wanted,
                                std::optional<EngineTable::Used> instead_of) {
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
  if (load == nullptr || load->done()) {
    load = loads_[model_id] = Flight::Launch(loop_, Run(call, model_id, std::move(wanted), std::move(instead_of)));
  }
  const absl::Time deadline = ShortOf(call.deadline);
  absl::Status status = co_await load->Wait(deadline, absl::StrCat("an engine for model '", model_id, "'"));
  if (!load->done()) {
    for (const Demand* demand : demands_) {
      if (demand->model == model_id && !demand->missing.empty()) co_return NoRoom(*demand);
    }
  }
  co_return status;
}

Task<absl::Status> Loader::Run(CallContext call, std::string model_id, v1::LoadOptions load,
                               std::optional<EngineTable::Used> instead_of) {
  call.idempotency_key.clear();
  if (instead_of) {
    const bool gone = co_await Unload(call, instead_of->instance_id, instead_of->generation, UnloadReason::kReload);
    if (!gone) co_return absl::OkStatus();  // somebody wants it as it is
  }
  Demand demand(*this, model_id);
  if (instead_of) demand.patience = kTriesAfterUnload;
  load = Possible(model_id, std::move(load));
  absl::Status status = co_await Start(call, demand, load);
  if (load.has_context_length() && IsTooMuch(status)) {
    spdlog::warn("model={} is not loaded with {} tokens of context, but as usual: {}", model_id, load.context_length(),
                 DetailsOf(status).message);
    too_large_[model_id] = {load.context_length(), absl::Now() + settings_.too_large};
    status = co_await Start(call, demand, Possible(model_id, std::move(load)));
    if (!status.ok()) too_large_.erase(model_id);  // it was not for the context
  }
  if (!status.ok()) co_return Noted(model_id, std::move(status));
  failures_.erase(model_id);
  call.deadline = absl::Now() + kLoadFor;
  const absl::Time patient_until = absl::Now() + settings_.unreachable;
  while (true) {
    status = co_await table_.ReadAnew(call);
    if (!IsAway(status) || absl::Now() >= patient_until) co_return status;
    Waiter waiter(loop_);
    co_await waiter.Wait(absl::Now() + settings_.pause);
  }
}

v1::LoadOptions Loader::Possible(const std::string& model_id, v1::LoadOptions load) const {
  const auto known = too_large_.find(model_id);
  const bool too_large = known != too_large_.end() && absl::Now() < known->second.until &&
                         load.context_length() >= known->second.context_length;
  if (too_large) load.clear_context_length();
  return load;
}

Task<absl::Status> Loader::Start(CallContext call, Demand& demand, const v1::LoadOptions& load) {
  call.deadline = absl::Now() + kLoadFor;
  absl::Time away_since = absl::InfiniteFuture();
  while (true) {
    co_await AwaitTaking(demand);
    const absl::Time begun = absl::Now();
    absl::Status status = co_await engines_.Start(call, demand.model, load);
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
