#include "services/gateway/ollama/request.h"

#include <absl/strings/match.h>
#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>
#include <absl/time/time.h>

#include <algorithm>
#include <deque>

#include "services/gateway/json_fields.h"

namespace aima::gateway::ollama {
namespace {

constexpr size_t kMaxTurns = 10'000;  // of inference.chat

using Json = nlohmann::json;

bool AreTexts(const Json& value) {
  return value.is_array() && std::all_of(value.begin(), value.end(), [](const Json& item) { return item.is_string(); });
}

std::string ModelName(const JsonFields& fields) {
  std::string model = fields.Text("model");
  if (model.empty()) model = fields.Text("name");
  if (model.empty()) fields.Refuse("model", "is required");
  return model;
}

// Seconds, or a duration such as "5m"; negative is for ever.
std::optional<absl::Duration> ReadKeepAlive(const JsonFields& fields) {
  const Json* value = fields.Find("keep_alive");
  if (!value) return std::nullopt;
  double seconds = 0;
  absl::Duration duration;
  if (value->is_number()) {
    duration = absl::Seconds(value->get<double>());
  } else if (value->is_string() && absl::SimpleAtod(value->get<std::string>(), &seconds)) {
    duration = absl::Seconds(seconds);
  } else if (!value->is_string() || !absl::ParseDuration(value->get<std::string>(), &duration)) {
    fields.Refuse("keep_alive", "must be seconds, or a duration such as \"5m\"");
    return std::nullopt;
  }
  return duration < absl::ZeroDuration() ? absl::InfiniteDuration() : duration;
}

// How the model is to be loaded. What is in `engine_options` is for Ollama servers that serve the model; for other engines
// it is decided where they are started.
void ReadLoadOptions(const JsonFields& options, Json& input) {
  constexpr int64_t kLeastContext = 64, kMostContext = 10'000'000, kMostThreads = 1024;  // of `load`
  if (const auto context = options.Integer("num_ctx"); context && *context > 0) {
    input["load"]["context_length"] = std::clamp(*context, kLeastContext, kMostContext);
  }
  if (const auto threads = options.Integer("num_thread"); threads && *threads > 0) {
    input["load"]["threads"] = std::min(*threads, kMostThreads);
  }
  for (const char* key : {"num_gpu", "main_gpu", "num_batch"}) {
    if (const auto number = options.Integer(key)) input["load"]["engine_options"][key] = *number;
  }
  if (options.Find("use_mmap")) input["load"]["engine_options"]["use_mmap"] = options.Bool("use_mmap");
}

void ReadOptions(const JsonFields& options, Json& input) {
  for (const char* key : {"temperature", "top_p", "frequency_penalty", "presence_penalty"}) {
    if (const auto number = options.Number(key)) input[key] = *number;
  }
  if (const auto seed = options.Integer("seed")) input["seed"] = *seed;
  if (const auto limit = options.Integer("num_predict"); limit && *limit > 0) input["max_tokens"] = *limit;
  for (const char* key : {"min_p", "typical_p", "repeat_penalty", "mirostat_tau", "mirostat_eta"}) {
    if (const auto number = options.Number(key)) input["engine_options"][key] = *number;
  }
  for (const char* key : {"top_k", "repeat_last_n", "mirostat"}) {
    if (const auto number = options.Integer(key)) input["engine_options"][key] = *number;
  }
  const Json* stop = options.Find("stop");
  if (!stop || (stop->is_array() && stop->empty())) return;
  if (stop->is_string()) {
    input["stop"] = Json::array({*stop});
  } else if (AreTexts(*stop)) {
    input["stop"] = *stop;
  } else {
    options.Refuse("stop", "must be a list of strings");
  }
}

void ReadFormat(const JsonFields& fields, Json& input) {
  const Json* format = fields.Find("format");
  if (!format || (format->is_string() && format->get_ref<const std::string&>().empty())) return;
  if (*format == "json") {
    input["response_format"] = {{"type", "json_object"}};
  } else if (format->is_object()) {
    input["response_format"] = {{"type", "json_schema"},
                                {"json_schema", {{"name", "answer"}, {"schema", *format}, {"strict", true}}}};
  } else {
    fields.Refuse("format", "must be \"json\" or a JSON schema");
  }
}

void ReadThink(const JsonFields& fields, Json& input) {
  const Json* think = fields.Find("think");
  if (!think) return;
  if (*think == "low" || *think == "medium" || *think == "high") {
    input["engine_options"]["reasoning_effort"] = *think;
  } else if (!think->is_boolean()) {
    return fields.Refuse("think", "must be true, false, \"low\", \"medium\" or \"high\"");
  }
  input["engine_options"]["chat_template_kwargs"]["enable_thinking"] = *think != false;
}

// Fields that all requests for text have.
void ReadCommon(const JsonFields& fields, absl::Status& error, Asked& asked) {
  asked.model = ModelName(fields);
  asked.stream = fields.Bool("stream", true);
  asked.keep_alive = ReadKeepAlive(fields);
  if (const Json* options = fields.Object("options")) {
    ReadOptions({*options, "options", error}, asked.input);
    ReadLoadOptions({*options, "options", error}, asked.input);
  }
  if (fields.Bool("logprobs")) fields.Refuse("logprobs", "cannot be told here");
}

// Pictures come in base64, without saying of which kind they are.
Json ImagePart(const JsonFields& fields, size_t index, const Json& image) {
  static constexpr std::pair<const char*, const char*> kKinds[] = {
      {"/9j/", "image/jpeg"}, {"iVBORw0KGgo", "image/png"}, {"R0lGOD", "image/gif"}, {"UklGR", "image/webp"}};
  const std::string data = image.is_string() ? image.get<std::string>() : "";
  for (const auto& [begin, type] : kKinds) {
    if (!absl::StartsWith(data, begin)) continue;
    return {{"type", "image_url"}, {"image_url", {{"url", absl::StrCat("data:", type, ";base64,", data)}}}};
  }
  fields.Refuse(PathOf("images", index), "must be the base64 of a JPEG, PNG, GIF or WebP picture");
  return Json::object();
}

void ReadImages(const JsonFields& fields, Json& message) {
  const Json* images = fields.List("images");
  for (size_t i = 0; images && i < images->size(); ++i) message["parts"].push_back(ImagePart(fields, i, (*images)[i]));
}

// Ollama's calls have no ids, and results name the function at most: each result is that of the first call without one.
class CallIds {
 public:
  // Each result is looked for among the open calls: more than a turn can sensibly have cost time for nothing.
  static constexpr size_t kMaxOpen = 1000;
  bool full() const { return open_.size() >= kMaxOpen; }

