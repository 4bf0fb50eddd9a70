// The units of the inference domain.
#pragma once

#include <absl/status/statusor.h>

#include "libs/base/stream.h"
#include "services/inference/dispatcher.h"
#include "services/inference/openai_surface.h"
#include "services/inference/router.h"
#include "services/inference/video.h"

namespace aima::inference {

// What the units mean is said in inference.proto.
class InferenceUnits {
 public:
  InferenceUnits(Router& router, Dispatcher& dispatcher, events::Outbox& outbox, LargeVideos videos = {})
      : router_(router),
        dispatcher_(dispatcher),
        outbox_(outbox),
        videos_(std::move(videos)),
        openai_(router, dispatcher, outbox) {}

  Task<absl::StatusOr<v1::ChatResponse>> Chat(CallContext& call, const v1::ChatRequest& request);
  Task<absl::Status> ChatStream(CallContext& call, const v1::ChatRequest& request,
                                StreamWriter<v1::ChatChunk>& out);
  Task<absl::StatusOr<v1::CompleteResponse>> Complete(CallContext& call, const v1::CompleteRequest& request);
  Task<absl::Status> CompleteStream(CallContext& call, const v1::CompleteRequest& request,
                                    StreamWriter<v1::CompleteChunk>& out);
  Task<absl::StatusOr<v1::EmbedResponse>> Embed(CallContext& call, const v1::EmbedRequest& request);
  Task<absl::StatusOr<v1::RerankResponse>> Rerank(CallContext& call, const v1::RerankRequest& request);
  Task<absl::StatusOr<v1::TranscribeResponse>> Transcribe(CallContext& call, const v1::TranscribeRequest& request);
  Task<absl::StatusOr<v1::SynthesizeResponse>> Synthesize(CallContext& call, const v1::SynthesizeRequest& request);
  Task<absl::Status> SynthesizeStream(CallContext& call, const v1::SynthesizeRequest& request,
                                      StreamWriter<v1::SynthesizeChunk>& out);
  Task<absl::StatusOr<v1::GenerateImageResponse>> GenerateImage(CallContext& call,
                                                                const v1::GenerateImageRequest& request);
  Task<absl::StatusOr<v1::GenerateVideoResponse>> GenerateVideo(CallContext& call,
                                                                const v1::GenerateVideoRequest& request);
  Task<absl::Status> GenerateVideoStream(CallContext& call, const v1::GenerateVideoRequest& request,
                                         StreamWriter<v1::GenerateVideoProgress>& out);
  Task<absl::StatusOr<v1::DeleteVideoResponse>> DeleteVideo(CallContext& call, const v1::DeleteVideoRequest& request);
  Task<absl::StatusOr<v1::DetectResponse>> Detect(CallContext& call, const v1::DetectRequest& request);
  Task<absl::StatusOr<v1::VoicesResponse>> Voices(CallContext& call, const v1::VoicesRequest& request);
  Task<absl::StatusOr<v1::ModelsResponse>> Models(CallContext& call, const v1::ModelsRequest& request);
  Task<absl::StatusOr<v1::MakeRoomResponse>> MakeRoom(CallContext& call, const v1::MakeRoomRequest& request);
  Task<absl::Status> Forward(CallContext& call, const v1::ForwardRequest& request,
                             StreamWriter<v1::ForwardChunk>& out);

 private:
  // Asks a model for an answer that comes whole, and tells of it in events.
  template <class Response, class Request>
  Task<absl::StatusOr<Response>> AskFor(CallContext& call, const Request& request, Ask ask,
                                      absl::StatusOr<Exchange<Response>> (Dialect::*make)(const Request&,
                                                                                          const Endpoint&) const);

  Router& router_;
  Dispatcher& dispatcher_;
  events::Outbox& outbox_;
  const LargeVideos videos_;
  OpenAiSurface openai_;
};

}  // namespace aima::inference
