#include "services/inference/video.h"

#include <absl/strings/str_cat.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "libs/base/status_macros.h"
#include "libs/errors/errors.h"

namespace aima::inference {
namespace {

using Progress = std::function<Task<absl::Status>(const v1::GenerateVideoProgress&)>;

constexpr absl::Duration kFirstLook = absl::Milliseconds(100);
constexpr absl::Duration kBetweenLooks = absl::Seconds(2);

// Without any model that makes videos, a wrong name is not what is wrong.
Task<absl::Status> CheckThereIsOne(const CallContext& call, Router& router, const v1::GenerateVideoRequest& request) {
  const absl::StatusOr<ModelRecord> model = co_await router.catalog().Resolve(call, request.model());
  if (model.ok() || !HasReason(model.status(), v1::INFERENCE_MODEL_NOT_FOUND)) co_return absl::OkStatus();
  CO_ASSIGN_OR_RETURN(const std::vector<ModelRecord> all, co_await router.catalog().All(call));
  const bool any =
      std::any_of(all.begin(), all.end(), [](const ModelRecord& one) { return one.type == v1::MODEL_TYPE_VIDEO; });
  if (any) co_return absl::OkStatus();
  co_return Error(v1::INFERENCE_NO_ENGINE,
                  absl::StrCat("no model here makes videos, and AIMA installs none. On a machine with a GPU: install "
                               "SGLang Diffusion (`aima exec engine.install --name sglang-diffusion` tells how), then "
                               "import a model such as Wan-AI/Wan2.1-T2V-1.3B-Diffusers with `aima exec model.import "
                               "--path <folder> --type video`"),
                  {{"model", request.model()}, {"engine", "sglang-diffusion"}});
}

// A job at an engine; ends it there when it is destroyed before it has ended by itself.
class Job {
 public:
  Job(Dispatcher& dispatcher, Dispatched dispatched, const VideoDialect& videos)
      : dispatcher_(dispatcher), dispatched_(std::move(dispatched)), videos_(videos) {}
  ~Job() {
    if (!state.id.empty() && !over) dispatcher_.Tell(dispatched_.engine(), videos_.Drop(state));
  }
  Job(const Job&) = delete;
  Job& operator=(const Job&) = delete;

  Dispatched& dispatched() { return dispatched_; }
  const VideoDialect& videos() const { return videos_; }

  VideoJob state;
  bool over = false;

