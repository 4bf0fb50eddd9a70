// The answer that every /api/v2 endpoint gives: {success, data, error, meta}. An error has the members of a problem (RFC
// 9457) beside these, so that programs that know either form read it: type, title, status and detail.
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
// `http_status` 0 is the one that fits.
std::string ErrorEnvelope(const absl::Status& status, const Meta& meta, int http_status = 0);

// {"code", "message", "details"} of an error.
std::string ErrorJson(const absl::Status& status);

// Whole answers. Errors have the HTTP status that fits, and Retry-After where one is known.
http::Response SuccessResponse(const Output& output, const Meta& meta, int status = 200);
http::Response ErrorResponse(const absl::Status& status, const Meta& meta, int http_status = 0);

}  // namespace aima::gateway
