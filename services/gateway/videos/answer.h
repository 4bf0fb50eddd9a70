// Answers of OpenAI's Videos API, made of operations that call inference.generate_video.
#pragma once

#include <absl/time/time.h>

#include <nlohmann/json.hpp>

#include "libs/operations/operation.h"

namespace aima::gateway::videos {

// The job that an operation is to this API. What has ended is there for `retention`, unless too much of
// the same principal comes after it.
nlohmann::json VideoOf(const operations::Operation& operation, absl::Duration retention);

}  // namespace aima::gateway::videos
