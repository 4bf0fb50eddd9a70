#include "services/model/pull_units.h"

#include "libs/base/status_macros.h"

namespace aima::model {

Task<absl::StatusOr<v1::PullResponse>> PullUnits::Pull(CallContext& call, const v1::PullRequest& request) {
  CO_ASSIGN_OR_RETURN(const std::shared_ptr<PullRun> run, co_await pulls_.Begin(call, request));
  if (!request.detach()) CO_RETURN_IF_ERROR(co_await run->feed().Result());
  co_return run->Response();
}

Task<absl::Status> PullUnits::PullStream(CallContext& call, const v1::PullRequest& request,
                                         StreamWriter<v1::PullProgress>& out) {
  CO_ASSIGN_OR_RETURN(const std::shared_ptr<PullRun> run, co_await pulls_.Begin(call, request));
  if (request.detach()) {
    v1::PullProgress progress = run->progress();
    *progress.mutable_result() = run->Response();
    co_return co_await out.Write(progress);
  }
  uint64_t cursor = 0;
  while (true) {
    const std::optional<v1::PullProgress> step = co_await run->feed().Next(cursor);
    if (!step) break;
    CO_RETURN_IF_ERROR(co_await out.Write(*step));
  }
  co_return co_await run->feed().Result();
}

Task<absl::StatusOr<v1::CancelPullResponse>> PullUnits::CancelPull(CallContext& call,
                                                                   const v1::CancelPullRequest& request) {
  CO_RETURN_IF_ERROR((co_await models_.Find(call, request.model_id())).status());
  CO_ASSIGN_OR_RETURN(const bool cancelled, co_await pulls_.Cancel(call, request.model_id()));
  v1::CancelPullResponse response;
  response.set_cancelled(cancelled);
  co_return response;
}

Task<absl::StatusOr<v1::PullsResponse>> PullUnits::Pulls(CallContext& call, const v1::PullsRequest& request) {
  co_return co_await pulls_.List(call, request.limit());
}

Task<absl::StatusOr<v1::PinResponse>> PullUnits::Pin(CallContext& call, const v1::PinRequest& request) {
  v1::PinResponse response;
  response.set_model_id(request.model_id());
  response.set_pinned(request.pinned());
  ModelStore::Also also;
  also.push_back(outbox_.Remember(call, response));
  CO_RETURN_IF_ERROR(co_await models_.SetPinned(call, request.model_id(), request.pinned(), std::move(also)));
  co_return response;
}

}  // namespace aima::model
