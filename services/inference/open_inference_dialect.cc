#include "services/inference/open_inference_dialect.h"

#include <absl/strings/match.h>
#include <absl/strings/str_cat.h>

#include <nlohmann/json.hpp>
#include <utility>

#include "libs/base/status_macros.h"
#include "libs/errors/errors.h"
#include "libs/http/sse.h"
#include "libs/unit/json_codec.h"
#include "services/inference/engine_error.h"
#include "services/inference/engine_json.h"

namespace aima::inference {
namespace {

using Json = nlohmann::json;

constexpr size_t kMaxEventBytes = 4 << 20;

// The name of a model becomes part of a path.
std::string PathOf(const Endpoint& engine, const char* action) {
  std::string path = "/v2/models/";
  for (const unsigned char c : engine.served_name) {
    if (isalnum(c) || c == '-' || c == '_' || c == '.') {
      path += static_cast<char>(c);
    } else {
      absl::StrAppend(&path, "%", absl::Hex(c, absl::kZeroPad2));
    }
  }
  return absl::StrCat(path, "/", action);
}

EngineRequest RequestOf(std::string path, const Json& body) {
  return {std::move(path), body.dump(-1, ' ', false, Json::error_handler_t::replace)};
}

// Events of JSON; the end of the stream is the end of the answer.
class GenerateReader : public AnswerReader {
 public:
  explicit GenerateReader(const Endpoint& engine) : engine_(engine) {}

  absl::Status Feed(std::string_view bytes, Delta& delta) override {
    events_.Push(bytes);
    while (const std::optional<http::SseEvent> event = events_.Next()) {
      const Json json = ParseTree(event->data);
      const bool said = json.is_object() && json.contains("text_output") && json["text_output"].is_string();
      if (!said) return ErrorInPiece(event->data, engine_);
      delta.text += json["text_output"].get_ref<const std::string&>();
      ++delta.pieces;
    }
    if (events_.pending() <= kMaxEventBytes) return absl::OkStatus();
    return NoAnswer(engine_, "answer", absl::StrCat("an event of more than ", kMaxEventBytes, " bytes"));
  }
  bool EndsWithStream() const override { return true; }

 private:
  const Endpoint engine_;
  http::SseParser events_;
};

// Numbers in a list, or in lists in it, row by row.
bool AppendNumbers(const Json& data, int depth, std::vector<double>& numbers) {
  for (const Json& item : data) {
    if (item.is_number()) {
      numbers.push_back(item.get<double>());
    } else if (!item.is_array() || depth == 0 || !AppendNumbers(item, depth - 1, numbers)) {
      return false;
    }
  }
  return true;
}

absl::StatusOr<v1::EmbedResponse> ReadVectors(const std::string& body, size_t texts, const Endpoint& engine) {
  const Json json = ParseTree(body);
  if (!json.is_object() || !json.contains("outputs") || !json["outputs"].is_array()) {
    return NoAnswer(engine, "list of tensors", body);
  }
  for (const Json& tensor : json["outputs"]) {
    const Json type = tensor.is_object() ? tensor.value("datatype", Json()) : Json();
    const Json shape = tensor.is_object() ? tensor.value("shape", Json()) : Json();
    if (!type.is_string() || !absl::StartsWith(type.get_ref<const std::string&>(), "FP")) continue;
    const bool rows = shape.is_array() && shape.size() == 2 && shape[0] == texts && shape[1].is_number_unsigned();
    if (!rows) continue;
    std::vector<double> numbers;
    const Json data = tensor.value("data", Json());
    if (!data.is_array() || !AppendNumbers(data, 1, numbers)) return NoAnswer(engine, "tensor of numbers", data.dump());
    const size_t length = shape[1].get<size_t>();
    if (length == 0 || numbers.size() / length != texts || numbers.size() % length != 0) {
      return NoAnswer(engine, "whole tensor", absl::StrCat(numbers.size(), " numbers in the shape ", shape.dump()));
    }
    v1::EmbedResponse response;
    for (size_t i = 0; i < numbers.size(); ++i) {
      if (i % length == 0) response.add_embeddings();
      response.mutable_embeddings(response.embeddings_size() - 1)->add_values()->set_number_value(numbers[i]);
    }
    response.set_dimensions(static_cast<int>(length));
    return response;
  }
  return NoAnswer(engine, "tensor with one row of floats for each text", body);
}

}  // namespace

absl::StatusOr<EngineRequest> OpenInferenceDialect::Complete(const v1::CompleteRequest& request,
                                                             const Endpoint& engine) const {
  Json parameters = {{"stream", true}, {"exclude_input_in_output", true}};
  if (request.has_temperature()) parameters["temperature"] = request.temperature();
  if (request.has_max_tokens()) parameters["max_tokens"] = request.max_tokens();
  if (request.has_top_p()) parameters["top_p"] = request.top_p();
  if (request.has_seed()) parameters["seed"] = request.seed();
  if (request.has_frequency_penalty()) parameters["frequency_penalty"] = request.frequency_penalty();
  if (request.has_presence_penalty()) parameters["presence_penalty"] = request.presence_penalty();
  if (request.stop_size() > 1) {
    return Error(v1::INFERENCE_REQUEST_REFUSED,
                 absl::StrCat("engine '", engine.instance_id, "' speaks open_inference, which takes one stop text"),
                 {{"instance_id", engine.instance_id}, {"dialect", engine.dialect}});
  }
  if (request.stop_size() == 1) parameters["stop"] = request.stop(0);
  const Json options = Json::parse(ToJson(request.engine_options()), nullptr, /*allow_exceptions=*/false);
  for (const auto& [key, value] : options.items()) {
    if (parameters.contains(key)) {
      return InvalidInput(absl::StrCat("engine_options.", key), "is a field of the request itself");
    }
    parameters[key] = value;
  }
  return RequestOf(PathOf(engine, "generate_stream"), {{"text_input", request.prompt()}, {"parameters", parameters}});
}

std::unique_ptr<AnswerReader> OpenInferenceDialect::NewReader(const Endpoint& engine) const {
  return std::make_unique<GenerateReader>(engine);
}

absl::StatusOr<Exchange<v1::EmbedResponse>> OpenInferenceDialect::Embed(const v1::EmbedRequest& request,
                                                                        const Endpoint& engine) const {
  if (request.has_dimensions()) {
    return Error(v1::INFERENCE_REQUEST_REFUSED,
                 absl::StrCat("engine '", engine.instance_id, "' speaks open_inference, which cannot shorten vectors"),
                 {{"instance_id", engine.instance_id}, {"dialect", engine.dialect}});
  }
  Json data = Json::array();
  for (const std::string& text : request.input()) data.push_back(text);
  const size_t texts = data.size();
  const Json input = {{"name", "text_input"}, {"shape", {texts, 1}}, {"datatype", "BYTES"}, {"data", std::move(data)}};
  Exchange<v1::EmbedResponse> exchange;
  exchange.request = RequestOf(PathOf(engine, "infer"), {{"inputs", Json::array({input})}});
  exchange.read = [engine, texts](const EngineAnswer& answer) { return ReadVectors(answer.body, texts, engine); };
  return exchange;
}

absl::Status OpenInferenceDialect::ErrorOf(int http_status, const std::string& body, const Endpoint& engine) const {
  return EngineError(http_status, body, engine);
}

}  // namespace aima::inference
