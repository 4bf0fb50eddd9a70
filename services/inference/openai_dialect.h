// Engines that speak OpenAI's HTTP interface: llama.cpp, vLLM, SGLang, LocalAI and others.
#pragma once

#include "libs/http/sse.h"
#include "services/inference/dialect.h"

namespace aima::inference {

class OpenAiDialect : public Dialect {
 public:
  absl::StatusOr<EngineRequest> Chat(const v1::ChatRequest& request, const Endpoint& engine) const override;
  absl::StatusOr<EngineRequest> Complete(const v1::CompleteRequest& request,
                                         const Endpoint& engine) const override;
  std::unique_ptr<AnswerReader> NewReader(const Endpoint& engine) const override;
  absl::StatusOr<EngineRequest> Embed(const v1::EmbedRequest& request, const Endpoint& engine) const override;
  absl::StatusOr<v1::EmbedResponse> ReadEmbeddings(const std::string& body, const Endpoint& engine) const override;
  absl::Status ErrorOf(int http_status, const std::string& body, const Endpoint& engine) const override;
};

// Reads one piece of a streamed answer (the JSON after "data:"). An error in it becomes a status.
absl::Status ReadOpenAiPiece(std::string_view json, const Endpoint& engine, Delta& delta);

// The error that a piece tells of; INFERENCE_ENGINE_FAILED if it tells of none and is no answer either.
absl::Status ErrorInPiece(std::string_view json, const Endpoint& engine);

// An engine that sends a line without end does not fill the memory.
absl::Status CheckPending(const http::SseParser& events, const Endpoint& engine);

// Reads "usage" as OpenAI writes it.
v1::Usage ReadOpenAiUsage(std::string_view json);

}  // namespace aima::inference
