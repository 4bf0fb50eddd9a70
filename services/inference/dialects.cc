// Which dialects there are, and what one says that has no words for something.
#include <absl/strings/str_cat.h>

#include "libs/errors/errors.h"
#include "services/inference/openai_dialect.h"

namespace aima::inference {
namespace {

absl::Status NoWords(const Endpoint& engine, const char* what) {
  return Error(v1::INFERENCE_REQUEST_REFUSED,
               absl::StrCat("engine '", engine.instance_id, "' speaks ", engine.dialect, ", which has no words for ", what),
               {{"instance_id", engine.instance_id}, {"dialect", engine.dialect}});
}

}  // namespace

absl::StatusOr<EngineRequest> Dialect::Chat(const v1::ChatRequest&, const Endpoint& engine) const {
  return NoWords(engine, "conversations");
}

absl::StatusOr<EngineRequest> Dialect::Complete(const v1::CompleteRequest&, const Endpoint& engine) const {
  return NoWords(engine, "texts to continue");
}

absl::StatusOr<Exchange<v1::EmbedResponse>> Dialect::Embed(const v1::EmbedRequest&, const Endpoint& engine) const {
  return NoWords(engine, "embeddings");
}

absl::StatusOr<Exchange<v1::RerankResponse>> Dialect::Rerank(const v1::RerankRequest&, const Endpoint& engine) const {
  return NoWords(engine, "documents to order");
}

absl::StatusOr<Exchange<v1::TranscribeResponse>> Dialect::Transcribe(const v1::TranscribeRequest&,
                                                                     const Endpoint& engine) const {
  return NoWords(engine, "speech to turn into text");
}

absl::StatusOr<Exchange<v1::SynthesizeResponse>> Dialect::Synthesize(const v1::SynthesizeRequest&,
                                                                     const Endpoint& engine) const {
  return NoWords(engine, "texts to read aloud");
}

absl::StatusOr<Exchange<v1::GenerateImageResponse>> Dialect::GenerateImage(const v1::GenerateImageRequest&,
                                                                           const Endpoint& engine) const {
  return NoWords(engine, "pictures to make");
}

absl::StatusOr<Exchange<v1::DetectResponse>> Dialect::Detect(const v1::DetectRequest&, const Endpoint& engine) const {
  return NoWords(engine, "pictures to look at");
}

absl::StatusOr<const Dialect*> DialectOf(const Endpoint& engine) {
  static const OpenAiDialect openai;
  if (engine.dialect == "openai") return &openai;
  return Error(v1::INFERENCE_REQUEST_REFUSED,
               absl::StrCat("engine '", engine.instance_id, "' speaks ", engine.dialect, ", which AIMA cannot"),
               {{"instance_id", engine.instance_id}, {"dialect", engine.dialect}});
}

}  // namespace aima::inference
