// The answer that every /api/v2 endpoint gives: {success, data, error, meta}.
#pragma once

#include <absl/status/status.h>
#include <absl/time/time.h>

#include <string>

#include "libs/base/call_context.h"
#include "libs/http/message.h"
#include "services/gateway/unit_runner.h"

namespace aima::gateway {

// About the call that is answered.
struct Meta {
  std::string request_id;
  std::string trace_id;
  absl::Time start;
};

std::string SuccessEnvelope(const Output& output, const Meta& meta);
std::string ErrorEnvelope(const absl::Status& status, const Meta& meta);

// {"code", "message", "details"} of an error.
std::string ErrorJson(const absl::Status& status);

// Whole answers. Errors have the HTTP status that fits, and Retry-After where one is known.
http::Response SuccessResponse(const Output& output, const Meta& meta, int status = 200);
http::Response ErrorResponse(const absl::Status& status, const Meta& meta);

}  // namespace aima::gateway
