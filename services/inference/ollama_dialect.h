// Engines that speak Ollama's own HTTP interface: /api/chat, /api/generate, /api/embed.
#pragma once

#include "services/inference/dialect.h"

namespace aima::inference {

// Ollama understands OpenAI's paths as well, with fewer fields: what comes over /v1 is passed on to these.
class OllamaDialect : public Dialect {
 public:
  absl::StatusOr<EngineRequest> Chat(const v1::ChatRequest& request, const Endpoint& engine) const override;
  // The prompt is continued as it is, without the model's template.
  absl::StatusOr<EngineRequest> Complete(const v1::CompleteRequest& request, const Endpoint& engine) const override;
  std::unique_ptr<AnswerReader> NewReader(const Endpoint& engine) const override;
  absl::StatusOr<Exchange<v1::EmbedResponse>> Embed(const v1::EmbedRequest& request,
                                                    const Endpoint& engine) const override;
  bool TakesOpenAi() const override { return true; }
  absl::Status ErrorOf(int http_status, const std::string& body, const Endpoint& engine) const override;
};

}  // namespace aima::inference
