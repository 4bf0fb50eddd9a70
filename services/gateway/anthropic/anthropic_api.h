// Anthropic's API: /v1/messages, /v1/messages/count_tokens, and /v1/models for its clients.
#pragma once

#include "services/gateway/translation.h"

namespace aima::gateway::anthropic {

class AnthropicApi : public Translation {
 public:
  using Translation::Translation;

  // /v1/models is OpenAI's too; Anthropic's clients say by a header which one they speak.
  bool Owns(const http::Request& request, std::string_view path) const override;
  http::Response ErrorAnswer(const absl::Status& status, const std::string& request_id, int http_status) const override;

 protected:
  Task<absl::Status> Serve(TranslatedVisit& visit) override;
  const char* request_id_header() const override { return "Request-Id"; }

 private:
  Task<absl::Status> Messages(TranslatedVisit& visit);
  Task<absl::Status> CountTokens(TranslatedVisit& visit);
  Task<absl::Status> Models(TranslatedVisit& visit);
  Task<absl::Status> Model(TranslatedVisit& visit, std::string id);
};

}  // namespace aima::gateway::anthropic
