// Requests of Anthropic's Messages API, as units understand them.
#pragma once

#include <absl/status/statusor.h>

#include <nlohmann/json.hpp>
#include <string>

namespace aima::gateway::anthropic {

// A request to answer a conversation.
struct Asked {
  nlohmann::json input;  // of inference.chat
  std::string model;     // as the client calls it
  bool stream = false;
};

// Reads the body of POST /v1/messages. As Anthropic does, a field that is not known is refused, unless the client says
// by `beta` that it uses fields that are not in the published API. What cannot be done here is refused by name; what
// changes nothing about the answer (metadata, cache_control, service_tier …) is accepted.
absl::StatusOr<Asked> ReadMessages(const nlohmann::json& body, bool beta);

// Reads the body of POST /v1/messages/count_tokens into the input of inference.count_tokens.
absl::StatusOr<nlohmann::json> ReadCountTokens(const nlohmann::json& body, bool beta);

}  // namespace aima::gateway::anthropic
