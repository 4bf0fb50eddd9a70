// Stand-ins for the services around inference, for its tests.
#pragma once

#include <google/protobuf/message.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "libs/base/stream.h"
#include "libs/events/outbox.h"
#include "services/inference/directory.h"

namespace aima::inference {

class FakeModels : public ModelDirectory {
 public:
  FakeModels() {
    Add("chatty", v1::MODEL_TYPE_LLM);
    Add("vectors", v1::MODEL_TYPE_EMBEDDING);
  }
  void Add(const std::string& id, v1::ModelType type, bool ready = true) {
    ModelRecord record;
    record.id = id;
    record.name = "The " + id;
    record.type = type;
    record.ready = ready;
    record.status = ready ? "ready" : "pulling";
    models.push_back(std::move(record));
  }
  Task<absl::StatusOr<std::vector<ModelRecord>>> List(const CallContext&) override {
    ++reads;
    if (!failure.ok()) co_return failure;
    co_return models;
  }

  std::vector<ModelRecord> models;
  absl::Status failure;
  int reads = 0;
};

class FakeEngines : public EngineDirectory {
 public:
  Task<absl::StatusOr<std::vector<Endpoint>>> Endpoints(const CallContext&) override {
    ++reads;
    if (reading) co_await reading();
    if (!failure.ok()) co_return failure;
    co_return endpoints;
  }
  Task<absl::Status> Start(const CallContext&, const std::string& model_id, const v1::LoadOptions& load) override {
    ++starts;
    loads.push_back(load);
    if (!start) co_return absl::InternalError("no engine can be started here");
    co_return co_await start(model_id);
  }
  Task<absl::Status> Unload(const CallContext&, const std::string& instance_id, int64_t generation,
                            UnloadReason reason) override {
    unloads.emplace_back(instance_id, reason);
    if (unload) co_return co_await unload(instance_id, generation);
    std::erase_if(endpoints, [&](const Endpoint& endpoint) { return endpoint.instance_id == instance_id; });
    co_return absl::OkStatus();
  }

  std::function<Task<void>()> reading;  // which takes so long
  std::vector<Endpoint> endpoints;
  std::vector<std::pair<std::string, UnloadReason>> unloads;
  std::function<Task<absl::Status>(std::string, int64_t)> unload;
  std::function<Task<absl::Status>(std::string)> start;
  absl::Status failure;
  int reads = 0;
  int starts = 0;
  std::vector<v1::LoadOptions> loads;  // of each start
};

// Keeps what it is told.
class FakeOutbox : public events::Outbox {
 public:
  pg::Operation Emit(const CallContext&, const google::protobuf::Message&) override { return {}; }
  pg::Operation Remember(const CallContext&, const google::protobuf::Message&) override { return {}; }
  void Tell(const CallContext&, const google::protobuf::Message& payload) override {
    told.emplace_back(payload.New());
    told.back()->CopyFrom(payload);
  }
  // Names of the messages, such as RequestStarted.
  std::vector<std::string> Names() const {
    std::vector<std::string> names;
    for (const auto& message : told) names.push_back(message->GetDescriptor()->name());
    return names;
  }
  template <class T>
  const T& Last() const {
    return dynamic_cast<const T&>(*told.back());
  }

  std::vector<std::unique_ptr<google::protobuf::Message>> told;
};

// Keeps what is written, until the caller leaves.
template <class T>
class FakeWriter : public StreamWriter<T> {
 public:
  Task<absl::Status> Write(const T& message) override {
    if (static_cast<int>(written.size()) == leave_after) co_return absl::CancelledError("the caller left");
    written.push_back(message);
    co_return absl::OkStatus();
  }

  std::vector<T> written;
  int leave_after = -1;
};

}  // namespace aima::inference
