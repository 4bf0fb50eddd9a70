// Videos in OpenAI's interface: jobs under /v1/videos, as SGLang Diffusion and others serve them. (SGLang forgets a job
// that is deleted, but makes it to its end.)
#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "libs/base/status_macros.h"
#include "libs/base/utf8.h"
#include "libs/errors/errors.h"
#include "services/inference/engine_json.h"
#include "services/inference/object_writer.h"
#include "services/inference/openai_dialect.h"

namespace aima::inference {
namespace {

using Json = nlohmann::json;

// An id becomes part of a path.
bool IsPlain(const std::string& id) {
  return !id.empty() && id.size() <= 200 && id != "." && id != ".." &&
         std::all_of(id.begin(), id.end(),
                     [](unsigned char c) { return isalnum(c) || c == '-' || c == '_' || c == '.'; });
}

absl::StatusOr<VideoJob> ReadJob(const EngineAnswer& answer, const Endpoint& engine) {
  const Json json = ParseTree(answer.body);
  const auto text = [&](const char* key) {
    return json.contains(key) && json[key].is_string() ? json[key].get<std::string>() : std::string();
  };
  VideoJob job;
  if (json.is_object()) job.id = text("id");
  if (!IsPlain(job.id)) return NoAnswer(engine, "video job", answer.body);
  const std::string status = text("status");
  job.running = status == "in_progress";
  job.done = status == "completed";
  if (status == "failed" || status == "cancelled" || status == "expired") {
    const Json error = json.value("error", Json());
    job.failure = error.is_object() && error.contains("message") && error["message"].is_string()
                      ? error["message"].get<std::string>()
                      : absl::StrCat("the job is ", status);
  } else if (!job.running && !job.done && status != "queued") {
    return NoAnswer(engine, "video job", answer.body);
  }
  if (json.contains("progress") && json["progress"].is_number()) {
    job.percent = std::clamp(json["progress"].get<double>(), 0.0, 100.0);
  }
  double seconds = 0;
  if (absl::SimpleAtod(text("seconds"), &seconds) && seconds > 0 && std::isfinite(seconds)) job.seconds = seconds;
  return job;
}

Exchange<VideoJob> Asking(EngineRequest request, const Endpoint& engine) {
  Exchange<VideoJob> exchange;
  exchange.request = std::move(request);
  exchange.read = [engine](const EngineAnswer& answer) { return ReadJob(answer, engine); };
  return exchange;
}

EngineRequest OfJob(std::string method, const VideoJob& job, const char* rest = "") {
  EngineRequest request;
  request.method = std::move(method);
  request.path = absl::StrCat("/v1/videos/", job.id, rest);
  return request;
}

// A text in OpenAI's interface.
std::string Seconds(double duration) {
  ObjectWriter digits;
  digits.Number("s", duration);
  const std::string json = std::move(digits).Finish();
  return json.substr(5, json.size() - 6);
}

constexpr const char* kOwn[] = {"model", "prompt", "size", "seconds", "seed", "input_reference"};

// A file goes as a form, of which all other fields are texts. Engines keep it under its name.
absl::StatusOr<EngineRequest> WithReference(const v1::GenerateVideoRequest& request, const Endpoint& engine) {
  http::FormWriter form;
  form.Field("model", engine.served_name);
  form.Field("prompt", request.prompt());
  if (!request.size().empty()) form.Field("size", request.size());
  if (request.has_duration()) form.Field("seconds", Seconds(request.duration()));
  if (request.has_seed()) form.Field("seed", absl::StrCat(request.seed()));
  for (const auto& [key, value] : request.engine_options().fields()) {
    const std::string& name = key;
    if (std::any_of(std::begin(kOwn), std::end(kOwn), [&](const char* one) { return name == one; }) ||
        !IsPlain(name)) {
      return InvalidInput(absl::StrCat("engine_options.", name), "is a field of the request itself, or no name of one");
    }
    std::string text = value.string_value();
    if (!value.has_string_value()) AppendJson(value, text);
    form.Field(name, text);
  }
  const std::string& file = request.input_reference();
  const std::string picture = PictureFormat(file);
  const bool mp4 = std::string_view(file).substr(0, 12).substr(std::min<size_t>(file.size(), 4)).starts_with("ftyp");
  if (picture.empty() && !mp4) {
    return Error(v1::INFERENCE_MEDIA_UNREADABLE, "input_reference is neither PNG, JPEG nor WebP, and no MP4 either");
  }
  const std::string format = mp4 ? "mp4" : picture;
  form.File("input_reference", file, absl::StrCat("reference.", format),
            absl::StrCat(mp4 ? "video/" : "image/", format));
  return FormRequest("/v1/videos", std::move(form));
}

class OpenAiVideos : public VideoDialect {
 public:
  absl::StatusOr<Exchange<VideoJob>> Begin(const v1::GenerateVideoRequest& request,
                                           const Endpoint& engine) const override {
    if (!request.input_reference().empty()) {
      ASSIGN_OR_RETURN(EngineRequest form, WithReference(request, engine));
      return Asking(std::move(form), engine);
    }
    ObjectWriter body;
    body.Text("model", engine.served_name);
    body.Text("prompt", request.prompt());
    if (!request.size().empty()) body.Text("size", request.size());
    if (request.has_duration()) body.Text("seconds", Seconds(request.duration()));
    if (request.has_seed()) body.Integer("seed", request.seed());
    RETURN_IF_ERROR(AppendEngineOptions(request.engine_options(), kOwn, body));
    return Asking({"/v1/videos", std::move(body).Finish()}, engine);
  }

  Exchange<VideoJob> Look(const VideoJob& job, const Endpoint& engine) const override {
    return Asking(OfJob("GET", job), engine);
  }

  Exchange<v1::GenerateVideoResponse> Fetch(const VideoJob& job, const Endpoint& engine) const override {
    Exchange<v1::GenerateVideoResponse> exchange;
    exchange.request = OfJob("GET", job, "/content");
    exchange.read = [engine](const EngineAnswer& answer) -> absl::StatusOr<v1::GenerateVideoResponse> {
      const std::string_view type = answer.headers.Get("content-type");
      if (answer.body.empty() || type.substr(0, 16) == "application/json")
        return NoAnswer(engine, "video", answer.body);
      v1::GenerateVideoResponse response;
      response.set_format("mp4");
      if (type.substr(0, 6) == "video/") response.set_format(ValidUtf8(std::string(type.substr(6, type.find(';') - 6))));
      response.set_video(answer.body);
      return response;
    };
    return exchange;
  }

  EngineRequest Drop(const VideoJob& job) const override { return OfJob("DELETE", job); }
};

}  // namespace

const VideoDialect* OpenAiDialect::Videos() const {
  static const OpenAiVideos videos;
  return &videos;
}

}  // namespace aima::inference
