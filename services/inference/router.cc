#include "services/inference/router.h"

#include <absl/strings/str_cat.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "libs/base/status_macros.h"
#include "libs/errors/errors.h"
#include "libs/unit/json_codec.h"

namespace aima::inference {
namespace {

// Between questions about an engine that was lost, while the engine service is away.
constexpr absl::Duration kLongestPause = absl::Seconds(5);
constexpr int32_t kLeastContext = 64;  // of engine.start

std::shared_ptr<Replica> LeastBusy(const std::vector<std::shared_ptr<Replica>>& replicas) {
  std::shared_ptr<Replica> best;
  for (const std::shared_ptr<Replica>& replica : replicas) {
    if (replica->closed || replica->in_flight >= replica->endpoint.max_concurrent) continue;
    if (best == nullptr || replica->in_flight < best->in_flight) best = replica;
  }
  return best;
}

void Give(Replica& replica) {
  ++replica.in_flight;
  ++replica.granted;
}

absl::Status CheckType(const ModelRecord& model, Ask ask) {
  if (CanDo(model.type, ask)) return absl::OkStatus();
  const std::string type = EnumText(*v1::ModelType_descriptor()->FindValueByNumber(model.type));
  return Error(v1::INFERENCE_WRONG_MODEL_TYPE,
               absl::StrCat("'", model.id, "' is of type ", type, "; this needs a model of type ", TypesFor(ask)),
               {{"model", model.id}, {"type", type}, {"needed", TypesFor(ask)}});
}

absl::Status NotReady(const ModelRecord& model) {
  if (model.engine.empty()) {
    return Error(v1::INFERENCE_MODEL_NOT_READY,
                 absl::StrCat("model '", model.id, "' is not ready: its status is ", model.status),
                 {{"model", model.id}, {"status", model.status}});
  }
  return Error(v1::INFERENCE_ENGINE_NOT_INSTALLED,
               absl::StrCat("model '", model.id, "' comes with the engine '", model.engine, "', which is ", model.status,
                            ": run `aima exec engine.install --name ", model.engine, "`"),
               {{"model", model.id}, {"engine", model.engine}});
}

absl::Status ProcessEnds() { return absl::CancelledError("the process ends"); }

}  // namespace

Router::Lease& Router::Lease::operator=(Lease&& other) noexcept {
  Release();
  router_ = std::move(other.router_);
  replica_ = std::exchange(other.replica_, nullptr);
  model_ = std::move(other.model_);
  since_ = other.since_;
  call_ = std::move(other.call_);
  return *this;
}

void Router::Lease::Release() {
  const std::shared_ptr<Replica> replica = std::exchange(replica_, nullptr);
  if (replica == nullptr) return;
  --replica->in_flight;
  replica->last_used = absl::Now();
  const std::shared_ptr<Router*> router = router_.lock();
  if (router == nullptr) return;
  Serving& serving = *(*router)->serving_[model_.id];
  const double seconds = absl::ToDoubleSeconds(absl::Now() - since_);
  serving.mean_seconds = serving.mean_seconds == 0 ? seconds : 0.8 * serving.mean_seconds + 0.2 * seconds;
  (*router)->Serve(serving);
  (*router)->loader_.Used();
}

void Router::Lease::MarkLost() {
  if (const std::shared_ptr<Router*> router = router_.lock(); router != nullptr && replica_ != nullptr) {
    (*router)->Drop(*(*router)->serving_[model_.id], replica_);
    (*router)->LookAgain(call_);
  }
}

Router::Router(Loop& loop, ModelDirectory& models, EngineDirectory& engines, bool auto_start, LoaderSettings loading)
    : loop_(loop),
      engines_(engines),
      auto_start_(auto_start),
      pause_(loading.pause),
      catalog_(loop, models),
      self_(std::make_shared<Router*>(this)),
      loader_(loop, engines, *this, loading) {}

Task<absl::StatusOr<Router::Lease>> Router::Acquire(const CallContext& call, Wanted wanted, Ask ask) {
  CO_ASSIGN_OR_RETURN(const ModelRecord record, co_await Resolve(call, wanted.model));
  CO_RETURN_IF_ERROR(CheckType(record, ask));
  v1::LoadOptions& load = wanted.load;
  if (load.has_context_length() && record.context_length > 0) {
    load.set_context_length(std::min(load.context_length(), std::max(record.context_length, kLeastContext)));
  }
  while (true) {
    CO_RETURN_IF_ERROR(co_await EnsureReplica(call, record, load));
    if (IsShort(record, load)) {
      CO_RETURN_IF_ERROR(co_await loader_.LoadLarger(call, record.id, load));
      CO_RETURN_IF_ERROR(co_await EnsureReplica(call, record, load));
    }
    CO_ASSIGN_OR_RETURN(std::shared_ptr<Replica> replica, co_await TakePlace(call, record));
    if (replica != nullptr) co_return MakeLease(call, std::move(replica), record);
  }
}

Router::Lease Router::MakeLease(const CallContext& call, std::shared_ptr<Replica> replica,
                                const ModelRecord& model) {
  Lease lease;
  lease.router_ = self_;
  lease.replica_ = std::move(replica);
  lease.model_ = model;
  lease.since_ = absl::Now();
  lease.call_ = call;
  return lease;
}

// As the catalog does it; while the model service is away, models that run are known all the same.
Task<absl::StatusOr<ModelRecord>> Router::Resolve(const CallContext& call, const std::string& model) {
  absl::StatusOr<ModelRecord> record = co_await catalog_.Resolve(call, model);
  if (!record.ok() && !HasReason(record.status(), v1::INFERENCE_MODEL_NOT_FOUND)) {
    const auto it = serving_.find(model);
    if (it != serving_.end() && !it->second->replicas.empty()) {
      ModelRecord running;
      running.id = running.name = model;
      running.ready = true;
      co_return running;
    }
  }
  co_return record;
}

bool Router::IsShort(const ModelRecord& model, const v1::LoadOptions& load) const {
  // Where nobody knows what the model can take, more may be no better.
  if (!auto_start_ || !load.has_context_length() || model.context_length <= 0) return false;
  const auto& replicas = serving_.at(model.id)->replicas;
  if (replicas.size() != 1) return false;
  const int32_t now = replicas[0]->endpoint.context_length;
  return now > 0 && now < load.context_length();
}

// Returns OK once at least one engine serves the model.
Task<absl::Status> Router::EnsureReplica(const CallContext& call, const ModelRecord& model, const v1::LoadOptions& load) {
  std::unique_ptr<Serving>& slot = serving_[model.id];
  if (slot == nullptr) slot = std::make_unique<Serving>();
  Serving& serving = *slot;  // never erased
  if (!serving.replicas.empty()) co_return absl::OkStatus();
  const absl::Status read = co_await Refresh(call);
  if (!serving.replicas.empty()) co_return absl::OkStatus();
  // Whoever may start an engine waits until it can.
  if (!read.ok() && !(auto_start_ && absl::IsUnavailable(read))) co_return read;
  if (!model.ready) co_return NotReady(model);
  if (!auto_start_) {
    co_return Error(v1::INFERENCE_MODEL_NOT_RUNNING, absl::StrCat("no engine serves model '", model.id, "'"),
                    {{"model", model.id}});
  }
  CO_RETURN_IF_ERROR(co_await loader_.Load(call, model.id, load));
  if (serving.replicas.empty()) {
    co_return Error(v1::INFERENCE_ENGINE_LOST,
                    absl::StrCat("the engine that was started for model '", model.id, "' no longer runs"),
                    {{"model", model.id}});
  }
  co_return absl::OkStatus();
}

// A reading that is under way may be from before now.
Task<absl::Status> Router::ReadAnew(CallContext call) {
  if (reading_ != nullptr && !reading_->done()) {
    const std::weak_ptr<Router*> alive = self_;
    (co_await Refresh(call)).IgnoreError();
    if (alive.expired()) co_return ProcessEnds();
  }
  co_return co_await Refresh(call);
}

// Often only a connection broke and the engine is well; that it has ended, its service sees within a moment.
void Router::LookAgain(CallContext call) {
  lost_ = true;
  if (looking_ != nullptr && !looking_->done()) return;
  call.deadline = absl::InfiniteFuture();  // whoever lost it has left long before
  call.idempotency_key.clear();
  looking_ = Flight::Launch(loop_, ReadUntilKnown(std::move(call)));
}

Task<absl::Status> Router::ReadUntilKnown(CallContext call) {
  const std::weak_ptr<Router*> alive = self_;
  absl::Duration pause = pause_;
  absl::Status read = absl::UnknownError("not read yet");
  while (!alive.expired() && (lost_ || !read.ok())) {
    Waiter waiter(loop_);
    co_await waiter.Wait(absl::Now() + pause);
    if (alive.expired()) break;
    lost_ = false;
    read = co_await ReadAnew(call);
    if (alive.expired()) break;
    pause = read.ok() ? pause_ : std::min(pause * 2, kLongestPause);
  }
  co_return read;
}

// A place in an engine, now or when it is this caller's turn; null if the last engine went away meanwhile.
Task<absl::StatusOr<std::shared_ptr<Replica>>> Router::TakePlace(const CallContext& call,
                                                                 const ModelRecord& model) {
  Serving& serving = *serving_[model.id];
  if (serving.queue.empty()) {
    if (std::shared_ptr<Replica> replica = LeastBusy(serving.replicas); replica != nullptr) {
      Give(*replica);
      co_return replica;
    }
  }
  if (serving.queue.size() >= kMaxQueued) co_return QueueFull(model, serving);
  // Leaves the queue however this coroutine ends, and passes on a place that was granted but not taken.
  struct InQueue {
    InQueue(Router& r, Serving& s) : router(r), alive(r.self_), serving(s), queued(r.loop_) {
      serving.queue.push_back(&queued);
    }
    ~InQueue() {
      if (alive.expired()) return;  // the process ends
      serving.queue.remove(&queued);
      if (queued.granted != nullptr) {
        --queued.granted->in_flight;
        router.Serve(serving);
        router.loader_.Used();
      }
    }
    Router& router;
    std::weak_ptr<Router*> alive;
    Serving& serving;
    Queued queued;
  } place(*this, serving);
  co_await place.queued.waiter.Wait(call.deadline);
  if (!place.queued.waiter.woken()) {
    co_return GaveUp(call.deadline, absl::StrCat("an engine of model '", model.id, "' to be free"));
  }
  co_return std::exchange(place.queued.granted, nullptr);
}

void Router::Serve(Serving& serving) {
  while (!serving.queue.empty()) {
    std::shared_ptr<Replica> replica = LeastBusy(serving.replicas);
    if (replica == nullptr && !serving.replicas.empty()) return;
    // Without any engine left, everybody looks anew.
    Queued* next = serving.queue.front();
    serving.queue.pop_front();
    if (replica != nullptr) Give(*replica);
    next->granted = std::move(replica);
    next->waiter.Wake();
  }
}

absl::Status Router::QueueFull(const ModelRecord& model, const Serving& serving) const {
  int places = 0;
  for (const auto& replica : serving.replicas) places += replica->endpoint.max_concurrent;
  const double wait = serving.mean_seconds * static_cast<double>(serving.queue.size()) / std::max(1, places);
  const int64_t retry_s = std::llround(std::ceil(std::clamp(wait, 1.0, 60.0)));
  return Error(unit::v1::OVERLOADED,
               absl::StrCat("model '", model.id, "' has ", places, " requests in hand and ", serving.queue.size(),
                            " waiting"),
               {{"model", model.id}, {"retry_after_s", absl::StrCat(retry_s)}});
}

Task<absl::Status> Router::Refresh(CallContext call) {
  if (reading_ == nullptr || reading_->done()) {
    CallContext own = call;
    own.deadline = absl::Now() + absl::Seconds(10);
    reading_ = Flight::Launch(loop_, Read(std::move(own)));
  }
  const std::shared_ptr<Flight> reading = reading_;
  co_return co_await reading->Wait(call.deadline, "the list of running engines");
}

Task<absl::Status> Router::Read(CallContext call) {
  const std::weak_ptr<Router*> alive = self_;
  CO_ASSIGN_OR_RETURN(std::vector<Endpoint> endpoints, co_await engines_.Endpoints(call));
  if (alive.expired()) co_return ProcessEnds();
  Apply(std::move(endpoints));
  co_return absl::OkStatus();
}

void Router::Apply(std::vector<Endpoint> endpoints) {
  for (auto& [model, serving] : serving_) {
    const std::vector<std::shared_ptr<Replica>> replicas = serving->replicas;
    for (const auto& replica : replicas) {
      const auto now = std::find_if(endpoints.begin(), endpoints.end(), [&](const Endpoint& endpoint) {
        return replica->endpoint.IsSameRun(endpoint);
      });
      if (now == endpoints.end()) {
        Drop(*serving, replica);
      } else {
        replica->endpoint.retention = now->retention;
      }
    }
  }
  for (Endpoint& endpoint : endpoints) {
    std::unique_ptr<Serving>& slot = serving_[endpoint.model_id];
    if (slot == nullptr) slot = std::make_unique<Serving>();
    const bool known = std::any_of(slot->replicas.begin(), slot->replicas.end(),
                                   [&](const auto& replica) { return replica->endpoint.IsSameRun(endpoint); });
    if (known) continue;
    std::shared_ptr<Replica> replica = FindLeaving(endpoint);
    if (replica == nullptr) replica = std::make_shared<Replica>();
    replica->endpoint = std::move(endpoint);
    replica->gone = false;
    replica->closed = false;  // who wants it closed was told of one that is gone, and closes it again
    loader_.ForgetFailure(replica->endpoint.model_id);
    slot->replicas.push_back(std::move(replica));
    Serve(*slot);
  }
  loader_.Changed();
}

std::shared_ptr<Replica> Router::FindLeaving(const Endpoint& endpoint) {
  std::erase_if(leaving_, [](const auto& replica) { return replica->in_flight == 0; });
  for (auto it = leaving_.begin(); it != leaving_.end(); ++it) {
    if (!(*it)->endpoint.IsSameRun(endpoint)) continue;
    std::shared_ptr<Replica> found = std::move(*it);
    leaving_.erase(it);
    return found;
  }
  return nullptr;
}

void Router::Drop(Serving& serving, const std::shared_ptr<Replica>& replica) {
  if (std::exchange(replica->gone, true)) return;
  if (replica->in_flight > 0) leaving_.push_back(replica);
  std::erase(serving.replicas, replica);
  if (serving.replicas.empty()) Serve(serving);
}

std::vector<EngineTable::Used> Router::Engines() const {
  std::map<std::string, Used> engines;
  const auto add = [&](const Replica& replica) {
    const Endpoint& endpoint = replica.endpoint;
    const Retention& stays = endpoint.retention;
    Used& engine = engines[endpoint.instance_id];
    engine.instance_id = endpoint.instance_id;
    engine.generation = std::max(engine.generation, endpoint.generation);
    engine.memory = std::max(engine.memory, endpoint.memory);
    engine.evictable = stays.on_demand && !stays.pinned && !stays.external;
    engine.why_kept = stays.pinned ? "pinned" : "started by somebody";
    engine.idle_timeout = stays.pinned || stays.external ? absl::ZeroDuration() : stays.idle_timeout;
    engine.closed = engine.closed || replica.closed;
    engine.in_flight += replica.in_flight;
    engine.granted += replica.granted;
    engine.last_used = std::max(engine.last_used, replica.last_used);
  };
  for (const auto& [model, serving] : serving_) {
    for (const auto& replica : serving->replicas) {
      add(*replica);
      engines[replica->endpoint.instance_id].models.push_back(model);
      engines[replica->endpoint.instance_id].queued += static_cast<int>(serving->queue.size());
    }
  }
  for (const auto& replica : leaving_) {
    if (engines.contains(replica->endpoint.instance_id)) add(*replica);
  }
  std::vector<Used> all;
  for (auto& [_, engine] : engines) all.push_back(std::move(engine));
  return all;
}

template <class Do>
void Router::ForEachOf(const std::string& instance_id, Do what) {
  for (auto& [_, serving] : serving_) {
    const std::vector<std::shared_ptr<Replica>> replicas = serving->replicas;
    for (const auto& replica : replicas) {
      if (replica->endpoint.instance_id == instance_id) what(*serving, replica);
    }
  }
}

void Router::Close(const std::string& instance_id) {
  ForEachOf(instance_id, [](Serving&, const std::shared_ptr<Replica>& replica) { replica->closed = true; });
}

void Router::Reopen(const std::string& instance_id) {
  ForEachOf(instance_id, [this](Serving& serving, const std::shared_ptr<Replica>& replica) {
    replica->closed = false;
    Serve(serving);
  });
}

void Router::Forget(const std::string& instance_id) {
  ForEachOf(instance_id, [this](Serving& serving, const std::shared_ptr<Replica>& replica) { Drop(serving, replica); });
}

Router::Load Router::LoadOf(const std::string& model_id) const {
  Load load;
  const auto it = serving_.find(model_id);
  if (it == serving_.end()) return load;
  load.replicas = it->second->replicas;
  load.queued = static_cast<int>(it->second->queue.size());
  return load;
}

}  // namespace aima::inference
