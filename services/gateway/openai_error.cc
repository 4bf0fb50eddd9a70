#include "services/gateway/openai_error.h"

#include <absl/strings/ascii.h>

#include "libs/errors/errors.h"
#include "services/gateway/envelope.h"
#include "services/gateway/json_fields.h"

namespace aima::gateway {

using nlohmann::json;

json OpenAiErrorBody(const absl::Status& status, int http_status) {
  const ErrorDetails details = DetailsOf(status);
  const char* type = http_status == 401   ? "authentication_error"
                     : http_status == 403 ? "permission_error"
                     : http_status == 429 ? "rate_limit_error"
                     : http_status < 500  ? "invalid_request_error"
                                          : "server_error";
  std::string code = absl::AsciiStrToLower(details.reason);
  json param;
  if (details.reason == "INFERENCE_MODEL_NOT_FOUND") {
    code = "model_not_found";
    param = "model";
  } else if (details.reason == "INFERENCE_CONTEXT_TOO_LONG") {
    code = "context_length_exceeded";
    param = "input";
  } else if (!details.violations.empty()) {
    param = details.violations[0].field;
    if (details.violations[0].description == "is an unknown parameter") code = "unknown_parameter";
  }
  return {{"error", {{"message", MessageOf(status)}, {"type", type}, {"param", param}, {"code", code}}}};
}

http::Response OpenAiErrorResponse(const absl::Status& status, const std::string& request_id, int http_status) {
  http::Response response = ErrorResponse(status, {request_id, "", absl::Now()}, http_status);
  response.headers.Set("Content-Type", "application/json");
  response.body = DumpJson(OpenAiErrorBody(status, response.status));
  return response;
}

}  // namespace aima::gateway
