#include "services/inference/rpc_directory.h"

#include <algorithm>
#include <utility>

#include "aima/engine/v1/engine.pb.h"
#include "aima/model/v1/model.pb.h"
#include "libs/base/status_macros.h"
#include "libs/unit/json_codec.h"

namespace aima::inference {
namespace {

constexpr int kPage = 1000;
constexpr int64_t kMostContext = 10'000'000;  // of engine.start
// Models that are registered do not wait longer for those that come with engines.
constexpr absl::Duration kEnginesWithin = absl::Seconds(2);

// An enum value of another domain as people read it: MODEL_STATUS_READY is "ready".
template <class Enum>
std::string TextOf(Enum value) {
  const auto* described = google::protobuf::GetEnumDescriptor<Enum>()->FindValueByNumber(value);
  return described == nullptr ? "unknown" : EnumText(*described);
}

// The two domains name the types alike; one that this program does not know is none.
v1::ModelType TypeOf(model::v1::ModelType type) {
  v1::ModelType ours = v1::MODEL_TYPE_UNSPECIFIED;
  if (!v1::ModelType_Parse(model::v1::ModelType_Name(type), &ours)) return v1::MODEL_TYPE_UNSPECIFIED;
  return ours;
}

// As the files of engines write it.
v1::ModelType TypeOf(const std::string& text) {
  const auto* value = FindEnumValue(*v1::ModelType_descriptor(), text);
  return value == nullptr ? v1::MODEL_TYPE_UNSPECIFIED : static_cast<v1::ModelType>(value->number());
}

}  // namespace

Task<absl::StatusOr<std::vector<ModelRecord>>> RpcModelDirectory::List(const CallContext& call) {
  CO_ASSIGN_OR_RETURN(std::vector<ModelRecord> records, co_await Registered(call));
  registered_.clear();
  for (const ModelRecord& record : records) registered_.insert(record.id);
  // Without the engine service, what it said last is told.
  if (absl::StatusOr<std::vector<ModelRecord>> own = co_await FromEngines(call); own.ok()) {
    from_engines_ = *std::move(own);
  }
  for (const ModelRecord& record : from_engines_) {
    if (!IsRegistered(record.id)) records.push_back(record);
  }
  co_return records;
}

std::string RpcModelDirectory::EngineOf(const std::string& model) const {
  if (IsRegistered(model)) return "";
  for (const ModelRecord& record : from_engines_) {
    if (record.id == model) return record.engine;
  }
  return "";
}

Task<absl::StatusOr<std::vector<ModelRecord>>> RpcModelDirectory::FromEngines(const CallContext& call) {
  const engine::v1::ListRequest request;
  CallContext brief = call;
  brief.deadline = std::min(call.deadline, absl::Now() + kEnginesWithin);
  CO_ASSIGN_OR_RETURN(const engine::v1::ListResponse response,
                      (co_await rpc_.Call<engine::v1::ListResponse>(brief, request)));
  std::vector<ModelRecord> records;
  for (const engine::v1::Engine& engine : response.items()) {
    for (const engine::v1::OwnModel& item : engine.own_models()) {
      ModelRecord record;
      record.id = record.name = item.name();
      record.type = TypeOf(item.type());
      record.engine = engine.name();
      record.ready = engine.status() != engine::v1::ENGINE_STATUS_NOT_INSTALLED &&
                     engine.status() != engine::v1::ENGINE_STATUS_INSTALLING;
      record.status = record.ready                                               ? "ready"
                      : engine.status() == engine::v1::ENGINE_STATUS_INSTALLING ? "being installed"
                                                                                 : "not installed";
      record.description = item.description();
      for (const engine::v1::OwnVoice& voice : item.voices()) {
        record.voices.push_back({voice.name(), voice.language(), voice.description()});
      }
      records.push_back(std::move(record));
    }
  }
  co_return records;
}

Task<absl::StatusOr<std::vector<ModelRecord>>> RpcModelDirectory::Registered(const CallContext& call) {
  std::vector<ModelRecord> records;
  model::v1::ListRequest request;
  request.set_limit(kPage);
  do {
    CO_ASSIGN_OR_RETURN(const model::v1::ListResponse page,
                        (co_await rpc_.Call<model::v1::ListResponse>(call, request)));
    for (const model::v1::Model& item : page.items()) {
      ModelRecord record;
      record.id = item.id();
      record.name = item.name();
      record.type = TypeOf(item.type());
      record.ready = item.status() == model::v1::MODEL_STATUS_READY;
      record.status = TextOf(item.status());
      record.created_at = item.create_time().seconds();
      record.context_length = static_cast<int32_t>(std::clamp<int64_t>(item.details().context_length(), 0, kMostContext));
      records.push_back(std::move(record));
    }
    request.set_after(page.next_after());
  } while (!request.after().empty());
  co_return records;
}

Task<absl::StatusOr<std::vector<Endpoint>>> RpcEngineDirectory::Endpoints(const CallContext& call) {
  const engine::v1::EndpointsRequest request;
  CO_ASSIGN_OR_RETURN(const engine::v1::EndpointsResponse response,
                      (co_await rpc_.Call<engine::v1::EndpointsResponse>(call, request)));
  std::vector<Endpoint> endpoints;
  for (const engine::v1::Endpoint& item : response.items()) {
    Endpoint endpoint;
    endpoint.instance_id = item.instance_id();
    endpoint.engine = item.engine();
    endpoint.model_id = item.model_id();
    endpoint.served_name = item.served_name().empty() ? item.model_id() : item.served_name();
    endpoint.host = item.host();
    endpoint.port = item.port();
    endpoint.api_key = item.api_key();
    endpoint.dialect = TextOf(item.dialect());
    endpoint.max_concurrent = std::max(1, item.max_concurrent());
    endpoint.cancels_whole_answers =
        std::count(item.capabilities().begin(), item.capabilities().end(), "whole_cancellation") > 0;
    endpoint.generation = item.generation();
    endpoint.memory = item.memory_bytes();
    endpoint.context_length = item.context_length();
    endpoint.retention.on_demand = item.on_demand();
    endpoint.retention.pinned = item.pinned();
    endpoint.retention.external = item.external();
    endpoint.retention.idle_timeout = absl::Milliseconds(item.idle_timeout());
    for (const engine::v1::OwnModel& own : item.own_models()) {
      if (models_.IsRegistered(own.name())) continue;
      Endpoint serves_own = endpoint;
      serves_own.model_id = serves_own.served_name = own.name();
      endpoints.push_back(std::move(serves_own));
    }
    if (!endpoint.model_id.empty()) endpoints.push_back(std::move(endpoint));
  }
  co_return endpoints;
}

Task<absl::Status> RpcEngineDirectory::Start(const CallContext& call, const std::string& model_id,
                                             const v1::LoadOptions& load) {
  engine::v1::StartRequest request;
  const std::string engine = models_.EngineOf(model_id);
  if (engine.empty()) {
    request.set_model_id(model_id);
    if (load.has_threads()) request.mutable_config()->set_threads(load.threads());
    if (load.has_context_length()) {
      // One request's, and so for one at a time, as is Ollama's own default: more of them would take as much memory again.
      request.mutable_config()->set_context_length(load.context_length());
      request.mutable_config()->set_parallel(1);
    }
  } else {
    request.set_name(engine);
  }
  request.set_on_demand(true);
  co_return (co_await rpc_.Call<engine::v1::StartResponse>(call, request)).status();
}

Task<absl::Status> RpcEngineDirectory::Unload(const CallContext& call, const std::string& instance_id,
                                              int64_t generation, UnloadReason reason) {
  engine::v1::UnloadRequest request;
  request.set_instance_id(instance_id);
  request.set_generation(generation);
  request.set_reason(reason == UnloadReason::kIdle     ? engine::v1::UNLOAD_REASON_IDLE
                     : reason == UnloadReason::kReload ? engine::v1::UNLOAD_REASON_RELOAD
                                                       : engine::v1::UNLOAD_REASON_ROOM);
  co_return (co_await rpc_.Call<engine::v1::UnloadResponse>(call, request)).status();
}

}  // namespace aima::inference
