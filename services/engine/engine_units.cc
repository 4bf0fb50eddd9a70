#include "services/engine/engine_units.h"

#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>

#include <algorithm>

#include "libs/base/nearest.h"
#include "libs/base/status_macros.h"
#include "libs/errors/errors.h"
#include "services/engine/describe.h"
#include "services/engine/retention.h"

namespace aima::engine {
namespace {

v1::StartResponse ResponseOf(const Instance& instance, bool already_running) {
  const Record& record = instance.record();
  v1::StartResponse response;
  response.set_process_id(record.process.pid);
  response.set_status(record.status);
  response.set_instance_id(record.instance_id);
  response.set_endpoint(absl::StrCat("127.0.0.1:", record.port));
  response.set_engine(record.engine);
  response.set_model_id(record.model_id);
  response.set_already_running(already_running);
  return response;
}

}  // namespace

Task<absl::StatusOr<v1::StartResponse>> EngineUnits::Start(CallContext& call, const v1::StartRequest& request) {
  CO_ASSIGN_OR_RETURN(const Started started, co_await Begin(call, request));
  CO_RETURN_IF_ERROR(co_await started.feed->Result());
  co_return ResponseOf(*started.instance, started.already_running);
}

Task<absl::Status> EngineUnits::StartStream(CallContext& call, const v1::StartRequest& request,
                                            StreamWriter<v1::StartProgress>& out) {
  CO_ASSIGN_OR_RETURN(const Started started, co_await Begin(call, request));
  uint64_t cursor = 0;
  for (;;) {
    const std::optional<v1::StartProgress> step = co_await started.feed->Next(cursor);
    if (!step) break;
    CO_RETURN_IF_ERROR(co_await out.Write(*step));
  }
  CO_RETURN_IF_ERROR(co_await started.feed->Result());
  v1::StartProgress last;
  last.set_phase("ready");
  last.set_message(absl::StrCat("serving on 127.0.0.1:", started.instance->record().port));
  last.set_percent(100);
  *last.mutable_result() = ResponseOf(*started.instance, started.already_running);
  co_return co_await out.Write(last);
}

Task<absl::StatusOr<EngineUnits::Started>> EngineUnits::Begin(CallContext& call, v1::StartRequest request) {
  StartOrder order;
  order.requested = request.config();
  if (!request.model_id().empty()) {
    CO_ASSIGN_OR_RETURN(order.model, co_await neighbours_.FindModel(call, request.model_id()));
  }
  CO_ASSIGN_OR_RETURN(const v1::EngineSpec* spec, ChooseEngine(request.name(), order.model));
  CO_ASSIGN_OR_RETURN(const std::string id, ChooseId(request, *spec));
  std::shared_ptr<Instance> instance = instances_.Find(id);
  const bool runs = instance && instance->record().status == v1::INSTANCE_STATUS_RUNNING;
  if (instance && instance->record().Live() && instance->record().model_id != order.model.id) {
    co_return InvalidInput("instance_id",
                           absl::StrCat("'", id, "' serves the model '", instance->record().model_id, "'"));
  }
  const std::optional<Installation> installation = installer_.Find(*spec);
  if (!runs && !installation) {
    co_return Error(v1::ENGINE_NOT_INSTALLED, absl::StrCat("engine '", spec->name(), "' is not installed"),
                    {{"engine", spec->name()}});
  }
  order.spec = *spec;
  if (installation) order.installation = *installation;
  order.retention = RetentionOf(request, instance.get(), instances_.patience().idle);
  order.evict_idle = request.evict_idle();
  if (!instance) instance = instances_.At(id, *spec);
  Started started;
  started.instance = instance;
  started.already_running = runs;
  const bool joins = runs || instance->starting();
  const Retention retention = order.retention;
  CO_ASSIGN_OR_RETURN(started.feed, instance->Start(call, std::move(order)));
  if (joins) CO_RETURN_IF_ERROR(co_await instance->Keep(call, retention));
  co_return started;
}

Task<absl::StatusOr<StartOrder>> EngineUnits::OrderAgain(CallContext& call, Record record) {
  StartOrder order;
  order.requested = record.requested;
  order.retention = record.retention;
  if (!record.model_id.empty()) {
    CO_ASSIGN_OR_RETURN(order.model, co_await neighbours_.FindModel(call, record.model_id));
  }
  CO_ASSIGN_OR_RETURN(const v1::EngineSpec* spec, FindEngine(record.engine));
  const std::optional<Installation> installation = installer_.Find(*spec);
  if (!installation) {
    co_return Error(v1::ENGINE_NOT_INSTALLED, absl::StrCat("engine '", spec->name(), "' is not installed"),
                    {{"engine", spec->name()}});
  }
  order.spec = *spec;
  order.installation = *installation;
  co_return order;
}

absl::StatusOr<const v1::EngineSpec*> EngineUnits::FindEngine(const std::string& name) const {
  const v1::EngineSpec* spec = catalogue_.Find(name);
  if (!spec) return NotFound(name);
  return spec;
}

absl::StatusOr<const v1::EngineSpec*> EngineUnits::ChooseEngine(const std::string& name,
                                                                const ServedModel& model) const {
  const auto serves = [&](const v1::EngineSpec& spec) {
    return std::count(spec.formats().begin(), spec.formats().end(), model.format) > 0 &&
           std::count(spec.model_types().begin(), spec.model_types().end(), model.type) > 0;
  };
  if (!name.empty()) {
    ASSIGN_OR_RETURN(const v1::EngineSpec* spec, FindEngine(name));
    if (model.id.empty() && !spec->own_models()) {
      return InvalidInput("model_id", absl::StrCat("is required for the engine '", name, "'"));
    }
    if (model.id.empty() || (serves(*spec) && !spec->own_models())) return spec;
    return Error(v1::ENGINE_INCOMPATIBLE,
                 spec->own_models()
                     ? absl::StrCat("engine '", name, "' serves models of its own only; start it without model_id")
                     : absl::StrCat("engine '", name, "' does not serve ", model.type, " models in format ",
                                    model.format),
                 {{"engine", name}, {"model_id", model.id}, {"format", model.format}, {"type", model.type}});
  }
  if (model.id.empty()) return InvalidInput("model_id", "is required, or the name of an engine with models of its own");
  const v1::EngineSpec* best = nullptr;
  const auto rank = [&](const v1::EngineSpec& spec) {
    return std::pair(installer_.Find(spec).has_value(), spec.preference());
  };
  for (const auto& [_, spec] : catalogue_.engines()) {
    if (spec.own_models() || !serves(spec)) continue;
    if (!best || rank(spec) > rank(*best)) best = &spec;
  }
  if (best) return best;
  return Error(v1::ENGINE_INCOMPATIBLE,
               absl::StrCat("no engine serves ", model.type, " models in format ", model.format, ", as '", model.id,
                            "' is"),
               {{"model_id", model.id}, {"format", model.format}, {"type", model.type}});
}

absl::StatusOr<std::string> EngineUnits::ChooseId(const v1::StartRequest& request, const v1::EngineSpec& spec) const {
  if (!request.instance_id().empty()) return request.instance_id();
  const std::string base = request.model_id().empty() ? spec.name() : request.model_id();
  if (!request.another()) return base;
  for (int number = 1;; ++number) {
    const std::string id = number == 1 ? base : absl::StrCat(base, "-", number);
    const std::shared_ptr<Instance> instance = instances_.Find(id);
    if (!instance || !instance->record().Live()) return id;
  }
}

absl::StatusOr<std::shared_ptr<Instance>> EngineUnits::Resolve(const std::string& name) const {
  if (std::shared_ptr<Instance> instance = instances_.Find(name)) return instance;
  const bool external = name == ExternalOllama::kInstance && ollama_ != nullptr && ollama_->server();
  if (!external) RETURN_IF_ERROR(FindEngine(name).status());
  std::vector<std::string> ids;
  std::shared_ptr<Instance> only;
  for (const std::shared_ptr<Instance>& instance : instances_.OfEngine(name)) {
    if (!instance->record().Live()) continue;
    ids.push_back(instance->record().instance_id);
    only = instance;
  }
  const v1::EngineSpec* spec = catalogue_.Find(name);
  if (external || (ids.empty() && spec && ExternalOf(*spec))) {
    return Error(v1::ENGINE_EXTERNAL, absl::StrCat("'", name, "' runs on the machine without AIMA, which uses it only"),
                 {{"name", name}});
  }
  if (ids.size() < 2) return only;
  return Error(v1::ENGINE_AMBIGUOUS, absl::StrCat("engine '", name, "' has the instances ", absl::StrJoin(ids, ", ")),
               {{"engine", name}, {"instances", absl::StrJoin(ids, ",")}});
}

Task<absl::StatusOr<v1::StopResponse>> EngineUnits::Stop(CallContext& call, const v1::StopRequest& request) {
  CO_ASSIGN_OR_RETURN(const std::shared_ptr<Instance> instance, Resolve(request.name()));
  v1::StopResponse response;
  response.set_success(true);
  if (!instance) co_return response;  // an engine of which nothing runs
  std::optional<absl::Duration> grace;
  if (request.has_timeout()) grace = absl::Milliseconds(request.timeout());
  const std::shared_ptr<StopFeed> feed = instance->Stop(call, {.force = request.force(), .grace = grace});
  CO_RETURN_IF_ERROR(co_await feed->Result());
  response.set_instance_id(instance->record().instance_id);
  co_return response;
}

Task<absl::StatusOr<v1::UnloadResponse>> EngineUnits::Unload(CallContext& call, const v1::UnloadRequest& request) {
  const std::shared_ptr<Instance> instance = instances_.Find(request.instance_id());
  if (!instance) co_return NotFound(request.instance_id());
  const Record& record = instance->record();
  // A stop that is under way is joined; so is this one, when it is repeated.
  if (record.status != v1::INSTANCE_STATUS_STOPPING && (record.Live() || record.wanted || instance->starting())) {
    const std::string reason = WhyItStays(record, request);
    if (!reason.empty()) {
      co_return Error(v1::ENGINE_INSTANCE_KEPT, absl::StrCat("instance '", record.instance_id, "' ", reason),
                      {{"instance_id", record.instance_id}});
    }
  }
  const char* why = request.reason() == v1::UNLOAD_REASON_IDLE     ? "idle"
                    : request.reason() == v1::UNLOAD_REASON_RELOAD ? "reload"
                                                                   : "room";
  const std::shared_ptr<StopFeed> feed = instance->Stop(call, {.why = why});
  CO_RETURN_IF_ERROR(co_await feed->Result());
  co_return v1::UnloadResponse();
}

Task<absl::StatusOr<v1::RestartResponse>> EngineUnits::Restart(CallContext& call, const v1::RestartRequest& request) {
  CO_ASSIGN_OR_RETURN(const std::shared_ptr<Instance> instance, Resolve(request.name()));
  if (!instance) {
    co_return Error(v1::ENGINE_NOT_FOUND, absl::StrCat("engine '", request.name(), "' has no instance to restart"),
                    {{"name", request.name()}});
  }
  const auto feed = std::make_shared<RestartFeed>(loop_);
  CallContext detached = call;
  detached.deadline = absl::InfiniteFuture();
  detached.idempotency_key.clear();
  spawn_(RunRestart(detached, instance, call.idempotency_key, feed));
  CO_RETURN_IF_ERROR(co_await feed->Result());
  uint64_t cursor = 0;
  co_return (co_await feed->Next(cursor)).value();
}

// Goes on when the caller leaves: half of a restart would be a stop.
Task<void> EngineUnits::RunRestart(CallContext call, std::shared_ptr<Instance> instance, std::string key,
                                   std::shared_ptr<RestartFeed> feed) {
  const absl::StatusOr<v1::RestartResponse> response = co_await TryRestart(call, instance, key);
  if (response.ok()) feed->Report(*response);
  feed->Finish(response.status());
}

Task<absl::StatusOr<v1::RestartResponse>> EngineUnits::TryRestart(CallContext& call,
                                                                  std::shared_ptr<Instance> instance,
                                                                  const std::string& key) {
  const Record record = instance->record();
  v1::StartRequest request;
  request.set_name(record.engine);
  request.set_model_id(record.model_id);
  request.set_instance_id(record.instance_id);
  *request.mutable_config() = record.requested;
  request.set_on_demand(record.retention.on_demand);
  request.set_pinned(record.retention.pinned);
  request.set_idle_timeout(record.retention.idle_timeout);
  // What cannot be started again is not stopped.
  if (!record.model_id.empty()) CO_RETURN_IF_ERROR((co_await neighbours_.FindModel(call, record.model_id)).status());
  CO_RETURN_IF_ERROR(FindEngine(record.engine).status());
  // The same command again, whose answer was lost: what it was to stop is stopped, or being stopped. It is only started.
  const bool again = !key.empty() && record.restart_key == key;
  if (!again || instance->stopping()) {
    const std::shared_ptr<StopFeed> stopped = instance->Stop(call, {.restart_key = key});
    CO_RETURN_IF_ERROR(co_await stopped->Result());
  }
  CO_ASSIGN_OR_RETURN(const Started started, co_await Begin(call, request));
  CO_RETURN_IF_ERROR(co_await started.feed->Result());
  const v1::StartResponse now = ResponseOf(*started.instance, false);
  v1::RestartResponse response;
  response.set_process_id(now.process_id());
  response.set_status(now.status());
  response.set_instance_id(now.instance_id());
  response.set_endpoint(now.endpoint());
  co_return response;
}

Task<absl::StatusOr<v1::InstallResponse>> EngineUnits::Install(CallContext& call, const v1::InstallRequest& request) {
  CO_ASSIGN_OR_RETURN(const v1::EngineSpec* spec, FindEngine(request.name()));
  CO_ASSIGN_OR_RETURN(const std::shared_ptr<InstallFeed> feed, installs_.Begin(*spec, request.version()));
  CO_RETURN_IF_ERROR(co_await feed->Result());
  uint64_t cursor = 0;
  co_return (co_await feed->Next(cursor)).value().result();
}

Task<absl::Status> EngineUnits::InstallStream(CallContext& call, const v1::InstallRequest& request,
                                              StreamWriter<v1::InstallProgress>& out) {
  CO_ASSIGN_OR_RETURN(const v1::EngineSpec* spec, FindEngine(request.name()));
  CO_ASSIGN_OR_RETURN(const std::shared_ptr<InstallFeed> feed, installs_.Begin(*spec, request.version()));
  uint64_t cursor = 0;
  for (;;) {
    const std::optional<v1::InstallProgress> step = co_await feed->Next(cursor);
    if (!step) break;
    CO_RETURN_IF_ERROR(co_await out.Write(*step));
  }
  co_return co_await feed->Result();
}

v1::EngineStatus EngineUnits::StatusOf(const v1::EngineSpec& spec) const {
  if (ExternalOf(spec)) return v1::ENGINE_STATUS_RUNNING;
  return EngineStatusOf(installs_.UnderWay(spec.name()), installer_.Find(spec).has_value(), instances_.OfEngine(spec.name()));
}

const ExternalOllama* EngineUnits::ExternalOf(const v1::EngineSpec& spec) const {
  const bool is_there = ollama_ != nullptr && ollama_->server() && spec.name() == "ollama";
  return is_there ? ollama_ : nullptr;
}

template <class Message>
void EngineUnits::Describe(const v1::EngineSpec& spec, const Instance* only, Message& out) const {
  out.set_name(spec.name());
  out.set_type(spec.type());
  out.set_status(StatusOf(spec));
  out.set_version(installer_.VersionOf(spec));
  for (const std::string& capability : CapabilitiesOf(spec)) out.add_capabilities(capability);
  if (spec.has_memory_facts()) *out.mutable_memory_facts() = spec.memory_facts();
  out.set_description(spec.description());
  if (const std::optional<Installation> installation = installer_.Find(spec)) out.set_path(installation->path);
  *out.mutable_formats() = spec.formats();
  *out.mutable_model_types() = spec.model_types();
  *out.mutable_own_models() = spec.models();
  for (const std::shared_ptr<Instance>& instance : instances_.OfEngine(spec.name())) {
    const Record& record = instance->record();
    if (record.status == v1::INSTANCE_STATUS_RUNNING && !record.model_id.empty() &&
        std::count(out.models().begin(), out.models().end(), record.model_id) == 0) {
      out.add_models(record.model_id);
    }
    if (!only || only == instance.get()) *out.add_instances() = ToProto(*instance);
  }
  if (const ExternalOllama* external = only ? nullptr : ExternalOf(spec)) {
    *out.add_instances() = external->Instance(spec);
    if (out.path().empty()) out.set_version(external->server()->version);
    for (const v1::OwnModel& model : external->server()->models) *out.add_own_models() = model;
  }
}

Task<absl::StatusOr<v1::GetResponse>> EngineUnits::Get(CallContext& call, const v1::GetRequest& request) {
  v1::GetResponse response;
  const v1::EngineSpec* spec = catalogue_.Find(request.name());
  const std::shared_ptr<Instance> instance = spec ? nullptr : instances_.Find(request.name());
  if (instance) spec = catalogue_.Find(instance->record().engine);
  if (!spec && request.name() == ExternalOllama::kInstance) spec = catalogue_.Find("ollama");
  if (!spec) co_return NotFound(request.name());
  Describe(*spec, instance.get(), response);
  co_return response;
}

Task<absl::StatusOr<v1::ListResponse>> EngineUnits::List(CallContext& call, const v1::ListRequest& request) {
  v1::ListResponse response;
  for (const auto& [name, spec] : catalogue_.engines()) {
    if (!request.type().empty() && request.type() != spec.type()) continue;
    if (request.status() != v1::ENGINE_STATUS_UNSPECIFIED && request.status() != StatusOf(spec)) continue;
    Describe(spec, nullptr, *response.add_items());
  }
  co_return response;
}

Task<absl::StatusOr<v1::FeaturesResponse>> EngineUnits::Features(CallContext& call,
                                                                 const v1::FeaturesRequest& request) {
  CO_ASSIGN_OR_RETURN(const v1::EngineSpec* spec, FindEngine(request.name()));
  // The same fields under the same numbers.
  v1::FeaturesResponse response;
  response.ParseFromString(spec->features().SerializeAsString());
  co_return response;
}

Task<absl::StatusOr<v1::EndpointsResponse>> EngineUnits::Endpoints(CallContext& call,
                                                                   const v1::EndpointsRequest& request) {
  std::vector<std::shared_ptr<Instance>> running;
  for (const auto& [id, instance] : instances_.all()) {
    const Record& record = instance->record();
    if (record.status != v1::INSTANCE_STATUS_RUNNING || instance->health() != v1::HEALTH_HEALTHY) continue;
    if (request.model_id().empty() || request.model_id() == record.model_id) running.push_back(instance);
  }
  std::sort(running.begin(), running.end(),
            [](const auto& a, const auto& b) { return a->record().started_at < b->record().started_at; });
  v1::EndpointsResponse response;
  for (const std::shared_ptr<Instance>& instance : running) {
    if (const v1::EngineSpec* spec = catalogue_.Find(instance->record().engine)) {
      *response.add_items() = EndpointOf(instance->record(), *spec);
    }
  }
  const v1::EngineSpec* ollama = catalogue_.Find("ollama");
  const ExternalOllama* external = ollama && request.model_id().empty() ? ExternalOf(*ollama) : nullptr;
  if (external) *response.add_items() = external->Endpoint(*ollama);
  co_return response;
}

absl::Status EngineUnits::NotFound(const std::string& name) const {
  std::vector<std::string> names;
  for (const auto& [engine, _] : catalogue_.engines()) names.push_back(engine);
  for (const auto& [id, instance] : instances_.all()) {
    if (instance->begun()) names.push_back(id);
  }
  const std::vector<std::string> nearest = Nearest(name, names, 1);
  const std::string hint = nearest.empty() ? "" : absl::StrCat("; did you mean '", nearest[0], "'?");
  return Error(v1::ENGINE_NOT_FOUND, absl::StrCat("no engine and no instance '", name, "'", hint), {{"name", name}});
}

}  // namespace aima::engine
