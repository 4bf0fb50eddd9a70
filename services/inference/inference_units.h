// The units of the inference domain.
#pragma once

#include <absl/status/statusor.h>

#include "libs/base/stream.h"
#include "services/inference/dispatcher.h"
#include "services/inference/openai_surface.h"
#include "services/inference/router.h"

namespace aima::inference {

// What the units mean is said in inference.proto.
class InferenceUnits {
 public:
  InferenceUnits(Router& router, Dispatcher& dispatcher, events::Outbox& outbox)
      : router_(router), dispatcher_(dispatcher), outbox_(outbox), openai_(router, dispatcher, outbox) {}

  Task<absl::StatusOr<v1::ChatResponse>> Chat(CallContext& call, const v1::ChatRequest& request);
  Task<absl::Status> ChatStream(CallContext& call, const v1::ChatRequest& request,
                                StreamWriter<v1::ChatChunk>& out);
  Task<absl::StatusOr<v1::CompleteResponse>> Complete(CallContext& call, const v1::CompleteRequest& request);
  Task<absl::Status> CompleteStream(CallContext& call, const v1::CompleteRequest& request,
                                    StreamWriter<v1::CompleteChunk>& out);
  Task<absl::StatusOr<v1::EmbedResponse>> Embed(CallContext& call, const v1::EmbedRequest& request);
  Task<absl::StatusOr<v1::ModelsResponse>> Models(CallContext& call, const v1::ModelsRequest& request);
  Task<absl::Status> Forward(CallContext& call, const v1::ForwardRequest& request,
                             StreamWriter<v1::ForwardChunk>& out);

 private:
  Router& router_;
  Dispatcher& dispatcher_;
  events::Outbox& outbox_;
  OpenAiSurface openai_;
};

}  // namespace aima::inference
