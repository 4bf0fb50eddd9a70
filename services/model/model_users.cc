#include "services/model/model_users.h"

#include <absl/time/clock.h>

#include <algorithm>

#include "aima/engine/v1/engine.pb.h"
#include "libs/base/status_macros.h"

namespace aima::model {

namespace {

constexpr absl::Duration kPatience = absl::Seconds(10);

// The same work as `call`, but no longer than the engine service may take to answer.
CallContext Hurried(const CallContext& call) {
  CallContext hurried = call;
  hurried.deadline = std::min(call.deadline, absl::Now() + kPatience);
  hurried.idempotency_key.clear();
  return hurried;
}

EngineFacts FactsOf(const engine::v1::Engine& engine) {
  const engine::v1::MemoryFacts& told = engine.memory_facts();
  EngineFacts facts;
  facts.engine = engine.name();
  // What an engine's file does not say is what is assumed of any engine, not nothing.
  const auto take = [](int64_t value, int64_t& fact) { fact = value > 0 ? value : fact; };
  take(told.process(), facts.process);
  take(told.vocabulary_entry(), facts.vocabulary_entry);
  take(told.batch(), facts.batch);
  take(told.kv_number_millibytes(), facts.kv_number_millibytes);
  take(told.width_vectors(), facts.width_vectors);
  take(told.feed_forward_vectors(), facts.feed_forward_vectors);
  take(told.mask(), facts.mask);
  facts.embedding_batch = told.embedding_batch();
  facts.window_step = told.window_step();
  facts.embedding_scores = told.embedding_scores();
  return facts;
}

}  // namespace

Task<absl::StatusOr<std::vector<std::string>>> EngineInstances::InstancesOf(const CallContext& call,
                                                                            const std::string& model_id) {
  const engine::v1::ListRequest request;
  CO_ASSIGN_OR_RETURN(const engine::v1::ListResponse engines,
                      (co_await rpc_.Call<engine::v1::ListResponse>(Hurried(call), request)));
  std::vector<std::string> ids;
  for (const engine::v1::Engine& engine : engines.items()) {
    for (const engine::v1::Instance& instance : engine.instances()) {
      // One that has ended by itself and waits for its next start needs its model then.
      const bool gone = instance.status() == engine::v1::INSTANCE_STATUS_STOPPED ||
                        (instance.status() == engine::v1::INSTANCE_STATUS_FAILED && !instance.has_next_start_at());
      if (instance.model_id() == model_id && !gone) ids.push_back(instance.instance_id());
    }
  }
  co_return ids;
}

Task<absl::StatusOr<std::vector<KnownEngine>>> EngineInstances::Engines(const CallContext& call) {
  const engine::v1::ListRequest request;
  CO_ASSIGN_OR_RETURN(const engine::v1::ListResponse list,
                      (co_await rpc_.Call<engine::v1::ListResponse>(Hurried(call), request)));
  std::vector<KnownEngine> engines;
  for (const engine::v1::Engine& engine : list.items()) {
    KnownEngine& known = engines.emplace_back();
    known.name = engine.name();
    known.type = engine.type();
    known.installed = !engine.path().empty();
    known.formats.assign(engine.formats().begin(), engine.formats().end());
    known.model_types.assign(engine.model_types().begin(), engine.model_types().end());
    if (engine.has_memory_facts()) known.facts = FactsOf(engine);
    for (const engine::v1::OwnModel& model : engine.own_models()) known.own_models[model.name()] = model.type();
  }
  std::sort(engines.begin(), engines.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  co_return engines;
}

}  // namespace aima::model
