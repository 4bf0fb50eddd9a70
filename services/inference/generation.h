// Runs one request for generated text from beginning to end.
#pragma once

#include <absl/status/statusor.h>

#include <functional>
#include <string>
#include <vector>

#include "services/inference/dialect.h"
#include "services/inference/dispatcher.h"

namespace aima::inference {

// What is known when all text is there.
struct Outcome {
  std::string model;  // id
  v1::FinishReason finish = v1::FINISH_REASON_UNSPECIFIED;
  v1::Usage usage;
  v1::Metrics metrics;
  std::vector<v1::ToolCall> tool_calls;
  std::string stop_text;
};

// What is to be generated.
struct GenerationRequest {
  std::string model;  // as the caller named it
  v1::LoadOptions load;
  Ask ask = Ask::kChat;
  // The request in the dialect of the engine that was chosen.
  std::function<absl::StatusOr<EngineRequest>(const Dialect&, const Endpoint&)> make;
  // Takes each piece of text as it comes, and what was read, once; an error stops the engine.
  std::function<Task<absl::Status>(const Delta&)> sink;
};

Task<absl::StatusOr<Outcome>> Generate(CallContext call, Dispatcher& dispatcher, events::Outbox& outbox,
                                       GenerationRequest request);

}  // namespace aima::inference
