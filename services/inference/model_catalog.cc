#include "services/inference/model_catalog.h"

#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>
#include <absl/strings/str_split.h>

#include <algorithm>
#include <utility>

#include "libs/base/nearest.h"
#include "libs/base/status_macros.h"
#include "libs/errors/errors.h"

namespace aima::inference {

Task<absl::StatusOr<ModelRecord>> ModelCatalog::Resolve(const CallContext& call, const std::string& model) {
  if (absl::Now() < fresh_until_) {
    if (const ModelRecord* record = Find(model); record != nullptr && record->ready) co_return *record;
  }
  // Not known, not ready, or not sure: only the model service can tell. A reading that began before this request
  // may have missed a model that was made just now.
  const bool joined = reading_ != nullptr && !reading_->done();
  absl::Status status = co_await Refresh(call);
  if (status.ok() && joined && Find(model) == nullptr) status = co_await Refresh(call);
  if (const ModelRecord* record = Find(model); record != nullptr) co_return *record;
  if (!status.ok()) co_return status;
  co_return NotFound(model);
}

Task<absl::StatusOr<std::vector<ModelRecord>>> ModelCatalog::All(CallContext call) {
  const absl::Status status = co_await Refresh(call);
  if (!status.ok() && !known_) co_return status;
  co_return models_;
}

const ModelRecord* ModelCatalog::Find(const std::string& model) const {
  if (const auto it = by_id_.find(model); it != by_id_.end()) return &models_[it->second];
  if (const auto it = by_name_.find(model); it != by_name_.end()) return &models_[it->second];
  return nullptr;
}

Task<absl::Status> ModelCatalog::Refresh(const CallContext& call) {
  if (reading_ == nullptr || reading_->done()) {
    CallContext own = call;
    own.deadline = absl::Now() + absl::Seconds(10);
    reading_ = Flight::Launch(loop_, Read(std::move(own)));
  }
  const std::shared_ptr<Flight> reading = reading_;
  co_return co_await reading->Wait(call.deadline, "the list of models");
}

Task<absl::Status> ModelCatalog::Read(CallContext call) {
  // What changes while this reads is told by Forget and must not be lost.
  fresh_until_ = absl::Now() + kTrustFor;
  absl::StatusOr<std::vector<ModelRecord>> models = co_await directory_.List(call);
  if (!models.ok()) {
    Forget();
    co_return models.status();
  }
  models_ = *std::move(models);
  std::sort(models_.begin(), models_.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
  by_id_.clear();
  by_name_.clear();
  for (size_t i = 0; i < models_.size(); ++i) {
    by_id_.emplace(models_[i].id, i);
    by_name_.emplace(models_[i].name, i);
  }
  // Models that an Ollama server keeps have tags in their ids. They are found as models that were pulled from Ollama's
  // library are: without `:latest`, or with the tag as the end of the name. Ids and names of others come first.
  for (size_t i = 0; i < models_.size(); ++i) {
    const std::pair<std::string, std::string> parts = absl::StrSplit(models_[i].id, absl::MaxSplits(':', 1));
    if (parts.second.empty()) continue;
    by_name_.emplace(parts.second == "latest" ? parts.first : absl::StrCat(parts.first, "-", parts.second), i);
  }
  known_ = true;
  co_return absl::OkStatus();
}

absl::Status ModelCatalog::NotFound(const std::string& model) const {
  std::vector<std::string> ids;
  for (const ModelRecord& record : models_) {
    if (record.ready || record.engine.empty()) ids.push_back(record.id);
  }
  std::string message = absl::StrCat("there is no model '", model, "'");
  const std::vector<std::string> alike = Nearest(model, ids, 3);
  if (!alike.empty()) {
    absl::StrAppend(&message, "; did you mean ", absl::StrJoin(alike, " or "), "?");
  } else if (ids.empty()) {
    absl::StrAppend(&message, ": there are no models yet");
  } else {
    const size_t shown = std::min<size_t>(ids.size(), 10);
    absl::StrAppend(&message, "; there are ", absl::StrJoin(ids.begin(), ids.begin() + shown, ", "),
                    shown < ids.size() ? " and others" : "");
  }
  return Error(v1::INFERENCE_MODEL_NOT_FOUND, message, {{"model", model}});
}

}  // namespace aima::inference
