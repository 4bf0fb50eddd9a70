// The units of the engine domain.
#pragma once

#include <absl/status/statusor.h>

#include <memory>
#include <string>

#include "aima/engine/v1/engine.pb.h"
#include "libs/base/call_context.h"
#include "libs/base/stream.h"
#include "services/engine/external.h"
#include "services/engine/installs.h"
#include "services/engine/instances.h"

namespace aima::engine {

class EngineUnits {
 public:
  // `spawn` runs work that no caller waits for.
  EngineUnits(Loop& loop, const EngineCatalogue& catalogue, Installer& installer, Instances& instances,
              Neighbours& neighbours, std::function<void(Task<void>)> spawn)
      : loop_(loop),
        catalogue_(catalogue),
        installer_(installer),
        instances_(instances),
        neighbours_(neighbours),
        spawn_(std::move(spawn)),
        installs_(loop, installer, spawn_) {
    instances_.OrderAgainThrough(
        [this](CallContext& call, Record record) { return OrderAgain(call, std::move(record)); });
  }

  // A server of the machine's own, listed and offered with the others. Outlives this.
  void Offer(const ExternalOllama& ollama) { ollama_ = &ollama; }

  Task<absl::StatusOr<v1::StartResponse>> Start(CallContext& call, const v1::StartRequest& request);
  Task<absl::Status> StartStream(CallContext& call, const v1::StartRequest& request,
                                 StreamWriter<v1::StartProgress>& out);
  Task<absl::StatusOr<v1::StopResponse>> Stop(CallContext& call, const v1::StopRequest& request);
  Task<absl::StatusOr<v1::UnloadResponse>> Unload(CallContext& call, const v1::UnloadRequest& request);
  Task<absl::StatusOr<v1::RestartResponse>> Restart(CallContext& call, const v1::RestartRequest& request);
  Task<absl::StatusOr<v1::InstallResponse>> Install(CallContext& call, const v1::InstallRequest& request);
  Task<absl::Status> InstallStream(CallContext& call, const v1::InstallRequest& request,
                                   StreamWriter<v1::InstallProgress>& out);
  Task<absl::StatusOr<v1::GetResponse>> Get(CallContext& call, const v1::GetRequest& request);
  Task<absl::StatusOr<v1::ListResponse>> List(CallContext& call, const v1::ListRequest& request);
  Task<absl::StatusOr<v1::FeaturesResponse>> Features(CallContext& call, const v1::FeaturesRequest& request);
  Task<absl::StatusOr<v1::EndpointsResponse>> Endpoints(CallContext& call, const v1::EndpointsRequest& request);

 private:
  using RestartFeed = Feed<v1::RestartResponse>;

  // A start under way, or done.
  struct Started {
    std::shared_ptr<Instance> instance;
    std::shared_ptr<StartFeed> feed;
    bool already_running = false;
  };
  Task<absl::StatusOr<Started>> Begin(CallContext& call, v1::StartRequest request);
  Task<absl::StatusOr<StartOrder>> OrderAgain(CallContext& call, Record record);
  absl::StatusOr<const v1::EngineSpec*> FindEngine(const std::string& name) const;
  absl::StatusOr<const v1::EngineSpec*> ChooseEngine(const std::string& name, const ServedModel& model) const;
  absl::StatusOr<std::string> ChooseId(const v1::StartRequest& request, const v1::EngineSpec& spec) const;
  // The instance with this id, or the only live one of the engine of this name.
  absl::StatusOr<std::shared_ptr<Instance>> Resolve(const std::string& name) const;
  Task<void> RunRestart(CallContext call, std::shared_ptr<Instance> instance, std::string key,
                        std::shared_ptr<RestartFeed> feed);
  Task<absl::StatusOr<v1::RestartResponse>> TryRestart(CallContext& call, std::shared_ptr<Instance> instance,
                                                       const std::string& key);
  v1::EngineStatus StatusOf(const v1::EngineSpec& spec) const;
  // The external server, if it is of this engine and there.
  const ExternalOllama* ExternalOf(const v1::EngineSpec& spec) const;
  absl::Status NotFound(const std::string& name) const;
  // Fills an Engine or a GetResponse, which have the same fields.
  template <class Message>
  void Describe(const v1::EngineSpec& spec, const Instance* only, Message& out) const;

  Loop& loop_;
  const EngineCatalogue& catalogue_;
  Installer& installer_;
  Instances& instances_;
  Neighbours& neighbours_;
  const std::function<void(Task<void>)> spawn_;
  Installs installs_;
  const ExternalOllama* ollama_ = nullptr;
};

}  // namespace aima::engine
