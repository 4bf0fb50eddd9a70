// Engines that speak the Open Inference Protocol, version 2, over HTTP: Triton, KServe, MLServer and others.
#pragma once

#include "services/inference/dialect.h"

namespace aima::inference {

// The protocol moves tensors and says nothing of what they mean. So far as there is a custom, it is followed: texts go
// into a tensor `text_input` (BYTES, one row each); vectors come out of the first tensor of floats that has one row for
// each text. Texts are continued by Triton's generate extension, whose fields are text_input and text_output; it tells
// neither why it stops nor tokens. Conversations need a template, which the protocol does not know: they are refused.
class OpenInferenceDialect : public Dialect {
 public:
  absl::StatusOr<EngineRequest> Complete(const v1::CompleteRequest& request, const Endpoint& engine) const override;
  std::unique_ptr<AnswerReader> NewReader(const Endpoint& engine) const override;
  absl::StatusOr<Exchange<v1::EmbedResponse>> Embed(const v1::EmbedRequest& request,
                                                    const Endpoint& engine) const override;
  absl::Status ErrorOf(int http_status, const std::string& body, const Endpoint& engine) const override;
};

}  // namespace aima::inference
