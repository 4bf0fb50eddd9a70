#include "services/gateway/responses/responses_api.h"

#include <absl/strings/str_cat.h>

#include "aima/unit/v1/errors.pb.h"
#include "libs/base/ids.h"
#include "libs/base/status_macros.h"
#include "libs/errors/errors.h"
#include "services/gateway/openai_error.h"
#include "services/gateway/responses/answer.h"
#include "services/gateway/responses/request.h"
#include "services/gateway/wrong_method.h"

namespace aima::gateway::responses {
namespace {

using nlohmann::json;

constexpr std::string_view kRoot = "/v1/responses";

}  // namespace

bool ResponsesApi::Owns(const http::Request&, std::string_view path) const {
  return path.substr(0, kRoot.size()) == kRoot && (path.size() == kRoot.size() || path[kRoot.size()] == '/');
}

http::Response ResponsesApi::ErrorAnswer(const absl::Status& status, const std::string& request_id,
                                         int http_status) const {
  return OpenAiErrorResponse(status, request_id, http_status);
}

Task<absl::Status> ResponsesApi::Serve(TranslatedVisit& visit) {
  const bool post = visit.request.method == "POST";
  if (post && visit.path == kRoot) co_return co_await Create(visit);
  if (post && visit.path == "/v1/responses/input_tokens") co_return co_await CountTokens(visit);
  if (visit.path == kRoot || visit.path == "/v1/responses/input_tokens") {
    co_return WrongMethod(visit.request, visit.path, "POST");
  }
  co_return Error(unit::v1::RESOURCE_NOT_FOUND,
                  absl::StrCat("there is no ", visit.request.method, " ", visit.path.substr(0, 200),
                               " here: responses are not kept after they were answered"));
}

Task<absl::Status> ResponsesApi::Create(TranslatedVisit& visit) {
  CO_ASSIGN_OR_RETURN(const json body, Body(visit));
  CO_ASSIGN_OR_RETURN(Asked asked, ReadResponse(body));
  const std::string id = NewId("resp_");
  if (asked.stream) {
    ResponseStream form(id, asked.request);
    co_return co_await Stream(visit, "inference.chat", std::move(asked.input), form);
  }
  CO_ASSIGN_OR_RETURN(const json answer, co_await Run(visit, "inference.chat", std::move(asked.input)));
  co_return co_await Answer(visit, ResponseOf(answer, id, asked.request));
}

Task<absl::Status> ResponsesApi::CountTokens(TranslatedVisit& visit) {
  CO_ASSIGN_OR_RETURN(const json body, Body(visit));
  CO_ASSIGN_OR_RETURN(json input, ReadInputTokens(body));
  CO_ASSIGN_OR_RETURN(const json answer, co_await Run(visit, "inference.count_tokens", std::move(input)));
  const json counted = {{"object", "response.input_tokens"}, {"input_tokens", answer.value("tokens", 0)}};
  co_return co_await Answer(visit, counted);
}

}  // namespace aima::gateway::responses
