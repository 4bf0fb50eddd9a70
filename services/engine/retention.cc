#include "services/engine/retention.h"

namespace aima::engine {

Retention RetentionOf(const v1::StartRequest& request, const Instance* instance, absl::Duration idle) {
  // Who needs it for a request has no opinion on what somebody else has started.
  if (request.on_demand() && instance &&
      (instance->record().Live() || instance->record().wanted || instance->starting())) {
    Retention kept = instance->wish();
    if (kept.on_demand && request.has_idle_timeout()) kept.idle_timeout = request.idle_timeout();
    return kept;
  }
  Retention retention;
  retention.on_demand = request.on_demand();
  retention.pinned = request.pinned();
  if (request.on_demand()) retention.idle_timeout = absl::ToInt64Milliseconds(idle);
  if (request.has_idle_timeout()) retention.idle_timeout = request.idle_timeout();
  return retention;
}

std::string WhyItStays(const Record& record, const v1::UnloadRequest& request) {
  const bool idle = request.reason() == v1::UNLOAD_REASON_IDLE;
  if (record.generation != request.generation() || record.status != v1::INSTANCE_STATUS_RUNNING) {
    return "has been started again";
  }
  if (record.retention.pinned) return "is pinned";
  const bool goes = idle ? record.retention.idle_timeout > 0 : record.retention.on_demand;
  return goes ? "" : "was started by somebody who wants it to stay";
}

}  // namespace aima::engine
