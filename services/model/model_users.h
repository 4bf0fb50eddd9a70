// Who uses a model now.
#pragma once

#include <absl/status/statusor.h>

#include <string>
#include <vector>

#include "libs/base/call_context.h"
#include "libs/base/task.h"
#include "libs/rpc/client.h"
#include "services/model/compatibility.h"

namespace aima::model {

class ModelUsers {
 public:
  virtual ~ModelUsers() = default;
  // Ids of the engine instances that serve the model or are about to. Fails if that cannot be found out.
  virtual Task<absl::StatusOr<std::vector<std::string>>> InstancesOf(const CallContext& call,
                                                                     const std::string& model_id) = 0;
  // The engines that this machine knows, in the order of their names.
  virtual Task<absl::StatusOr<std::vector<KnownEngine>>> Engines(const CallContext& call) = 0;
};

// Asks the engine service.
class EngineInstances : public ModelUsers {
 public:
  explicit EngineInstances(rpc::Client& rpc) : rpc_(rpc) {}
  Task<absl::StatusOr<std::vector<std::string>>> InstancesOf(const CallContext& call,
                                                             const std::string& model_id) override;
  Task<absl::StatusOr<std::vector<KnownEngine>>> Engines(const CallContext& call) override;

 private:
  rpc::Client& rpc_;
};

}  // namespace aima::model
