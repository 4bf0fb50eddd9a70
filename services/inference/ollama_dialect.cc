#include "services/inference/ollama_dialect.h"

#include <absl/container/flat_hash_map.h>
#include <absl/strings/match.h>
#include <absl/strings/str_cat.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "libs/base/status_macros.h"
#include "libs/errors/errors.h"
#include "libs/unit/json_codec.h"
#include "services/inference/engine_error.h"
#include "services/inference/engine_json.h"

namespace aima::inference {
namespace {

using Json = nlohmann::json;

constexpr size_t kMaxLineBytes = 4 << 20;

Json ToTree(const google::protobuf::Message& message) {
  return Json::parse(ToJson(message), nullptr, /*allow_exceptions=*/false);
}

absl::Status Refused(const Endpoint& engine, std::string_view what) {
  return Error(v1::INFERENCE_REQUEST_REFUSED,
               absl::StrCat("engine '", engine.instance_id, "' speaks ollama, which has no words for ",
                            absl::string_view(what.data(), what.size())),
               {{"instance_id", engine.instance_id}, {"dialect", engine.dialect}});
}

// The base64 inside of data:image/png;base64,…
absl::StatusOr<std::string> PictureOf(const Json& part, const Endpoint& engine) {
  const Json image = part.value("image_url", Json());
  const std::string url =
      image.is_object() && image.value("url", Json()).is_string() ? image["url"].get<std::string>() : "";
  const size_t comma = url.find(";base64,");
  if (url.substr(0, 5) != "data:" || comma == std::string::npos) {
    return Refused(engine, "pictures at addresses: give them as data:image/…;base64,…");
  }
  return url.substr(comma + 8);
}

// What the calls of a conversation call, by their ids.
using CallNames = absl::flat_hash_map<absl::string_view, const std::string*>;

CallNames CallNamesOf(const v1::ChatRequest& request) {
  CallNames names;
  for (const v1::Message& message : request.messages()) {
    for (const v1::ToolCall& call : message.tool_calls()) names[call.id()] = &call.name();
  }
  return names;
}

absl::StatusOr<Json> MessageOf(const v1::Message& message, const CallNames& names, const Endpoint& engine) {
  Json json = {{"role", message.role() == "developer" ? "system" : message.role()}, {"content", message.content()}};
  for (const auto& struct_part : message.parts()) {
    const Json part = ToTree(struct_part);
    const std::string type = part.value("type", Json()).is_string() ? part["type"].get<std::string>() : "";
    if (type == "text" && part.value("text", Json()).is_string()) {
      json["content"] = json["content"].get<std::string>() + part["text"].get<std::string>();
    } else if (type == "image_url") {
      ASSIGN_OR_RETURN(std::string picture, PictureOf(part, engine));
      json["images"].push_back(std::move(picture));
    } else {
      return Refused(engine, absl::StrCat("a part of type '", type, "'"));
    }
  }
  for (const v1::ToolCall& call : message.tool_calls()) {
    const Json arguments = ParseTree(call.arguments());
    if (!arguments.is_object()) return InvalidInput("messages.tool_calls.arguments", "must be a JSON object");
    json["tool_calls"].push_back({{"function", {{"name", call.name()}, {"arguments", arguments}}}});
  }
  // A result names the function there, not the call.
  if (!message.tool_call_id().empty()) {
    const auto called = names.find(message.tool_call_id());
    if (called != names.end()) json["tool_name"] = *called->second;
  }
  return json;
}

absl::Status AddFormat(const v1::ChatRequest& request, const Endpoint& engine, Json& body) {
  if (!request.has_response_format()) return absl::OkStatus();
  const Json format = ToTree(request.response_format());
  const Json type = format.value("type", Json());
  if (type == "json_object") {
    body["format"] = "json";
  } else if (type == "json_schema" && format.contains("json_schema") && format["json_schema"].is_object() &&
             format["json_schema"].contains("schema")) {
    body["format"] = format["json_schema"]["schema"];
  } else if (type != "text") {
    return Refused(engine, absl::StrCat("the response_format ", format.dump()));
  }
  return absl::OkStatus();
}

absl::Status AddTools(const v1::ChatRequest& request, const Endpoint& engine, Json& body) {
  const Json choice = request.has_tool_choice() ? ToTree(request.tool_choice()) : Json("auto");
  if (choice == "none") return absl::OkStatus();
  if (choice != "auto") return Refused(engine, "a tool_choice other than auto and none");
  for (const auto& tool : request.tools()) body["tools"].push_back(ToTree(tool));
  return absl::OkStatus();
}

// It loads models itself, again where a request wants another context.
void AddLoad(const v1::LoadOptions& load, Json& options) {
  if (load.has_context_length()) options["num_ctx"] = load.context_length();
  if (load.has_threads()) options["num_thread"] = load.threads();
  const Json more = ToTree(load.engine_options());
  for (const auto& [key, value] : more.items()) options.emplace(key, value);
}

// How to generate. Fields for the engine are options there, except for the few that stand beside them.
template <class Request>
absl::Status AddOptions(const Request& request, Json& body) {
  Json& options = body["options"] = Json::object();
  AddLoad(request.load(), options);
  if (request.has_temperature()) options["temperature"] = request.temperature();
  if (request.has_max_tokens()) options["num_predict"] = request.max_tokens();
  if (request.has_top_p()) options["top_p"] = request.top_p();
  if (request.has_seed()) options["seed"] = request.seed();
  if (request.has_frequency_penalty()) options["frequency_penalty"] = request.frequency_penalty();
  if (request.has_presence_penalty()) options["presence_penalty"] = request.presence_penalty();
  for (const std::string& stop : request.stop()) options["stop"].push_back(stop);
  const Json more = ToTree(request.engine_options());
  for (const auto& [key, value] : more.items()) {
    Json& place = key == "keep_alive" || key == "think" ? body : options;
    if (place.contains(key))
      return InvalidInput(absl::StrCat("engine_options.", key), "is a field of the request itself");
    place[key] = value;
  }
  // What does not fit is an error, not cut off in silence.
  body["truncate"] = false;
  body["stream"] = true;
  return absl::OkStatus();
}

EngineRequest RequestOf(std::string path, const Json& body) {
  return {std::move(path), body.dump(-1, ' ', false, Json::error_handler_t::replace)};
}

// A streamed answer: one JSON object in each line, the last of which says that it is done.
class OllamaReader : public AnswerReader {
 public:
  explicit OllamaReader(const Endpoint& engine) : engine_(engine) {}

