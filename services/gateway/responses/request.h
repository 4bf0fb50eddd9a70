// Requests of OpenAI's Responses API, as units understand them.
#pragma once

#include <absl/status/statusor.h>

#include <nlohmann/json.hpp>
#include <string>

namespace aima::gateway::responses {

// A request for a response.
struct Asked {
  nlohmann::json input;    // of inference.chat
  nlohmann::json request;  // what the response repeats of the request: model, tools, instructions …
  bool stream = false;
};

// Reads the body of POST /v1/responses. As OpenAI does, a field that is not known is refused. Responses are not kept
// here, so what builds on kept ones (previous_response_id, conversation, background, store: true) is refused by name; a
// request that does not mention `store` is answered without being kept.
absl::StatusOr<Asked> ReadResponse(const nlohmann::json& body);

// Reads the body of POST /v1/responses/input_tokens into the input of inference.count_tokens.
absl::StatusOr<nlohmann::json> ReadInputTokens(const nlohmann::json& body);

}  // namespace aima::gateway::responses
