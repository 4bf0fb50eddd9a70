// What the model and engine services say, over rpc.
#pragma once

#include "libs/rpc/client.h"
#include "services/inference/directory.h"

namespace aima::inference {

class RpcModelDirectory : public ModelDirectory {
 public:
  explicit RpcModelDirectory(rpc::Client& rpc) : rpc_(rpc) {}
  Task<absl::StatusOr<std::vector<ModelRecord>>> List(const CallContext& call) override;

 private:
  rpc::Client& rpc_;
};

class RpcEngineDirectory : public EngineDirectory {
 public:
  explicit RpcEngineDirectory(rpc::Client& rpc) : rpc_(rpc) {}
  Task<absl::StatusOr<std::vector<Endpoint>>> Endpoints(const CallContext& call) override;
  Task<absl::Status> Start(const CallContext& call, const std::string& model_id) override;
  Task<absl::Status> Unload(const CallContext& call, const std::string& instance_id, int64_t generation,
                            UnloadReason reason) override;

 private:
  rpc::Client& rpc_;
};

}  // namespace aima::inference
