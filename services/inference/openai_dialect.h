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
  absl::StatusOr<Exchange<v1::EmbedResponse>> Embed(const v1::EmbedRequest& request,
                                                    const Endpoint& engine) const override;
  absl::StatusOr<Exchange<v1::RerankResponse>> Rerank(const v1::RerankRequest& request,
                                                      const Endpoint& engine) const override;
  absl::StatusOr<Exchange<v1::TranscribeResponse>> Transcribe(const v1::TranscribeRequest& request,
                                                              const Endpoint& engine) const override;
  absl::StatusOr<Exchange<v1::SynthesizeResponse>> Synthesize(const v1::SynthesizeRequest& request,
                                                              const Endpoint& engine) const override;
  absl::StatusOr<Exchange<v1::GenerateImageResponse>> GenerateImage(const v1::GenerateImageRequest& request,
                                                                    const Endpoint& engine) const override;
  // OpenAI has no words for this: it is what media_server.py in configs/engines understands.
  absl::StatusOr<Exchange<v1::DetectResponse>> Detect(const v1::DetectRequest& request,
                                                      const Endpoint& engine) const override;
  const VideoDialect* Videos() const override;
  bool TakesOpenAi() const override { return true; }
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

// The vectors of an answer to /v1/embeddings.
absl::StatusOr<v1::EmbedResponse> ReadOpenAiEmbeddings(const std::string& body, const Endpoint& engine);

// An answer that makes no sense.
absl::Status NoAnswer(const Endpoint& engine, std::string_view what, std::string_view why);

}  // namespace aima::inference
