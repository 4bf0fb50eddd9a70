// The models of the cluster by id and name, remembered so that a request need not ask for them.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <memory>
#include <string>
#include <vector>

#include "services/inference/directory.h"
#include "services/inference/flight.h"

namespace aima::inference {

// Reads the model service when something may have changed: after Forget, after kTrustFor, and before it says that
// a model does not exist. While the model service cannot be reached, what was known stays valid. Not thread-safe:
// use it on its loop.
class ModelCatalog {
 public:
  static constexpr absl::Duration kTrustFor = absl::Seconds(60);

  ModelCatalog(Loop& loop, ModelDirectory& directory) : loop_(loop), directory_(directory) {}

  // The model of this id or name; ids win. INFERENCE_MODEL_NOT_FOUND names those that look like it.
  Task<absl::StatusOr<ModelRecord>> Resolve(const CallContext& call, const std::string& model);
  // All models, sorted by id.
  Task<absl::StatusOr<std::vector<ModelRecord>>> All(CallContext call);
  // What is known may be out of date.
  void Forget() { fresh_until_ = absl::InfinitePast(); }

 private:
  const ModelRecord* Find(const std::string& model) const;
  Task<absl::Status> Refresh(const CallContext& call);
  Task<absl::Status> Read(CallContext call);
  absl::Status NotFound(const std::string& model) const;

  Loop& loop_;
  ModelDirectory& directory_;
  std::vector<ModelRecord> models_;
  absl::flat_hash_map<std::string, size_t> by_id_;
  absl::flat_hash_map<std::string, size_t> by_name_;
  absl::Time fresh_until_ = absl::InfinitePast();
  bool known_ = false;  // read at least once
  std::shared_ptr<Flight> reading_;
};

}  // namespace aima::inference
