// Room for pulled models.
#pragma once

#include <absl/status/status.h>

#include <cstdint>
#include <string>

#include "libs/base/call_context.h"
#include "libs/base/task.h"
#include "libs/events/outbox.h"
#include "services/model/blob_store.h"
#include "services/model/file_threads.h"
#include "services/model/model_store.h"
#include "services/model/model_users.h"

namespace aima::model {

// Keeps pulled models below a number of bytes: makes room by removing those that were not used for longest. Models that
// are pinned or that an engine serves stay, and so does everything while that cannot be found out.
class CacheRoom {
 public:
  CacheRoom(ModelStore& models, events::Outbox& outbox, BlobStore& blobs, FileThreads& threads, ModelUsers& users,
            int64_t bytes_max)
      : models_(models), outbox_(outbox), blobs_(blobs), threads_(threads), users_(users), bytes_max_(bytes_max) {}

  // Returns when these bytes more fit, on the disk too. MODEL_STORAGE_FULL if they cannot; nothing was removed then.
  Task<absl::Status> Make(const CallContext& call, std::string for_model, int64_t bytes);

 private:
  Task<absl::StatusOr<std::vector<v1::Model>>> Removable(const CallContext& call, const std::string& for_model);
  Task<absl::Status> Remove(const CallContext& call, const v1::Model& model);

  ModelStore& models_;
  events::Outbox& outbox_;
  BlobStore& blobs_;
  FileThreads& threads_;
  ModelUsers& users_;
  const int64_t bytes_max_;
};

}  // namespace aima::model