  std::string Add(const std::string& id, const std::string& name) {
    open_.push_back({id.empty() ? absl::StrCat("call_", ++count_) : id, name});
    return open_.back().id;
  }
  std::string Take(const std::string& id, const std::string& name) {
    for (size_t i = 0; i < open_.size(); ++i) {
      const bool fits = id.empty() ? name.empty() || open_[i].name == name : open_[i].id == id;
      if (!fits) continue;
      std::string taken = open_[i].id;
      open_.erase(open_.begin() + static_cast<std::ptrdiff_t>(i));
      return taken;
    }
    return id;
  }

 private:
  struct Call {
    std::string id;
    std::string name;
  };
  std::deque<Call> open_;
  int count_ = 0;
};

void ReadCalls(const JsonFields& turn, CallIds& ids, Json& message) {
  const Json* calls = turn.List("tool_calls");
  for (size_t i = 0; calls && i < calls->size(); ++i) {
    const std::string path = PathOf(turn.At("tool_calls"), i);
    const JsonFields call((*calls)[i], path, turn.error());
    if (ids.full()) {
      return turn.Refuse("tool_calls", absl::StrCat("more than ", CallIds::kMaxOpen, " calls have no result"));
    }
    const Json* object = call.Object("function");
    if (!object) return call.Refuse("function", "is required");
    const JsonFields function(*object, PathOf(path, "function"), turn.error());
    const Json* arguments = function.Find("arguments");
    if (arguments && !arguments->is_object()) function.Refuse("arguments", "must be an object");
    const std::string name = function.RequiredText("name");
    message["tool_calls"].push_back({{"id", ids.Add(call.Text("id"), name)},
                                     {"name", name},
                                     {"arguments", arguments ? DumpJson(*arguments) : "{}"}});
  }
}

Json ReadTurn(const Json& value, const std::string& path, absl::Status& error, CallIds& ids) {
  const JsonFields turn(value, path, error);
  const std::string role = turn.RequiredText("role");
  Json message = {{"role", role}, {"content", turn.Text("content")}};
  if (role != "system" && role != "user" && role != "assistant" && role != "tool") {
    turn.Refuse("role", "must be system, user, assistant or tool");
  }
  if (role == "assistant") {
    if (const std::string thoughts = turn.Text("thinking"); !thoughts.empty()) message["reasoning_content"] = thoughts;
    ReadCalls(turn, ids, message);
  }
  if (role == "tool") {
    const std::string name = turn.Text("tool_name").empty() ? turn.Text("name") : turn.Text("tool_name");
    message["tool_call_id"] = ids.Take(turn.Text("tool_call_id"), name);
  }
  ReadImages(turn, message);
  return message;
}

}  // namespace

absl::StatusOr<Asked> ReadChat(const Json& body) {
  absl::Status error;
  const JsonFields fields(body, "", error);
  Asked asked;
  asked.input = Json::object();
  ReadCommon(fields, error, asked);
  ReadFormat(fields, asked.input);
  ReadThink(fields, asked.input);
  CallIds ids;
  const Json* messages = fields.List("messages");
  asked.empty = !messages || messages->empty();
  if (messages && messages->size() > kMaxTurns) {
    fields.Refuse("messages", absl::StrCat("has more than ", kMaxTurns, " turns"));
  }
  for (size_t i = 0; messages && i < messages->size() && error.ok(); ++i) {
    asked.input["messages"].push_back(ReadTurn((*messages)[i], PathOf("messages", i), error, ids));
  }
  const Json* tools = fields.List("tools");
  for (size_t i = 0; tools && i < tools->size(); ++i) {
    const JsonFields tool((*tools)[i], PathOf("tools", i), error);
    if (!tool.Object("function")) tool.Refuse("function", "is required");
    Json whole = (*tools)[i];
    if (whole.is_object()) whole["type"] = "function";
    asked.input["tools"].push_back(std::move(whole));
  }
  if (!error.ok()) return error;
  return asked;
}

absl::StatusOr<Asked> ReadGenerate(const Json& body) {
  absl::Status error;
  const JsonFields fields(body, "", error);
  Asked asked;
  asked.input = Json::object();
  ReadCommon(fields, error, asked);
  asked.raw = fields.Bool("raw");
  const std::string prompt = fields.Text("prompt");
  for (const char* key : {"suffix", "template"}) {
    if (!fields.Text(key).empty()) fields.Refuse(key, "cannot be had here");
  }
  if (const Json* context = fields.List("context"); context && !context->empty()) {
    fields.Refuse("context", "is not kept here; send the conversation to /api/chat");
  }
  if (asked.raw) {
    asked.input["prompt"] = prompt;
    asked.empty = prompt.empty();
  } else {
    ReadFormat(fields, asked.input);
    ReadThink(fields, asked.input);
    Json turn = {{"role", "user"}, {"content", prompt}};
    ReadImages(fields, turn);
    asked.empty = prompt.empty() && !turn.contains("parts");
    if (const std::string system = fields.Text("system"); !system.empty()) {
      asked.input["messages"].push_back({{"role", "system"}, {"content", system}});
    }
    asked.input["messages"].push_back(std::move(turn));
  }
  if (!error.ok()) return error;
  return asked;
}

absl::StatusOr<Asked> ReadEmbed(const Json& body) {
  absl::Status error;
  const JsonFields fields(body, "", error);
  Asked asked;
  asked.model = ModelName(fields);
  asked.stream = false;
  asked.keep_alive = ReadKeepAlive(fields);
  if (const Json* options = fields.Object("options")) ReadLoadOptions({*options, "options", error}, asked.input);
  Json& texts = asked.input["input"] = Json::array();
  const Json* input = fields.Find("input");
  if (!input) input = fields.Find("prompt");  // of /api/embeddings
  if (!input) {
    fields.Refuse("input", "is required");
  } else if (input->is_string()) {
    texts.push_back(*input);
  } else if (AreTexts(*input)) {
    texts = *input;
  } else {
    fields.Refuse("input", "must be a string or a list of strings");
  }
  asked.empty = texts.empty();
  if (const auto dimensions = fields.Integer("dimensions"); dimensions && *dimensions > 0) {
    asked.input["dimensions"] = *dimensions;
  }
  if (!error.ok()) return error;
  return asked;
}

absl::StatusOr<std::string> ReadModel(const Json& body) {
  absl::Status error;
  const std::string model = ModelName(JsonFields(body, "", error));
  if (!error.ok()) return error;
  return model;
}

}  // namespace aima::gateway::ollama
