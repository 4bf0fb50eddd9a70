// Which running engine takes a request.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <list>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "services/inference/ask.h"
#include "services/inference/directory.h"
#include "services/inference/flight.h"
#include "services/inference/loader.h"
#include "services/inference/model_catalog.h"

namespace aima::inference {

// One running engine and how much it has to do.
struct Replica {
  Endpoint endpoint;
  int in_flight = 0;
  bool gone = false;  // no longer offered; requests that it still has may go on
  bool closed = false;  // is given nothing new, because it is to make room
  int64_t granted = 0;  // requests that it was ever given
  absl::Time last_used = absl::Now();  // or found; an inference service that is new knows no better
};

// Which model a request wants, and how it wants it loaded.
struct Wanted {
  Wanted(std::string name, v1::LoadOptions options = {}) : model(std::move(name)), load(std::move(options)) {}  // NOLINT
  Wanted(const char* name) : model(name) {}                                                                   // NOLINT
  std::string model;  // as the caller named it
  v1::LoadOptions load;
};

// The routing table: models, the engines that serve them, and the requests that these have in hand. Each engine
// gets at most as many requests as it works on at once; up to kMaxQueued wait per model, first come, first served.
// Where the configuration allows it, an engine is started for a model that has none, once for all who ask (loader.h).
// Not thread-safe: use it on its loop.
class Router : private EngineTable {
 public:
  static constexpr size_t kMaxQueued = 64;

  // A place in an engine; given back when destroyed.
  class Lease {
   public:
    Lease() = default;
    Lease(Lease&& other) noexcept { *this = std::move(other); }
    Lease& operator=(Lease&& other) noexcept;
    ~Lease() { Release(); }

    const Endpoint& endpoint() const { return replica_->endpoint; }
    const ModelRecord& model() const { return model_; }
    // The engine did not answer: offer it to nobody until the engine service, which is asked, says that it runs.
    void MarkLost();
    void Release();

   private:
    friend class Router;
    std::weak_ptr<Router*> router_;
    std::shared_ptr<Replica> replica_;
    ModelRecord model_;
    absl::Time since_;
    CallContext call_;
  };

  Router(Loop& loop, ModelDirectory& models, EngineDirectory& engines, bool auto_start, LoaderSettings loading = {});

  // A place in the least busy engine of the model, within the call's deadline.
  Task<absl::StatusOr<Lease>> Acquire(const CallContext& call, Wanted wanted, Ask ask);
  // Reads again which engines run.
  Task<absl::Status> Refresh(CallContext call);

  ModelCatalog& catalog() { return catalog_; }
  Loader& loader() { return loader_; }
  // How busy a model is.
  struct Load {
    std::vector<std::shared_ptr<Replica>> replicas;
    int queued = 0;
  };
  Load LoadOf(const std::string& model_id) const;

 private:
  // Waits for a place.
  struct Queued {
    explicit Queued(Loop& loop) : waiter(loop) {}
    Waiter waiter;
    std::shared_ptr<Replica> granted;
  };
  struct Serving {
    std::vector<std::shared_ptr<Replica>> replicas;
    std::list<Queued*> queue;
    double mean_seconds = 0;  // of recent requests
  };

  Task<absl::StatusOr<ModelRecord>> Resolve(const CallContext& call, const std::string& model);
  Task<absl::Status> EnsureReplica(const CallContext& call, const ModelRecord& model, const v1::LoadOptions& load);
  // True if the only engine of the model serves with less context than that.
  bool IsShort(const ModelRecord& model, const v1::LoadOptions& load) const;
  Task<absl::StatusOr<std::shared_ptr<Replica>>> TakePlace(const CallContext& call, const ModelRecord& model);
  Task<absl::Status> Read(CallContext call);
  void LookAgain(CallContext call);
  Task<absl::Status> ReadUntilKnown(CallContext call);
  // EngineTable.
  std::vector<Used> Engines() const override;
  void Close(const std::string& instance_id) override;
  void Reopen(const std::string& instance_id) override;
  void Forget(const std::string& instance_id) override;
  Task<absl::Status> ReadAnew(CallContext call) override;

  // Does something with all replicas of an instance, which may serve several models.
  template <class Do>
  void ForEachOf(const std::string& instance_id, Do what);
  std::shared_ptr<Replica> FindLeaving(const Endpoint& endpoint);
  void Apply(std::vector<Endpoint> endpoints);
  void Drop(Serving& serving, const std::shared_ptr<Replica>& replica);
  void Serve(Serving& serving);
  absl::Status QueueFull(const ModelRecord& model, const Serving& serving) const;
  Lease MakeLease(const CallContext& call, std::shared_ptr<Replica> replica, const ModelRecord& model);

  Loop& loop_;
  EngineDirectory& engines_;
  const bool auto_start_;
  const absl::Duration pause_;  // before the engine service is asked about an engine that was lost
  ModelCatalog catalog_;
  absl::flat_hash_map<std::string, std::unique_ptr<Serving>> serving_;  // by model id
  // No longer offered, but with requests in hand: one that comes back has them still.
  std::vector<std::shared_ptr<Replica>> leaving_;
  std::shared_ptr<Flight> reading_;
  std::shared_ptr<Flight> looking_;  // for engines that were lost
  bool lost_ = false;                // one, since looking_ last read
  std::shared_ptr<Router*> self_;  // leases may outlive the router
  Loader loader_;
};

}  // namespace aima::inference
