// What engines say when they fail, in all the forms that they use for it.
#pragma once

#include <absl/status/status.h>

#include <string_view>

#include "services/inference/directory.h"

namespace aima::inference {

// An answer with an HTTP status that is no success.
absl::Status EngineError(int http_status, std::string_view body, const Endpoint& engine);

// The error that a piece of a stream tells of; INFERENCE_ENGINE_FAILED if it tells of none and is no answer either.
absl::Status ErrorInPiece(std::string_view json, const Endpoint& engine);

// An answer that makes no sense: it is no `what`.
absl::Status NoAnswer(const Endpoint& engine, std::string_view what, std::string_view why);

}  // namespace aima::inference
