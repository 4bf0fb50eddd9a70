// The units of the model domain.
#pragma once

#include <absl/status/statusor.h>

#include <boost/asio/steady_timer.hpp>
#include <string>
#include <vector>

#include "aima/model/v1/model.pb.h"
#include "libs/base/call_context.h"
#include "libs/base/task.h"
#include "libs/events/outbox.h"
#include "services/model/file_threads.h"
#include "services/model/import_roots.h"
#include "services/model/model_store.h"
#include "services/model/model_users.h"
#include "services/model/pulls.h"
#include "services/model/registrar.h"
#include "services/model/storage.h"

namespace aima::model {

// One method per unit. Not thread-safe: lives on the loop; work on files runs on threads of its own.
class ModelUnits {
 public:
  struct Parts {
    pg::Database& db;
    events::Outbox& outbox;
    ModelUsers& users;
    Pulls& pulls;
  };
  struct Settings {
    std::string storage_dir;
    std::vector<std::string> import_roots;  // empty: models may be imported from anywhere
  };
  ModelUnits(Loop& loop, const Parts& parts, const Settings& settings);

  Task<absl::StatusOr<v1::CreateResponse>> Create(CallContext& call, const v1::CreateRequest& request);
  Task<absl::StatusOr<v1::ImportResponse>> Import(CallContext& call, const v1::ImportRequest& request);
  Task<absl::StatusOr<v1::DeleteResponse>> Delete(CallContext& call, const v1::DeleteRequest& request);
  Task<absl::StatusOr<v1::VerifyResponse>> Verify(CallContext& call, const v1::VerifyRequest& request);
  Task<absl::StatusOr<v1::Model>> Get(CallContext& call, const v1::GetRequest& request);
  Task<absl::StatusOr<v1::ListResponse>> List(CallContext& call, const v1::ListRequest& request);
  Task<absl::StatusOr<v1::SearchResponse>> Search(CallContext& call, const v1::SearchRequest& request);
  Task<absl::StatusOr<v1::EstimateResourcesResponse>> EstimateResources(
      CallContext& call, const v1::EstimateResourcesRequest& request);
  Task<absl::StatusOr<v1::CompatibilityResponse>> Compatibility(CallContext& call,
                                                                const v1::CompatibilityRequest& request);

  // Computes the digests that imports of large models left open, one after another, those of earlier processes too.
  // Runs until it is cancelled.
  Task<void> ComputeDigests(CallContext call);
  // Ends work on files soon, with errors.
  void Stop() { threads_.Stop(); }

 private:
  Task<absl::StatusOr<v1::VerifyResponse>> VerifyModel(const CallContext& call, v1::Model model,
                                                       const std::string& checksum);
  // The engines that were there a moment ago; the last known ones while the engine service cannot be reached.
  Task<void> RefreshEngines(const CallContext& call);
  // MODEL_NOT_FOUND, or what is known of a model that an engine brings along: it has no record here.
  absl::Status NotFound(const std::string& model_id, absl::Status otherwise) const;
  EngineFacts FactsOf(const v1::Model& model, const std::string& engine = "") const;
  void WantDigest(const v1::Model& model);
  Task<absl::Status> ComputeDigestsOnce(const CallContext& call);
  // Removes the files of a deleted model, if they are AIMA's own. Returns the bytes that were freed.
  Task<int64_t> RemoveFiles(const CallContext& call, v1::Model model);
  Task<absl::Status> CheckUnused(const CallContext& call, const std::string& model_id);

  events::Outbox& outbox_;
  ModelUsers& users_;
  Pulls& pulls_;
  ModelStore store_;
  const Storage storage_;
  const ImportRoots roots_;
  FileThreads threads_;
  Registrar registrar_;
  boost::asio::steady_timer wake_;  // of ComputeDigests
  bool digest_wanted_ = false;
  std::vector<KnownEngine> engines_;
  absl::Time engines_fresh_until_ = absl::InfinitePast();
};

}  // namespace aima::model
