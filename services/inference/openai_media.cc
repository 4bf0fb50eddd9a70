// Speech, pictures and ranks in OpenAI's interface, and in what engines have added to it.
#include <absl/strings/escaping.h>
#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>

#include <algorithm>
#include <cmath>
#include <charconv>
#include <nlohmann/json.hpp>

#include "libs/base/status_macros.h"
#include "libs/errors/errors.h"
#include "libs/http/form.h"
#include "services/inference/engine_json.h"
#include "services/inference/object_writer.h"
#include "services/inference/openai_dialect.h"
#include "services/inference/sound.h"

namespace aima::inference {
namespace {

using Json = nlohmann::json;

Json Parsed(const EngineAnswer& answer) { return ParseTree(answer.body); }

// A number that some engines write as a text.
double NumberAt(const Json& object, const char* key) {
  const auto it = object.find(key);
  if (it == object.end()) return 0;
  if (it->is_number()) return it->get<double>();
  double value = 0;
  const bool told = it->is_string() && absl::SimpleAtod(it->get_ref<const std::string&>(), &value);
  return told && std::isfinite(value) ? value : 0;
}

int PixelsAt(const Json& object, const char* key) {
  return static_cast<int>(std::clamp(NumberAt(object, key), 0.0, 1e9));
}

std::string TextAt(const Json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && it->is_string() ? it->get<std::string>() : "";
}

const Json& ListAt(const Json& object, const char* key) {
  static const Json nothing = Json::array();
  const auto it = object.find(key);
  return it != object.end() && it->is_array() ? *it : nothing;
}

std::string Digits(double value) {
  char text[32];
  return std::string(text, std::to_chars(text, text + sizeof(text), value).ptr);
}

absl::StatusOr<v1::RerankResponse> ReadRanks(const v1::RerankRequest& asked, const EngineAnswer& answer,
                                             const Endpoint& engine) {
  const Json json = Parsed(answer);
  if (!json.is_object() || !json.contains("results")) return NoAnswer(engine, "ranking", answer.body);
  v1::RerankResponse response;
  response.set_method("rank-model");
  for (const Json& item : ListAt(json, "results")) {
    const auto index = item.is_object() ? item.find("index") : item.end();
    const bool fits = item.is_object() && index != item.end() && index->is_number_unsigned() &&
                      index->get<uint64_t>() < static_cast<uint64_t>(asked.documents_size());
    if (!fits) return NoAnswer(engine, "ranking", answer.body);
    v1::RankedDocument& result = *response.add_results();
    result.set_index(index->get<int>());
    result.set_relevance_score(NumberAt(item, item.contains("relevance_score") ? "relevance_score" : "score"));
  }
  if (json.contains("usage")) *response.mutable_usage() = ReadOpenAiUsage(json["usage"].dump());
  return response;
}

absl::StatusOr<v1::TranscribeResponse> ReadTranscript(const EngineAnswer& answer, const Endpoint& engine) {
  const Json json = Parsed(answer);
  if (!json.is_object() || !json.contains("text")) return NoAnswer(engine, "transcript", answer.body);
  v1::TranscribeResponse response;
  response.set_text(TextAt(json, "text"));
  response.set_language(TextAt(json, "language"));
  if (json.contains("duration")) response.set_duration(NumberAt(json, "duration"));
  for (const Json& item : ListAt(json, "segments")) {
    if (!item.is_object()) return NoAnswer(engine, "transcript", answer.body);
    v1::Segment& segment = *response.add_segments();
    segment.set_id(response.segments_size() - 1);
    segment.set_start(NumberAt(item, "start"));
    segment.set_end(NumberAt(item, "end"));
    const std::string text = TextAt(item, "text");
    segment.set_text(std::string(absl::StripAsciiWhitespace(text)));
  }
  return response;
}

absl::StatusOr<v1::SynthesizeResponse> ReadSound(v1::AudioFormat asked, const EngineAnswer& answer,
                                                 const Endpoint& engine) {
  if (answer.body.empty()) return NoAnswer(engine, "recording", "nothing");
  v1::SynthesizeResponse response;
  response.set_format(SoundFormatOf(answer.headers.Get("content-type"), asked));
  const SoundLength length = LengthOfSound(response.format(), answer.headers, answer.body, answer.body.size());
  if (length.seconds > 0) response.set_duration(length.seconds);
  if (length.sample_rate > 0) response.set_sample_rate(length.sample_rate);
  response.set_audio(answer.body);
  return response;
}

absl::StatusOr<v1::GenerateImageResponse> ReadPictures(const EngineAnswer& answer, const Endpoint& engine) {
  const Json json = Parsed(answer);
  const Json& data = json.is_object() ? ListAt(json, "data") : ListAt(Json::object(), "data");
  if (data.empty()) return NoAnswer(engine, "list of pictures", answer.body);
  v1::GenerateImageResponse response;
  for (const Json& item : data) {
    std::string picture;
    if (!item.is_object() || !absl::Base64Unescape(TextAt(item, "b64_json"), &picture)) {
      return NoAnswer(engine, "picture in base64", item.dump(-1, ' ', false, Json::error_handler_t::replace));
    }
    const std::string format = PictureFormat(picture);
    if (format.empty()) return NoAnswer(engine, "picture", "it is neither PNG, JPEG nor WebP");
    response.set_format(format);
    response.add_images(std::move(picture));
    if (std::string revised = TextAt(item, "revised_prompt"); !revised.empty()) {
      response.add_revised_prompts(std::move(revised));
    }
  }
  return response;
}

absl::StatusOr<v1::DetectResponse> ReadDetections(const EngineAnswer& answer, const Endpoint& engine) {
  const Json json = Parsed(answer);
  if (!json.is_object() || !json.contains("detections")) return NoAnswer(engine, "list of detections", answer.body);
  v1::DetectResponse response;
  response.set_width(PixelsAt(json, "width"));
  response.set_height(PixelsAt(json, "height"));
  for (const Json& item : ListAt(json, "detections")) {
    const Json& box = item.is_object() ? ListAt(item, "box") : item;
    const bool whole = box.is_array() && box.size() == 4 &&
                       std::all_of(box.begin(), box.end(), [](const Json& edge) { return edge.is_number(); });
    if (!whole) return NoAnswer(engine, "list of detections", answer.body);
    v1::Detection& detection = *response.add_detections();
    detection.set_label(TextAt(item, "label"));
    detection.set_score(NumberAt(item, "score"));
    detection.mutable_box()->set_left(box[0].get<double>());
    detection.mutable_box()->set_top(box[1].get<double>());
    detection.mutable_box()->set_right(box[2].get<double>());
    detection.mutable_box()->set_bottom(box[3].get<double>());
  }
  return response;
}

}  // namespace

const char* PictureFormat(std::string_view file) {
  if (file.substr(0, 4) == "\x89PNG") return "png";
  if (file.substr(0, 3) == "\xff\xd8\xff") return "jpeg";
  if (file.size() > 12 && file.substr(0, 4) == "RIFF" && file.substr(8, 4) == "WEBP") return "webp";
  return "";
}

EngineRequest FormRequest(std::string path, http::FormWriter form) {
  EngineRequest request;
  request.path = std::move(path);
  request.content_type = form.content_type();
  request.body = std::move(form).Finish();
  return request;
}

absl::StatusOr<Exchange<v1::RerankResponse>> OpenAiDialect::Rerank(const v1::RerankRequest& request,
                                                                   const Endpoint& engine) const {
  ObjectWriter body;
  body.Text("model", engine.served_name);
  body.Text("query", request.query());
  body.Texts("documents", request.documents());
  if (request.has_top_n()) body.Integer("top_n", request.top_n());
  Exchange<v1::RerankResponse> exchange;
  exchange.request = {"/v1/rerank", std::move(body).Finish()};
  exchange.read = [&request, engine](const EngineAnswer& answer) { return ReadRanks(request, answer, engine); };
  return exchange;
}

absl::StatusOr<Exchange<v1::TranscribeResponse>> OpenAiDialect::Transcribe(const v1::TranscribeRequest& request,
                                                                           const Endpoint& engine) const {
  http::FormWriter form;
  form.Field("model", engine.served_name);
  form.Field("response_format", "verbose_json");
  if (!request.language().empty()) form.Field("language", request.language());
  if (!request.prompt().empty()) form.Field("prompt", request.prompt());
  if (request.has_temperature()) form.Field("temperature", Digits(request.temperature()));
  form.File("file", request.audio());
  Exchange<v1::TranscribeResponse> exchange;
  exchange.request = FormRequest("/v1/audio/transcriptions", std::move(form));
  exchange.read = [engine](const EngineAnswer& answer) { return ReadTranscript(answer, engine); };
  return exchange;
}

absl::StatusOr<Exchange<v1::SynthesizeResponse>> OpenAiDialect::Synthesize(const v1::SynthesizeRequest& request,
                                                                           const Endpoint& engine) const {
  ObjectWriter body;
  body.Text("model", engine.served_name);
  body.Text("input", request.text());
  if (!request.voice().empty()) body.Text("voice", request.voice());
  body.Text("response_format", SoundFormat(request.format()));
  if (request.has_speed()) body.Number("speed", request.speed());
  Exchange<v1::SynthesizeResponse> exchange;
  exchange.request = {"/v1/audio/speech", std::move(body).Finish()};
  exchange.read = [format = request.format(), engine](const EngineAnswer& answer) {
    return ReadSound(format, answer, engine);
  };
  return exchange;
}

absl::StatusOr<Exchange<v1::GenerateImageResponse>> OpenAiDialect::GenerateImage(
    const v1::GenerateImageRequest& request, const Endpoint& engine) const {
  ObjectWriter body;
  body.Text("model", engine.served_name);
  body.Text("prompt", request.prompt());
  body.Text("response_format", "b64_json");
  if (!request.size().empty()) body.Text("size", request.size());
  if (request.has_n()) body.Integer("n", request.n());
  if (request.has_seed()) body.Integer("seed", request.seed());
  // OpenAI's interface has neither; engines that have them call them so.
  if (request.has_steps()) body.Integer("num_inference_steps", request.steps());
  if (!request.negative_prompt().empty()) body.Text("negative_prompt", request.negative_prompt());
  static constexpr const char* kOwn[] = {"model", "prompt", "response_format",     "size",
                                         "n",     "seed",   "num_inference_steps", "negative_prompt"};
  RETURN_IF_ERROR(AppendEngineOptions(request.engine_options(), kOwn, body));
  Exchange<v1::GenerateImageResponse> exchange;
  exchange.request = {"/v1/images/generations", std::move(body).Finish()};
  exchange.read = [engine](const EngineAnswer& answer) { return ReadPictures(answer, engine); };
  return exchange;
}

absl::StatusOr<Exchange<v1::DetectResponse>> OpenAiDialect::Detect(const v1::DetectRequest& request,
                                                                   const Endpoint& engine) const {
  http::FormWriter form;
  form.Field("model", engine.served_name);
  if (request.has_min_score()) form.Field("min_score", Digits(request.min_score()));
  if (request.has_max_results()) form.Field("max_results", absl::StrCat(request.max_results()));
  form.File("file", request.image());
  Exchange<v1::DetectResponse> exchange;
  exchange.request = FormRequest("/v1/detections", std::move(form));
  exchange.read = [engine](const EngineAnswer& answer) { return ReadDetections(answer, engine); };
  return exchange;
}

}  // namespace aima::inference