  absl::Status Feed(std::string_view bytes, Delta& delta) override {
    buffer_.append(bytes.data(), bytes.size());
    size_t begin = 0;
    for (size_t end = buffer_.find('\n'); end != std::string::npos && !delta.done; end = buffer_.find('\n', begin)) {
      const std::string_view line = std::string_view(buffer_).substr(begin, end - begin);
      begin = end + 1;
      if (line.find_first_not_of(" \r\t") == std::string_view::npos) continue;
      RETURN_IF_ERROR(ReadLine(line, delta));
    }
    buffer_.erase(0, begin);
    if (buffer_.size() <= kMaxLineBytes) return absl::OkStatus();
    return NoAnswer(engine_, "answer", absl::StrCat("a line of more than ", kMaxLineBytes, " bytes"));
  }

 private:
  absl::Status ReadLine(std::string_view line, Delta& delta) {
    const Json json = ParseTree(line);
    if (!json.is_object() || json.contains("error") || !json.contains("done")) return ErrorInPiece(line, engine_);
    const auto text = [](const Json& object, const char* key) {
      const auto it = object.find(key);
      return it != object.end() && it->is_string() ? it->get<std::string>() : std::string();
    };
    const Json message = json.value("message", Json::object());
    const std::string said =
        message.is_object() && message.contains("content") ? text(message, "content") : text(json, "response");
    const std::string thought = message.is_object() ? text(message, "thinking") : "";
    delta.text += said;
    delta.reasoning += thought + text(json, "thinking");
    if (message.is_object() && message.contains("tool_calls") && message["tool_calls"].is_array()) {
      for (const Json& call : message["tool_calls"]) AddCall(call, delta);
    }
    if (!said.empty() || !thought.empty()) ++delta.pieces;
    if (json["done"] != true) return absl::OkStatus();
    delta.done = true;
    const std::string reason = text(json, "done_reason");
    delta.finish = reason == "length" ? v1::FINISH_REASON_LENGTH
                   : reason != "stop" ? v1::FINISH_REASON_OTHER
                   : calls_ > 0       ? v1::FINISH_REASON_TOOL_CALLS
                                      : v1::FINISH_REASON_STOP;
    v1::Usage usage;
    usage.set_prompt_tokens(Count(json, "prompt_eval_count"));
    usage.set_completion_tokens(Count(json, "eval_count"));
    usage.set_total_tokens(usage.prompt_tokens() + usage.completion_tokens());
    delta.usage = usage;
    return absl::OkStatus();
  }

