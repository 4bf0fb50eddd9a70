// The units that fetch models.
#pragma once

#include <absl/status/statusor.h>

#include "aima/model/v1/model.pb.h"
#include "libs/base/call_context.h"
#include "libs/base/stream.h"
#include "libs/base/task.h"
#include "services/model/pulls.h"

namespace aima::model {

// One method per unit. Not thread-safe: lives on the loop.
class PullUnits {
 public:
  PullUnits(Pulls& pulls, ModelStore& models, events::Outbox& outbox) : pulls_(pulls), models_(models), outbox_(outbox) {}

  Task<absl::StatusOr<v1::PullResponse>> Pull(CallContext& call, const v1::PullRequest& request);
  Task<absl::Status> PullStream(CallContext& call, const v1::PullRequest& request, StreamWriter<v1::PullProgress>& out);
  Task<absl::StatusOr<v1::CancelPullResponse>> CancelPull(CallContext& call, const v1::CancelPullRequest& request);
  Task<absl::StatusOr<v1::PullsResponse>> Pulls(CallContext& call, const v1::PullsRequest& request);
  Task<absl::StatusOr<v1::PinResponse>> Pin(CallContext& call, const v1::PinRequest& request);

 private:
  class Pulls& pulls_;
  ModelStore& models_;
  events::Outbox& outbox_;
};

}  // namespace aima::model
