// What inference needs to know of other services: which models there are, and which engines serve them.
#pragma once

#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <string>
#include <vector>

#include "aima/inference/v1/inference.pb.h"
#include "libs/base/call_context.h"
#include "libs/base/task.h"

namespace aima::inference {

// A voice of a model that reads aloud.
struct VoiceRecord {
  std::string name;
  std::string language;
  std::string description;
};

// One model that is registered with the cluster, or comes with an engine.
struct ModelRecord {
  std::string id;
  std::string name;
  v1::ModelType type = v1::MODEL_TYPE_UNSPECIFIED;
  bool ready = false;
  std::string status;      // as the model service names it
  int64_t created_at = 0;  // seconds since 1970
  int32_t context_length = 0;  // that it was made for; 0 is not known
  // Only of one that comes with an engine; it is ready if that is installed.
  std::string engine;
  std::string description;
  std::vector<VoiceRecord> voices;
};

class ModelDirectory {
 public:
  virtual ~ModelDirectory() = default;
  virtual Task<absl::StatusOr<std::vector<ModelRecord>>> List(const CallContext& call) = 0;
};

// For how long an engine stays, as the engine service says. May change while it runs.
struct Retention {
  bool on_demand = false;  // makes room for others when it is idle
  bool pinned = false;
  bool external = false;   // neither started nor stopped by us
  absl::Duration idle_timeout;  // zero is never

  bool operator==(const Retention&) const = default;
};

// One running engine that serves a model.
struct Endpoint {
  std::string instance_id;
  std::string engine;
  std::string model_id;
  std::string served_name;  // the model's name as the engine knows it
  std::string host;
  int port = 0;
  std::string api_key;
  std::string dialect;
  int max_concurrent = 1;
  bool cancels_whole_answers = false;  // ends its work on them when the connection goes, as all do for streams
  int64_t generation = 0;  // tells one run of an instance from the next
  int64_t memory = 0;      // held for it, in bytes
  int32_t context_length = 0;  // that one request may take; 0 is not known
  Retention retention;

  bool operator==(const Endpoint&) const = default;
  // The same run of the same instance, whatever was decided about its stay.
  bool IsSameRun(Endpoint other) const {
    other.retention = retention;
    return *this == other;
  }
};

// Why an engine is unloaded.
enum class UnloadReason { kIdle, kRoom, kReload };

class EngineDirectory {
 public:
  virtual ~EngineDirectory() = default;
  // All running engines.
  virtual Task<absl::StatusOr<std::vector<Endpoint>>> Endpoints(const CallContext& call) = 0;
  // Starts an engine for the model, or the one that it comes with, on demand, and returns when it serves. `load` holds for
  // models that do not come with one.
  virtual Task<absl::Status> Start(const CallContext& call, const std::string& model_id, const v1::LoadOptions& load) = 0;
  // Stops this run of an instance and returns when its memory is free. ENGINE_INSTANCE_KEPT if somebody wants it.
  virtual Task<absl::Status> Unload(const CallContext& call, const std::string& instance_id, int64_t generation,
                                    UnloadReason reason) = 0;
};

}  // namespace aima::inference
