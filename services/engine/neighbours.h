// What engines need of other services: models from `model`, memory from `resource`, and room from `inference`.
#pragma once

#include <absl/status/statusor.h>

#include <string>
#include <utility>
#include <vector>

#include "aima/engine/v1/engine.pb.h"
#include "libs/base/call_context.h"
#include "libs/rpc/client.h"

namespace aima::engine {

// A model as far as it matters for serving it.
struct ServedModel {
  std::string id;
  std::string type;    // "llm"
  std::string format;  // "gguf"
  std::string path;
  int context_length = 0;  // what it was made for; 0 is not known
};

class Neighbours {
 public:
  explicit Neighbours(rpc::Client& rpc) : rpc_(rpc) {}

  // MODEL_NOT_FOUND, or ENGINE_MODEL_NOT_READY.
  Task<absl::StatusOr<ServedModel>> FindModel(const CallContext& call, const std::string& model_id);

  // Bytes of memory that serving the model with this engine takes.
  Task<absl::StatusOr<int64_t>> EstimateMemory(const CallContext& call, const std::string& engine,
                                               const std::string& model_id, const v1::InstanceConfig& config);

  // Reserves memory under `name` in a slot of this id. Unless the error is RESOURCE_INSUFFICIENT, it may be reserved all
  // the same.
  Task<absl::Status> Reserve(const CallContext& call, const std::string& slot_id, const std::string& name,
                             int64_t bytes);

  // Engines that were loaded on demand and that nobody uses.
  struct Room {
    using Engines = std::vector<std::pair<std::string, int64_t>>;  // instance ids, bytes
    Engines engines;      // that are there still
    bool enough = false;  // what was unloaded, or would be, held as much as is missing
    Engines unloaded;     // also if they are not enough after all
  };
  // Has as many of them unloaded as hold `bytes`, or only named. After a failure they may have been unloaded.
  Task<absl::StatusOr<Room>> MakeRoom(const CallContext& call, int64_t bytes, bool only_look);

  // OK also if the slot is gone already, or never came: then it never will.
  Task<absl::Status> Release(const CallContext& call, const std::string& slot_id);

  // Tells who is in a slot, so that its memory is measured there.
  Task<absl::Status> Occupy(const CallContext& call, const std::string& slot_id, int pid, const std::string& model_id);

 private:
  rpc::Client& rpc_;
};

}  // namespace aima::engine
