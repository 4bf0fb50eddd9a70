// Errors as OpenAI's API tells of them.
#pragma once

#include <absl/status/status.h>

#include <nlohmann/json.hpp>
#include <string>

#include "libs/http/message.h"

namespace aima::gateway {

// {"error": {"message", "type", "param", "code"}}
nlohmann::json OpenAiErrorBody(const absl::Status& status, int http_status);

// The whole answer; `http_status` 0 is the one that fits.
http::Response OpenAiErrorResponse(const absl::Status& status, const std::string& request_id, int http_status = 0);

}  // namespace aima::gateway
