// What inference needs to know of other services: which models there are, and which engines serve them.
#pragma once

#include <absl/status/statusor.h>

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

  bool operator==(const Endpoint&) const = default;
};

class EngineDirectory {
 public:
  virtual ~EngineDirectory() = default;
  // All running engines.
  virtual Task<absl::StatusOr<std::vector<Endpoint>>> Endpoints(const CallContext& call) = 0;
  // Starts an engine for the model, or the one that it comes with, and returns when it serves.
  virtual Task<absl::Status> Start(const CallContext& call, const std::string& model_id) = 0;
};

}  // namespace aima::inference
