// What the model and engine services say, over rpc.
#pragma once

#include <absl/container/flat_hash_set.h>

#include <string>
#include <vector>

#include "libs/rpc/client.h"
#include "services/inference/directory.h"

namespace aima::inference {

// The registered models, and those that come with engines; where both have the same id, the registered one counts.
class RpcModelDirectory : public ModelDirectory {
 public:
  explicit RpcModelDirectory(rpc::Client& rpc) : rpc_(rpc) {}
  Task<absl::StatusOr<std::vector<ModelRecord>>> List(const CallContext& call) override;

  // Whether it is registered, as far as is known.
  bool IsRegistered(const std::string& model) const { return registered_.contains(model); }
  // The engine that it comes with; empty for registered models.
  std::string EngineOf(const std::string& model) const;

 private:
  Task<absl::StatusOr<std::vector<ModelRecord>>> Registered(const CallContext& call);
  Task<absl::StatusOr<std::vector<ModelRecord>>> FromEngines(const CallContext& call);

  rpc::Client& rpc_;
  absl::flat_hash_set<std::string> registered_;
  std::vector<ModelRecord> from_engines_;  // what the engine service said last
};

class RpcEngineDirectory : public EngineDirectory {
 public:
  RpcEngineDirectory(rpc::Client& rpc, const RpcModelDirectory& models) : rpc_(rpc), models_(models) {}
  Task<absl::StatusOr<std::vector<Endpoint>>> Endpoints(const CallContext& call) override;
  Task<absl::Status> Start(const CallContext& call, const std::string& model_id, const v1::LoadOptions& load) override;
  Task<absl::Status> Unload(const CallContext& call, const std::string& instance_id, int64_t generation,
                            UnloadReason reason) override;

 private:
  rpc::Client& rpc_;
  const RpcModelDirectory& models_;
};

}  // namespace aima::inference
