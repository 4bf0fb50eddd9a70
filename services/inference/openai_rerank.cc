#include "services/inference/openai_rerank.h"

#include <absl/strings/str_cat.h>

#include <nlohmann/json.hpp>

#include "libs/base/status_macros.h"
#include "libs/errors/errors.h"
#include "libs/unit/json_codec.h"
#include "libs/unit/rules.h"

namespace aima::inference {

using Json = nlohmann::json;

absl::StatusOr<v1::RerankRequest> ReadRerankRequest(const std::string& body) {
  ASSIGN_OR_RETURN(const Json json, ParseJsonText(body));
  if (!json.is_object()) return InvalidInput("body", "must be a JSON object");
  Json input = Json::object();
  for (const char* field : {"model", "query", "top_n", "return_documents"}) {
    if (json.contains(field)) input[field] = json[field];
  }
  input["documents"] = Json::array();
  const Json documents = json.value("documents", Json());
  if (!documents.is_array()) return InvalidInput("documents", "must be a list of texts");
  for (const Json& document : documents) {
    const bool wrapped = document.is_object() && document.contains("text");
    input["documents"].push_back(wrapped ? document["text"] : document);
  }
  v1::RerankRequest request;
  RETURN_IF_ERROR(ParseJson(input, request));
  if (std::vector<FieldViolation> broken = BrokenRules(request); !broken.empty()) return InvalidInput(std::move(broken));
  return request;
}

std::string RerankAnswer(const v1::RerankResponse& response) {
  Json json = {{"object", "list"}, {"model", response.model()}, {"method", response.method()}, {"results", Json::array()}};
  for (const v1::RankedDocument& result : response.results()) {
    Json item = {{"index", result.index()}, {"relevance_score", result.relevance_score()}};
    if (result.has_document()) item["document"] = {{"text", result.document()}};
    json["results"].push_back(std::move(item));
  }
  json["usage"] = {{"prompt_tokens", response.usage().prompt_tokens()},
                   {"total_tokens", response.usage().total_tokens()}};
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace aima::inference
