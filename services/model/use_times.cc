#include "services/model/use_times.h"

#include <absl/time/clock.h>
#include <spdlog/spdlog.h>

#include "aima/engine/v1/engine.pb.h"
#include "aima/inference/v1/inference.pb.h"

namespace aima::model {

namespace {

constexpr absl::Duration kNoteEvery = absl::Minutes(1);

std::string ModelIn(const event::v1::Event& event) {
  engine::v1::EngineStarted started;
  if (event.payload().UnpackTo(&started)) return started.model_id();
  inference::v1::RequestStarted request;
  if (event.payload().UnpackTo(&request)) return request.model();
  return "";
}

}  // namespace

Task<void> UseTimes::Hear(const event::v1::Event& event) {
  const std::string id = ModelIn(event);
  const absl::Time now = absl::Now();
  std::erase_if(noted_, [now](const auto& entry) { return now - entry.second > kNoteEvery; });
  if (id.empty() || !noted_.emplace(id, now).second) co_return;
  const absl::Status status = co_await models_.SetUsed(call_, id);
  if (!status.ok()) spdlog::warn("the use of {} is not noted: {}", id, std::string(status.message()));
}

}  // namespace aima::model
