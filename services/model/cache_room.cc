#include "services/model/cache_room.h"

#include <absl/strings/str_cat.h>
#include <spdlog/spdlog.h>

#include "libs/base/status_macros.h"
#include "libs/errors/errors.h"

namespace aima::model {

Task<absl::StatusOr<std::vector<v1::Model>>> CacheRoom::Removable(const CallContext& call,
                                                                  const std::string& for_model) {
  CO_ASSIGN_OR_RETURN(const std::vector<v1::Model> stored, co_await models_.Stored(call));
  std::vector<v1::Model> removable;
  for (const v1::Model& model : stored) {
    if (model.id() != for_model && co_await MayGo(call, model)) removable.push_back(model);
  }
  co_return removable;
}

Task<bool> CacheRoom::MayGo(const CallContext& call, const v1::Model& model) {
  if (model.pinned() || !blobs_.IsPlaced(model.path())) co_return false;
  const absl::StatusOr<std::vector<std::string>> users = co_await users_.InstancesOf(call, model.id());
  co_return users.ok() && users->empty();
}

Task<absl::StatusOr<CacheRoom::Grant>> CacheRoom::Make(const CallContext& call, std::string for_model,
                                                       v1::PullPlan plan) {
  v1::PullPlan together;  // what two pulls need is needed once
  for (const v1::PullPlan& other : *promised_) together.MergeFrom(other);
  const auto at = promised_->insert(promised_->end(), plan);
  Grant grant(nullptr, [promised = promised_, at](void*) { promised->erase(at); });
  const auto [bytes, promised] = co_await threads_.RunQuick([blobs = &blobs_, plan, together]() mutable {
    const int64_t others = blobs->Missing(together);
    together.MergeFrom(plan);
    return std::pair(blobs->Missing(together) - others, others);
  });
  if (bytes > 0) CO_RETURN_IF_ERROR(co_await Fit(call, for_model, bytes, promised));
  co_return grant;
}

Task<absl::Status> CacheRoom::Fit(const CallContext& call, const std::string& for_model, int64_t bytes,
                                  int64_t promised) {
  BlobStore* const blobs = &blobs_;
  const auto used_bytes = [blobs, promised] { return blobs->UsedBytes() + promised; };
  int64_t used = co_await threads_.RunQuick(used_bytes);
  if (used + bytes > bytes_max_) {
    std::vector<v1::Model> removable;
    if (bytes <= bytes_max_) {
      CO_ASSIGN_OR_RETURN(removable, co_await Removable(call, for_model));
    }
    std::vector<std::string> paths;
    for (const v1::Model& model : removable) paths.push_back(model.path());
    const int64_t gain = co_await threads_.RunQuick([blobs, paths] { return blobs->Freed(paths); });
    if (used - gain + bytes > bytes_max_) {
      co_return Error(
          v1::MODEL_STORAGE_FULL,
          absl::StrCat("'", for_model, "' needs ", bytes, " bytes more; pulled models, and pulls that run, take ", used,
                       " of the ", bytes_max_, " that model.max_cache_gb allows, and only ", gain,
                       " of them belong to models that are neither pinned nor in use"),
          {{"needed", absl::StrCat(bytes)}, {"used", absl::StrCat(used)}, {"allowed", absl::StrCat(bytes_max_)}});
    }
    for (const v1::Model& model : removable) {
      // It takes a while: somebody may have pinned or started this one, or pulled it anew.
      const absl::StatusOr<v1::Model> now = co_await models_.Find(call, model.id());
      if (!now.ok() || now->path() != model.path() || !co_await MayGo(call, *now)) continue;
      CO_RETURN_IF_ERROR(co_await Remove(call, model));
      used = co_await threads_.RunQuick(used_bytes);
      if (used + bytes <= bytes_max_) break;
    }
    if (used + bytes > bytes_max_) {
      co_return Error(v1::MODEL_STORAGE_FULL,
                      absl::StrCat("'", for_model, "' needs ", bytes,
                                   " bytes more than are free in the share of model.max_cache_gb"),
                      {});
    }
  }
  co_return co_await threads_.RunQuick([blobs, bytes, promised] { return blobs->CheckRoom(bytes + promised); });
}

Task<absl::Status> CacheRoom::Remove(const CallContext& call, const v1::Model& model) {
  spdlog::info("removing model {} to make room: it was not used for longest", model.id());
  v1::ModelDeleted deleted;
  deleted.set_model_id(model.id());
  ModelStore::Also also;
  also.push_back(outbox_.Emit(call, deleted));
  const absl::Status status = co_await models_.Delete(call, model.id(), std::move(also));
  if (HasReason(status, v1::MODEL_NOT_FOUND)) co_return absl::OkStatus();
  CO_RETURN_IF_ERROR(status);
  co_await threads_.RunQuick([blobs = &blobs_, path = model.path()] {
    blobs->Remove(path);
    return blobs->Collect();
  });
  co_return absl::OkStatus();
}

}  // namespace aima::model
