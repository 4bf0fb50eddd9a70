#include "services/model/model_users.h"

#include <absl/time/clock.h>

#include <algorithm>

#include "aima/engine/v1/engine.pb.h"
#include "libs/base/status_macros.h"

namespace aima::model {

namespace {
constexpr absl::Duration kPatience = absl::Seconds(10);
}

Task<absl::StatusOr<std::vector<std::string>>> EngineInstances::InstancesOf(const CallContext& call,
                                                                            const std::string& model_id) {
  const engine::v1::ListRequest request;
  CallContext hurried = call;
  hurried.deadline = std::min(call.deadline, absl::Now() + kPatience);
  hurried.idempotency_key.clear();
  CO_ASSIGN_OR_RETURN(const engine::v1::ListResponse engines,
                      (co_await rpc_.Call<engine::v1::ListResponse>(hurried, request)));
  std::vector<std::string> ids;
  for (const engine::v1::Engine& engine : engines.items()) {
    for (const engine::v1::Instance& instance : engine.instances()) {
      const bool gone = instance.status() == engine::v1::INSTANCE_STATUS_STOPPED ||
                        instance.status() == engine::v1::INSTANCE_STATUS_FAILED;
      if (instance.model_id() == model_id && !gone) ids.push_back(instance.instance_id());
    }
  }
  co_return ids;
}

}  // namespace aima::model