 private:
  Dispatcher& dispatcher_;
  Dispatched dispatched_;
  const VideoDialect& videos_;
};

// Reads the video, into a file if no answer can hold it.
Task<absl::StatusOr<v1::GenerateVideoResponse>> ReadVideo(Job& job, const Dialect& dialect,
                                                          const Exchange<v1::GenerateVideoResponse>& fetch,
                                                          const LargeVideos& large) {
  http::ResponseStream& answer = *job.dispatched().answer;
  if (answer.status() / 100 != 2) co_return co_await ReadWhole(job.dispatched(), dialect, fetch);
  std::string body;  // or how it begins
  std::optional<VideoFile> file;
  absl::Status stored;
  while (true) {
    const absl::StatusOr<std::optional<std::string>> bytes = co_await answer.Next();
    if (!bytes.ok()) co_return co_await job.dispatched().Broken(bytes.status());
    if (!bytes->has_value()) break;
    if (!file && body.size() + (*bytes)->size() <= large.above) {
      body += **bytes;
      continue;
    }
    if (!file) stored = file.emplace(large).Write(body);
    if (body.empty()) body = **bytes;
    if (stored.ok()) stored = file->Write(**bytes);
    if (!stored.ok()) break;
  }
  CO_ASSIGN_OR_RETURN(v1::GenerateVideoResponse response, fetch.read({answer.headers(), body}));
  response.set_size_bytes(static_cast<int64_t>(body.size()));
  if (!file) co_return response;
  response.clear_video();
  if (stored.ok()) stored = file->Keep(response.format());
  if (!stored.ok()) {
    job.over = true;  // the engine's copy is the only one
    co_return Error(v1::INFERENCE_VIDEO_NOT_STORED,
                    absl::StrCat(stored.message(), "; engine '", job.dispatched().engine().instance_id, "' has it as video ",
                                 job.state.id),
                    {{"instance_id", job.dispatched().engine().instance_id}, {"video", job.state.id}});
  }
  response.set_path(file->path());
  response.set_size_bytes(file->size());
  co_return response;
}

v1::GenerateVideoProgress StepOf(const VideoJob& job) {
  v1::GenerateVideoProgress step;
  step.set_phase(job.done ? "downloading" : job.running ? "generating" : "queued");
  step.set_message(job.done      ? "the video is fetched from the engine"
                   : job.running ? absl::StrCat(static_cast<int>(job.percent), " % of the video are made")
                                 : "the engine will begin soon");
  step.set_percent(job.done ? 100 : job.percent);
  return step;
}

Task<absl::StatusOr<v1::GenerateVideoResponse>> Follow(const CallContext& call, Dispatcher& dispatcher, Job& job,
                                                       const Dialect& dialect, const LargeVideos& large,
                                                       const Progress& progress) {
  absl::Duration pause = kFirstLook;
  v1::GenerateVideoProgress told;
  while (true) {
    const Endpoint& engine = job.dispatched().engine();
    v1::GenerateVideoProgress step = StepOf(job.state);
    if (job.state.failure.empty() && step.SerializeAsString() != told.SerializeAsString()) {
      CO_RETURN_IF_ERROR(co_await progress(step));
      told = std::move(step);
    }
    if (job.state.done) break;
    if (!job.state.failure.empty()) {
      job.over = true;
      co_return Error(v1::INFERENCE_ENGINE_FAILED,
                      absl::StrCat("engine '", engine.instance_id, "' made no video: ", job.state.failure),
                      {{"instance_id", engine.instance_id}, {"model", engine.model_id}});
    }
    co_await dispatcher.Pause(pause);
    if (absl::Now() >= call.deadline) {
      co_return Error(unit::v1::DEADLINE_EXCEEDED, "the video was not done before the deadline");
    }
    pause = std::min(pause * 2, kBetweenLooks);
    Exchange<VideoJob> look = job.videos().Look(job.state, engine);
    CO_RETURN_IF_ERROR(co_await dispatcher.Again(job.dispatched(), std::move(look.request), call.deadline));
    CO_ASSIGN_OR_RETURN(VideoJob seen, (co_await ReadWhole(job.dispatched(), dialect, look)));
    seen.id = job.state.id;
    job.state = std::move(seen);
  }
  Exchange<v1::GenerateVideoResponse> fetch = job.videos().Fetch(job.state, job.dispatched().engine());
  CO_RETURN_IF_ERROR(co_await dispatcher.Again(job.dispatched(), std::move(fetch.request), call.deadline));
  CO_ASSIGN_OR_RETURN(v1::GenerateVideoResponse response, (co_await ReadVideo(job, dialect, fetch, large)));
  if (job.state.seconds) response.set_duration(*job.state.seconds);
  response.set_model(job.dispatched().lease.model().id);
  co_return response;
}

}  // namespace

Task<absl::StatusOr<v1::GenerateVideoResponse>> MakeVideo(CallContext call, Router& router, Dispatcher& dispatcher,
                                                          RequestLog& log, const v1::GenerateVideoRequest& request,
                                                          LargeVideos large, Progress progress) {
  CO_RETURN_IF_ERROR(co_await CheckThereIsOne(call, router, request));
  const Dialect* dialect = nullptr;
  Exchange<VideoJob> begin;
  const Dispatcher::Make make = [&](const Endpoint& engine) -> absl::StatusOr<EngineRequest> {
    ASSIGN_OR_RETURN(dialect, DialectOf(engine));
    if (dialect->Videos() == nullptr) {
      return Error(
          v1::INFERENCE_REQUEST_REFUSED,
          absl::StrCat("engine '", engine.instance_id, "' speaks ", engine.dialect, ", which has no words for videos"),
          {{"instance_id", engine.instance_id}, {"dialect", engine.dialect}});
    }
    ASSIGN_OR_RETURN(begin, dialect->Videos()->Begin(request, engine));
    return std::move(begin.request);
  };
  CO_ASSIGN_OR_RETURN(Dispatched dispatched,
                      co_await dispatcher.Send(call, request.model(), Ask::kGenerateVideo, log, make));
  Job job(dispatcher, std::move(dispatched), *dialect->Videos());
  CO_ASSIGN_OR_RETURN(job.state, (co_await ReadWhole(job.dispatched(), *dialect, begin)));
  co_return co_await Follow(call, dispatcher, job, *dialect, large, progress);
}

}  // namespace aima::inference