  // Calls come whole. Their ids are ours where it gives none.
  void AddCall(const Json& call, Delta& delta) {
    if (!call.is_object() || !call.contains("function") || !call["function"].is_object()) return;
    const Json& function = call["function"];
    ToolPiece piece;
    piece.index = calls_++;
    const Json id = call.value("id", Json());
    piece.id = id.is_string() && id != "" ? id.get<std::string>() : absl::StrCat("call_", piece.index);
    if (function.value("name", Json()).is_string()) piece.name = function["name"].get<std::string>();
    piece.arguments = function.value("arguments", Json::object()).dump(-1, ' ', false, Json::error_handler_t::replace);
    delta.tools.push_back(std::move(piece));
  }

  static int64_t Count(const Json& json, const char* key) {
    const auto it = json.find(key);
    return it != json.end() && it->is_number_integer() ? SaneTokens(it->get<int64_t>()) : 0;
  }

  const Endpoint engine_;
  std::string buffer_;
  int calls_ = 0;
};

absl::StatusOr<v1::EmbedResponse> ReadVectors(const std::string& body, const Endpoint& engine) {
  const Json json = ParseTree(body);
  if (!json.is_object() || !json.contains("embeddings") || !json["embeddings"].is_array()) {
    return NoAnswer(engine, "list of embeddings", body);
  }
  v1::EmbedResponse response;
  for (const Json& numbers : json["embeddings"]) {
    if (!numbers.is_array()) return NoAnswer(engine, "list of embeddings", "it holds other things than vectors");
    auto& vector = *response.add_embeddings();
    for (const Json& number : numbers) {
      if (!number.is_number()) return NoAnswer(engine, "list of embeddings", "it holds other things than numbers");
      vector.add_values()->set_number_value(number.get<double>());
    }
    response.set_dimensions(vector.values_size());
  }
  const auto count = json.find("prompt_eval_count");
  if (count != json.end() && count->is_number_integer()) {
    const int64_t tokens = SaneTokens(count->get<int64_t>());
    response.mutable_usage()->set_prompt_tokens(tokens);
    response.mutable_usage()->set_total_tokens(tokens);
  }
  return response;
}

}  // namespace

absl::StatusOr<EngineRequest> OllamaDialect::Chat(const v1::ChatRequest& request, const Endpoint& engine) const {
  Json body = {{"model", engine.served_name}, {"messages", Json::array()}};
  const CallNames names = CallNamesOf(request);
  for (const v1::Message& message : request.messages()) {
    ASSIGN_OR_RETURN(Json json, MessageOf(message, names, engine));
    body["messages"].push_back(std::move(json));
  }
  if (!request.message().empty()) body["messages"].push_back({{"role", "user"}, {"content", request.message()}});
  RETURN_IF_ERROR(AddFormat(request, engine, body));
  RETURN_IF_ERROR(AddTools(request, engine, body));
  RETURN_IF_ERROR(AddOptions(request, body));
  return RequestOf("/api/chat", body);
}

absl::StatusOr<EngineRequest> OllamaDialect::Complete(const v1::CompleteRequest& request,
                                                      const Endpoint& engine) const {
  Json body = {{"model", engine.served_name}, {"prompt", request.prompt()}, {"raw", true}};
  RETURN_IF_ERROR(AddOptions(request, body));
  return RequestOf("/api/generate", body);
}

std::unique_ptr<AnswerReader> OllamaDialect::NewReader(const Endpoint& engine) const {
  return std::make_unique<OllamaReader>(engine);
}

absl::StatusOr<Exchange<v1::EmbedResponse>> OllamaDialect::Embed(const v1::EmbedRequest& request,
                                                                 const Endpoint& engine) const {
  Json body = {{"model", engine.served_name}, {"input", Json::array()}, {"truncate", false}};
  for (const std::string& text : request.input()) body["input"].push_back(text);
  if (request.has_dimensions()) body["dimensions"] = request.dimensions();
  if (request.has_load()) AddLoad(request.load(), body["options"] = Json::object());
  Exchange<v1::EmbedResponse> exchange;
  exchange.request = RequestOf("/api/embed", body);
  exchange.read = [engine](const EngineAnswer& answer) { return ReadVectors(answer.body, engine); };
  return exchange;
}

absl::Status OllamaDialect::ErrorOf(int http_status, const std::string& body, const Endpoint& engine) const {
  return EngineError(http_status, body, engine);
}

}  // namespace aima::inference
