#include "services/engine/neighbours.h"

#include <absl/strings/str_cat.h>
#include <absl/time/clock.h>

#include <algorithm>
#include <limits>

#include "aima/engine/v1/engine.pb.h"
#include "aima/inference/v1/inference.pb.h"
#include "aima/model/v1/model.pb.h"
#include "aima/resource/v1/resource.pb.h"
#include "libs/errors/errors.h"
#include "libs/unit/json_codec.h"

namespace aima::engine {
namespace {

constexpr absl::Duration kPatience = absl::Seconds(10);
// Engines take their time to end.
constexpr absl::Duration kRoomPatience = absl::Minutes(4);

// The same work as `call`, but no longer than these calls may take.
CallContext Hurried(const CallContext& call, absl::Duration patience = kPatience) {
  CallContext hurried = call;
  hurried.deadline = std::min(call.deadline, absl::Now() + patience);
  hurried.idempotency_key.clear();
  return hurried;
}

template <class Enum>
std::string TextOf(Enum value) {
  const auto* known = google::protobuf::GetEnumDescriptor<Enum>()->FindValueByNumber(value);
  return known == nullptr ? "" : EnumText(*known);
}

}  // namespace

Task<absl::StatusOr<ServedModel>> Neighbours::FindModel(const CallContext& call, const std::string& model_id) {
  model::v1::GetRequest request;
  request.set_model_id(model_id);
  CO_ASSIGN_OR_RETURN(const model::v1::Model model, (co_await rpc_.Call<model::v1::Model>(Hurried(call), request)));
  if (model.status() != model::v1::MODEL_STATUS_READY) {
    co_return Error(v1::ENGINE_MODEL_NOT_READY,
                    absl::StrCat("model '", model_id, "' is not ready but ", TextOf(model.status())),
                    {{"model_id", model_id}, {"status", TextOf(model.status())}});
  }
  ServedModel served;
  served.id = model.id();
  served.type = TextOf(model.type());
  served.format = TextOf(model.format());
  served.path = model.path();
  served.context_length = static_cast<int>(
      std::clamp<int64_t>(model.details().context_length(), 0, std::numeric_limits<int>::max() / 2048));
  co_return served;
}

Task<absl::StatusOr<int64_t>> Neighbours::EstimateMemory(const CallContext& call, const std::string& engine,
                                                         const std::string& model_id,
                                                         const v1::InstanceConfig& config) {
  model::v1::EstimateResourcesRequest request;
  request.set_model_id(model_id);
  request.set_context_length(config.context_length());
  request.set_parallel(config.parallel());
  request.set_engine(engine);
  CO_ASSIGN_OR_RETURN(const auto estimate,
                      (co_await rpc_.Call<model::v1::EstimateResourcesResponse>(Hurried(call), request)));
  co_return estimate.memory_recommended();
}

Task<absl::Status> Neighbours::Reserve(const CallContext& call, const std::string& slot_id, const std::string& name,
                                       int64_t bytes) {
  resource::v1::AllocateRequest request;
  request.set_name(name);
  request.set_type(resource::v1::SLOT_TYPE_INFERENCE_NATIVE);
  request.set_memory_bytes(std::max<int64_t>(bytes, 1));
  request.set_slot_id(slot_id);
  request.set_idempotency_key(slot_id);
  co_return (co_await rpc_.Call<resource::v1::AllocateResponse>(Hurried(call), request)).status();
}

Task<absl::StatusOr<Neighbours::Room>> Neighbours::MakeRoom(const CallContext& call, int64_t bytes, bool only_look) {
  inference::v1::MakeRoomRequest request;
  request.set_memory_bytes(bytes);
  request.set_only_look(only_look);
  CO_ASSIGN_OR_RETURN(const auto response,
                      (co_await rpc_.Call<inference::v1::MakeRoomResponse>(
                          Hurried(call, only_look ? kPatience : kRoomPatience), request)));
  Room room;
  for (const auto& engine : response.engines()) room.engines.emplace_back(engine.instance_id(), engine.memory_bytes());
  for (const auto& engine : response.unloaded()) room.unloaded.emplace_back(engine.instance_id(), engine.memory_bytes());
  room.enough = response.enough();
  co_return room;
}

Task<absl::Status> Neighbours::Release(const CallContext& call, const std::string& slot_id) {
  resource::v1::ReleaseRequest request;
  request.set_slot_id(slot_id);
  const absl::Status status =
      (co_await rpc_.Call<resource::v1::ReleaseResponse>(Hurried(call), request)).status();
  co_return HasReason(status, resource::v1::SLOT_NOT_FOUND) ? absl::OkStatus() : status;
}

Task<absl::Status> Neighbours::Occupy(const CallContext& call, const std::string& slot_id, int pid,
                                      const std::string& model_id) {
  resource::v1::UpdateSlotRequest request;
  request.set_slot_id(slot_id);
  request.set_process_pid(pid);
  request.set_current_model(model_id);
  request.set_status(resource::v1::SLOT_STATUS_ACTIVE);
  co_return (co_await rpc_.Call<resource::v1::UpdateSlotResponse>(Hurried(call), request)).status();
}

}  // namespace aima::engine
