// Room for pulled models.
#pragma once

#include <absl/status/status.h>

#include <cstdint>
#include <list>
#include <memory>
#include <string>

#include "aima/model/v1/pull.pb.h"
#include "libs/base/call_context.h"
#include "libs/base/task.h"
#include "libs/events/outbox.h"
#include "services/model/blob_store.h"
#include "services/model/file_threads.h"
#include "services/model/model_store.h"
#include "services/model/model_users.h"

namespace aima::model {

// Keeps pulled models below a number of bytes: makes room by removing those that were not used for longest. Models that
// are pinned or that an engine serves stay, and so does everything while that cannot be found out. Use it on its loop.
class CacheRoom {
 public:
  CacheRoom(ModelStore& models, events::Outbox& outbox, BlobStore& blobs, FileThreads& threads, ModelUsers& users,
            int64_t bytes_max)
      : models_(models), outbox_(outbox), blobs_(blobs), threads_(threads), users_(users), bytes_max_(bytes_max) {}

  // Room that is promised to a pull as long as this lives: other pulls do not get it.
  using Grant = std::shared_ptr<void>;

  // Returns when what a pull still needs fits beside what is promised to others, on the disk too. MODEL_STORAGE_FULL if
  // it cannot; nothing was removed then.
  Task<absl::StatusOr<Grant>> Make(const CallContext& call, std::string for_model, v1::PullPlan plan);

 private:
  Task<absl::Status> Fit(const CallContext& call, const std::string& for_model, int64_t bytes, int64_t promised);
  Task<absl::StatusOr<std::vector<v1::Model>>> Removable(const CallContext& call, const std::string& for_model);
  Task<bool> MayGo(const CallContext& call, const v1::Model& model);
  Task<absl::Status> Remove(const CallContext& call, const v1::Model& model);

  ModelStore& models_;
  events::Outbox& outbox_;
  BlobStore& blobs_;
  FileThreads& threads_;
  ModelUsers& users_;
  const int64_t bytes_max_;
  // In the order in which they were asked for: each has to fit beside those before it.
  std::shared_ptr<std::list<v1::PullPlan>> promised_ = std::make_shared<std::list<v1::PullPlan>>();
};

}  // namespace aima::model
