// OpenAI's Responses API: /v1/responses and /v1/responses/input_tokens.
#pragma once

#include "services/gateway/translation.h"

namespace aima::gateway::responses {

class ResponsesApi : public Translation {
 public:
  using Translation::Translation;

  bool Owns(const http::Request& request, std::string_view path) const override;
  http::Response ErrorAnswer(const absl::Status& status, const std::string& request_id, int http_status) const override;

 protected:
  Task<absl::Status> Serve(TranslatedVisit& visit) override;

 private:
  Task<absl::Status> Create(TranslatedVisit& visit);
  Task<absl::Status> CountTokens(TranslatedVisit& visit);
};

}  // namespace aima::gateway::responses
