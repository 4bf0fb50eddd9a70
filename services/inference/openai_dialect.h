// Engines that speak OpenAI's HTTP interface: llama.cpp, vLLM, SGLang, LocalAI and others.
#pragma once

#include "libs/http/form.h"
#include "libs/http/sse.h"
#include "services/inference/dialect.h"
#include "services/inference/engine_error.h"

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

// An engine that sends a line without end does not fill the memory.
absl::Status CheckPending(const http::SseParser& events, const Endpoint& engine);

// Reads "usage" as OpenAI writes it.
v1::Usage ReadOpenAiUsage(std::string_view json);

// A form as a request.
EngineRequest FormRequest(std::string path, http::FormWriter form);

// How a picture is written, by its first bytes: png, jpeg, webp; empty if it is none of these.
const char* PictureFormat(std::string_view file);

// The vectors of an answer to /v1/embeddings.
absl::StatusOr<v1::EmbedResponse> ReadOpenAiEmbeddings(const std::string& body, const Endpoint& engine);

}  // namespace aima::inference
