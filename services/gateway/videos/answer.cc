#include "services/gateway/videos/answer.h"

#include <absl/strings/ascii.h>
#include <absl/strings/str_cat.h>

#include <algorithm>
#include <string>

#include "aima/gateway/v1/operation.pb.h"
#include "aima/inference/v1/inference.pb.h"
#include "libs/errors/errors.h"
#include "services/gateway/json_fields.h"

namespace aima::gateway::videos {
namespace {

using nlohmann::json;
using operations::State;

// Until the engine works on it, it waits.
const char* StatusOf(State state, const v1::OperationProgress& progress) {
  switch (state) {
    case State::kPending: return "queued";
    case State::kRunning: return progress.phase().empty() || progress.phase() == "queued" ? "queued" : "in_progress";
    case State::kSucceeded: return "completed";
    default: return "failed";
  }
}

json SecondsOf(std::optional<absl::Time> time) { return time ? json(absl::ToUnixSeconds(*time)) : json(); }

json TextOrNull(const std::string& text) { return text.empty() ? json() : json(text); }

}  // namespace

json VideoOf(const operations::Operation& operation, absl::Duration retention) {
  inference::v1::GenerateVideoRequest request;
  request.ParseFromString(operation.input);
  v1::OperationProgress progress;
  progress.ParseFromString(operation.progress);
  json error;
  if (!operation.error.ok()) {
    error = {{"code", absl::AsciiStrToLower(DetailsOf(operation.error).reason)},
             {"message", MessageOf(operation.error)}};
  }
  std::optional<absl::Time> expires;
  if (operation.state == State::kSucceeded && operation.finished) expires = *operation.finished + retention;
  const double percent = operation.state == State::kSucceeded ? 100 : std::clamp(progress.percent(), 0.0, 100.0);
  return {{"id", operation.id},
          {"object", "video"},
          {"model", request.model()},
          {"status", StatusOf(operation.state, progress)},
          {"progress", static_cast<int>(percent)},
          {"prompt", request.prompt()},
          {"seconds", request.has_duration() ? json(absl::StrCat(request.duration())) : json()},
          {"size", TextOrNull(request.size())},
          {"created_at", absl::ToUnixSeconds(operation.created)},
          {"completed_at", operation.state == State::kSucceeded ? SecondsOf(operation.finished) : json()},
          {"expires_at", SecondsOf(expires)},
          {"remixed_from_video_id", nullptr},
          {"error", std::move(error)}};
}

}  // namespace aima::gateway::videos
