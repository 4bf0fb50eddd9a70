// The units for ranks, speech, pictures and videos (inference_units.h).
#include <absl/strings/str_cat.h>

#include <utility>

#include "libs/base/status_macros.h"
#include "libs/errors/errors.h"
#include "services/inference/exchange.h"
#include "services/inference/inference_units.h"
#include "services/inference/rerank.h"
#include "services/inference/sound.h"
#include "services/inference/video.h"

namespace aima::inference {
namespace {

// So much of a recording tells how long a WAV file is.
constexpr size_t kBeginningOfSound = 4096;

}  // namespace

template <class Response, class Request>
Task<absl::StatusOr<Response>> InferenceUnits::AskFor(
    CallContext& call, const Request& request, Ask ask,
    absl::StatusOr<Exchange<Response>> (Dialect::*make)(const Request&, const Endpoint&) const) {
  RequestLog log(outbox_, call, request.model(), AskName(ask));
  absl::StatusOr<Response> response = co_await AskWhole<Response>(
      call, dispatcher_, log, request.model(), ask,
      [&](const Dialect& dialect, const Endpoint& engine) { return (dialect.*make)(request, engine); });
  if (!response.ok()) co_return log.Failed(response.status());
  log.Completed(0);
  co_return response;
}

Task<absl::StatusOr<v1::RerankResponse>> InferenceUnits::Rerank(CallContext& call, const v1::RerankRequest& request) {
  RequestLog log(outbox_, call, request.model(), AskName(Ask::kRerank));
  absl::StatusOr<v1::RerankResponse> response = co_await Rank(call, router_, dispatcher_, log, request);
  if (!response.ok()) co_return log.Failed(response.status());
  log.Completed(response->usage().total_tokens());
  co_return response;
}

Task<absl::StatusOr<v1::TranscribeResponse>> InferenceUnits::Transcribe(CallContext& call,
                                                                        const v1::TranscribeRequest& request) {
  return AskFor(call, request, Ask::kTranscribe, &Dialect::Transcribe);
}

Task<absl::StatusOr<v1::SynthesizeResponse>> InferenceUnits::Synthesize(CallContext& call,
                                                                        const v1::SynthesizeRequest& request) {
  return AskFor(call, request, Ask::kSynthesize, &Dialect::Synthesize);
}

Task<absl::StatusOr<v1::GenerateImageResponse>> InferenceUnits::GenerateImage(CallContext& call,
                                                                              const v1::GenerateImageRequest& request) {
  return AskFor(call, request, Ask::kGenerateImage, &Dialect::GenerateImage);
}

Task<absl::StatusOr<v1::DetectResponse>> InferenceUnits::Detect(CallContext& call, const v1::DetectRequest& request) {
  return AskFor(call, request, Ask::kDetect, &Dialect::Detect);
}

Task<absl::Status> InferenceUnits::SynthesizeStream(CallContext& call, const v1::SynthesizeRequest& request,
                                                    StreamWriter<v1::SynthesizeChunk>& out) {
  RequestLog log(outbox_, call, request.model(), AskName(Ask::kSynthesize));
  const Dialect* dialect = nullptr;
  const Dispatcher::Make make = [&](const Endpoint& engine) -> absl::StatusOr<EngineRequest> {
    ASSIGN_OR_RETURN(dialect, DialectOf(engine));
    ASSIGN_OR_RETURN(Exchange<v1::SynthesizeResponse> exchange, dialect->Synthesize(request, engine));
    return std::move(exchange.request);
  };
  absl::StatusOr<Dispatched> dispatched = co_await dispatcher_.Send(call, request.model(), Ask::kSynthesize, log, make);
  if (!dispatched.ok()) co_return log.Failed(dispatched.status());
  http::ResponseStream& answer = *dispatched->answer;
  if (answer.status() != 200) {
    const absl::StatusOr<std::string> body = co_await ReadAll(answer, kMaxWholeAnswer);
    if (!body.ok()) co_return log.Failed(co_await dispatched->Broken(body.status()));
    co_return log.Failed(dialect->ErrorOf(answer.status(), *body, dispatched->engine()));
  }
  v1::SynthesizeChunk chunk;
  std::string beginning;
  size_t size = 0;
  while (true) {
    absl::StatusOr<std::optional<std::string>> bytes = co_await answer.Next();
    if (!bytes.ok()) co_return log.Failed(co_await dispatched->Broken(bytes.status()));
    if (!bytes->has_value()) break;
    size += (*bytes)->size();
    if (beginning.size() < kBeginningOfSound) beginning.append(**bytes, 0, kBeginningOfSound - beginning.size());
    chunk.set_audio(**std::move(bytes));
    if (const absl::Status written = co_await out.Write(chunk); !written.ok()) co_return log.Failed(written);
  }
  v1::SynthesizeChunk last;
  last.set_format(SoundFormatOf(answer.headers().Get("content-type"), request.format()));
  const SoundLength length = LengthOfSound(last.format(), answer.headers(), beginning, size);
  if (length.seconds > 0) last.set_duration(length.seconds);
  if (length.sample_rate > 0) last.set_sample_rate(length.sample_rate);
  last.set_model(dispatched->lease.model().id);
  log.Completed(0);
  co_return co_await out.Write(last);
}

Task<absl::StatusOr<v1::GenerateVideoResponse>> InferenceUnits::GenerateVideo(CallContext& call,
                                                                              const v1::GenerateVideoRequest& request) {
  RequestLog log(outbox_, call, request.model(), AskName(Ask::kGenerateVideo));
  const auto unheard = [](const v1::GenerateVideoProgress&) -> Task<absl::Status> { co_return absl::OkStatus(); };
  absl::StatusOr<v1::GenerateVideoResponse> response =
      co_await MakeVideo(call, router_, dispatcher_, log, request, videos_, unheard);
  if (!response.ok()) co_return log.Failed(response.status());
  log.Completed(0);
  co_return response;
}

Task<absl::Status> InferenceUnits::GenerateVideoStream(CallContext& call, const v1::GenerateVideoRequest& request,
                                                       StreamWriter<v1::GenerateVideoProgress>& out) {
  RequestLog log(outbox_, call, request.model(), AskName(Ask::kGenerateVideo));
  const auto tell = [&out](const v1::GenerateVideoProgress& step) -> Task<absl::Status> {
    co_return co_await out.Write(step);
  };
  absl::StatusOr<v1::GenerateVideoResponse> response =
      co_await MakeVideo(call, router_, dispatcher_, log, request, videos_, tell);
  if (!response.ok()) co_return log.Failed(response.status());
  log.Completed(0);
  v1::GenerateVideoProgress last;
  last.set_phase("done");
  last.set_message("the video is made");
  last.set_percent(100);
  *last.mutable_result() = *std::move(response);
  co_return co_await out.Write(last);
}

Task<absl::StatusOr<v1::DeleteVideoResponse>> InferenceUnits::DeleteVideo(CallContext&,
                                                                          const v1::DeleteVideoRequest& request) {
  CO_RETURN_IF_ERROR(inference::DeleteVideo(videos_, request.name()));
  co_return v1::DeleteVideoResponse();
}

Task<absl::StatusOr<v1::VoicesResponse>> InferenceUnits::Voices(CallContext& call, const v1::VoicesRequest& request) {
  CO_ASSIGN_OR_RETURN(std::vector<ModelRecord> models, co_await router_.catalog().All(call));
  if (!request.model().empty()) {
    CO_ASSIGN_OR_RETURN(const ModelRecord model, co_await router_.catalog().Resolve(call, request.model()));
    if (model.type != v1::MODEL_TYPE_TTS) {
      co_return Error(v1::INFERENCE_WRONG_MODEL_TYPE,
                      absl::StrCat("'", model.id, "' does not read aloud; this needs a model of type tts"),
                      {{"model", model.id}, {"needed", "tts"}});
    }
    models = {model};
  }
  v1::VoicesResponse response;
  for (const ModelRecord& model : models) {
    for (const VoiceRecord& record : model.voices) {
      v1::Voice& voice = *response.add_voices();
      voice.set_id(record.name);
      voice.set_model(model.id);
      voice.set_language(record.language);
      voice.set_description(record.description);
      voice.set_available(model.ready);
    }
  }
  co_return response;
}

}  // namespace aima::inference
