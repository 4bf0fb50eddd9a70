#include "services/gateway/anthropic/anthropic_api.h"

#include <absl/strings/match.h>
#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>

#include "aima/unit/v1/errors.pb.h"
#include "libs/base/ids.h"
#include "libs/base/status_macros.h"
#include "libs/errors/errors.h"
#include "services/gateway/anthropic/messages_answer.h"
#include "services/gateway/anthropic/messages_request.h"
#include "services/gateway/envelope.h"
#include "services/gateway/json_fields.h"
#include "services/gateway/wrong_method.h"

namespace aima::gateway::anthropic {
namespace {

using nlohmann::json;

constexpr std::string_view kMessages = "/v1/messages";
constexpr std::string_view kModels = "/v1/models";

// True of `path` itself and of what is below.
bool IsBelow(std::string_view path, std::string_view root) {
  return path.substr(0, root.size()) == root && (path.size() == root.size() || path[root.size()] == '/');
}

bool IsBeta(const TranslatedVisit& visit) { return !visit.request.headers.Get("anthropic-beta").empty(); }

json ModelInfo(const json& model) {
  return {{"type", "model"},
          {"id", model.value("id", "")},
          {"display_name", model.value("name", "")},
          {"created_at", model.value("create_time", "1970-01-01T00:00:00Z")}};
}

}  // namespace

bool AnthropicApi::Owns(const http::Request& request, std::string_view path) const {
  if (IsBelow(path, kMessages)) return true;
  return IsBelow(path, kModels) && request.headers.Find("anthropic-version") != nullptr;
}

http::Response AnthropicApi::ErrorAnswer(const absl::Status& status, const std::string& request_id,
                                         int http_status) const {
  http::Response response = ErrorResponse(status, {request_id, "", absl::Now()});
  if (http_status != 0) response.status = http_status;
  response.headers.Set("Content-Type", "application/json");
  response.headers.Add(request_id_header(), request_id);
  response.body = DumpJson(ErrorBody(status, response.status, request_id));
  return response;
}

Task<absl::Status> AnthropicApi::Serve(TranslatedVisit& visit) {
  const bool post = visit.request.method == "POST";
  const std::string& path = visit.path;
  if (post && path == "/v1/messages") co_return co_await Messages(visit);
  if (post && path == "/v1/messages/count_tokens") co_return co_await CountTokens(visit);
  if (visit.request.method == "GET" && path == kModels) co_return co_await Models(visit);
  if (visit.request.method == "GET" && IsBelow(path, kModels)) {
    co_return co_await Model(visit, path.substr(kModels.size() + 1));
  }
  if (path == kMessages || path == "/v1/messages/count_tokens") co_return WrongMethod(visit.request, path, "POST");
  if (IsBelow(path, kModels)) co_return WrongMethod(visit.request, path, "GET");
  co_return Error(unit::v1::RESOURCE_NOT_FOUND,
                  absl::StrCat("there is no ", visit.request.method, " ", path.substr(0, 200), " here"));
}

Task<absl::Status> AnthropicApi::Messages(TranslatedVisit& visit) {
  CO_ASSIGN_OR_RETURN(const json body, Body(visit));
  CO_ASSIGN_OR_RETURN(Asked asked, ReadMessages(body, IsBeta(visit)));
  const std::string id = NewId("msg_");
  if (asked.stream) {
    MessageStream form(id, asked.model, visit.context.request_id);
    co_return co_await Stream(visit, "inference.chat", std::move(asked.input), form);
  }
  CO_ASSIGN_OR_RETURN(const json answer, co_await Run(visit, "inference.chat", std::move(asked.input)));
  co_return co_await Answer(visit, MessageOf(answer, id, asked.model));
}

Task<absl::Status> AnthropicApi::CountTokens(TranslatedVisit& visit) {
  CO_ASSIGN_OR_RETURN(const json body, Body(visit));
  CO_ASSIGN_OR_RETURN(json input, ReadCountTokens(body, IsBeta(visit)));
  CO_ASSIGN_OR_RETURN(const json answer, co_await Run(visit, "inference.count_tokens", std::move(input)));
  const json counted = {{"input_tokens", answer.value("tokens", 0)}};
  co_return co_await Answer(visit, counted);
}

Task<absl::Status> AnthropicApi::Models(TranslatedVisit& visit) {
  json input = {{"status", "ready"}, {"limit", 20}};
  std::vector<std::pair<std::string, std::string>> fields;
  if (!http::ParseQuery(visit.query, fields)) co_return InvalidInput("query", "is not properly encoded");
  for (const auto& [name, value] : fields) {
    int limit = 0;
    if (name == "limit" && absl::SimpleAtoi(value, &limit) && limit >= 1 && limit <= 1000) {
      input["limit"] = limit;
    } else if (name == "limit") {
      co_return InvalidInput("limit", "must be from 1 to 1000");
    } else if (name == "after_id") {
      input["after"] = value;
    } else if (name == "before_id") {
      co_return InvalidInput("before_id", "is not known here; use after_id");
    }
  }
  CO_ASSIGN_OR_RETURN(const json answer, co_await Run(visit, "model.list", std::move(input)));
  json data = json::array();
  for (const json& model : answer.value("items", json::array())) data.push_back(ModelInfo(model));
  json page = {{"data", data},
               {"has_more", answer.value("next_after", "") != ""},
               {"first_id", nullptr},
               {"last_id", nullptr}};
  if (!data.empty()) {
    page["first_id"] = data.front()["id"];
    page["last_id"] = data.back()["id"];
  }
  co_return co_await Answer(visit, page);
}

Task<absl::Status> AnthropicApi::Model(TranslatedVisit& visit, std::string id) {
  json input = {{"model_id", std::move(id)}};
  CO_ASSIGN_OR_RETURN(const json model, co_await Run(visit, "model.get", std::move(input)));
  co_return co_await Answer(visit, ModelInfo(model));
}

}  // namespace aima::gateway::anthropic
