#include "services/gateway/ollama/answer.h"

#include <absl/strings/ascii.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_format.h>
#include <absl/time/clock.h>

#include "libs/errors/errors.h"
#include "libs/unit/json_codec.h"
#include "services/gateway/json_fields.h"
#include "services/gateway/ollama/names.h"

namespace aima::gateway::ollama {
namespace {

using Json = nlohmann::json;

std::string TextOf(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

double NumberOf(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number() ? found->get<double>() : 0;
}

Json ObjectOf(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_object() ? *found : Json::object();
}

std::string TextOf(absl::Time time) { return absl::FormatTime("%Y-%m-%dT%H:%M:%E9SZ", time, absl::UTCTimeZone()); }

void Line(const Json& json, std::string& out) { absl::StrAppend(&out, DumpJson(json), "\n"); }

Json Piece(Kind kind, const std::string& model, const std::string& text, const std::string& thoughts) {
  Json piece = {{"model", model}, {"created_at", TextOf(absl::Now())}, {"done", false}};
  Json& said = kind == Kind::kChat ? piece["message"] : piece;
  if (kind == Kind::kChat) said["role"] = "assistant";
  said[kind == Kind::kChat ? "content" : "response"] = text;
  if (!thoughts.empty()) said["thinking"] = thoughts;
  return piece;
}

Json Calls(const Json& answer) {
  Json calls = Json::array();
  const auto found = answer.find("tool_calls");
  if (found == answer.end() || !found->is_array()) return calls;
  for (const Json& call : *found) {
    const std::string text = TextOf(call, "arguments");
    Json arguments = text.empty() ? Json::object() : ParseJsonText(text).value_or(Json());
    // Models make mistakes. The text is kept, so that the function can say what is wrong with it.
    if (!arguments.is_object()) arguments = {{"arguments", text}};
    calls.push_back({{"id", TextOf(call, "id")},
                     {"function",
                      {{"index", calls.size()}, {"name", TextOf(call, "name")}, {"arguments", std::move(arguments)}}}});
  }
  return calls;
}

// What the last line has: why it ended, and what it took.
void AddEnd(const Json& answer, Json& piece) {
  const Json usage = ObjectOf(answer, "usage");
  const Json metrics = ObjectOf(answer, "metrics");
  const auto nanoseconds = [](double milliseconds) { return static_cast<int64_t>(milliseconds * 1e6); };
  const double tokens = NumberOf(usage, "completion_tokens");
  const double speed = NumberOf(metrics, "tokens_per_second");
  piece["done"] = true;
  piece["done_reason"] = TextOf(answer, "finish_reason") == "length" ? "length" : "stop";
  piece["total_duration"] = nanoseconds(NumberOf(metrics, "duration_ms"));
  piece["load_duration"] = nanoseconds(NumberOf(metrics, "queue_ms"));
  piece["prompt_eval_count"] = static_cast<int64_t>(NumberOf(usage, "prompt_tokens"));
  piece["prompt_eval_duration"] = nanoseconds(NumberOf(metrics, "time_to_first_token_ms"));
  piece["eval_count"] = static_cast<int64_t>(tokens);
  piece["eval_duration"] = speed > 0 ? nanoseconds((tokens - 1) / speed * 1000) : 0;
}

// 134515008 is "134.52M".
std::string Count(double parameters) {
  if (parameters <= 0) return "";
  if (parameters >= 1e9) return absl::StrFormat("%.1fB", parameters / 1e9);
  if (parameters >= 1e6) return absl::StrFormat("%.2fM", parameters / 1e6);
  return absl::StrFormat("%.0fK", parameters / 1e3);
}

Json DetailsOfModel(const Json& model) {
  const Json details = ObjectOf(model, "details");
  const std::string family = TextOf(details, "architecture");
  return {{"parent_model", ""},
          {"format", TextOf(model, "format")},
          {"family", family},
          {"families", family.empty() ? Json::array() : Json::array({family})},
          {"parameter_size", Count(NumberOf(details, "parameters"))},
          {"quantization_level", TextOf(details, "quantization")}};
}

Json Capabilities(const Json& model) {
  const std::string type = TextOf(model, "type");
  Json capabilities = Json::array();
  if (type == "embedding") capabilities.push_back("embedding");
  if (type == "llm" || type == "vlm") capabilities.push_back("completion");
  if (type == "vlm") capabilities.push_back("vision");
  // What has a chat template is told of tools by it, or by its engine's own words.
  const bool has_template = ObjectOf(model, "details").value("chat_template", false);
  if (has_template && !capabilities.empty()) capabilities.push_back("tools");
  return capabilities;
}

}  // namespace

Json WholeAnswer(Kind kind, const Json& answer, const std::string& model) {
  const bool completed = answer.contains("text");  // of inference.complete
  Json whole = Piece(kind, model, TextOf(answer, completed ? "text" : "content"), TextOf(answer, "reasoning_content"));
  Json calls = Calls(answer);
  if (kind == Kind::kChat && !calls.empty()) whole["message"]["tool_calls"] = std::move(calls);
  AddEnd(answer, whole);
  return whole;
}

Json EmptyAnswer(Kind kind, const std::string& model, const char* done_reason) {
  Json whole = Piece(kind, model, "", "");
  whole["done"] = true;
  whole["done_reason"] = done_reason;
  return whole;
}

Json ErrorBody(const absl::Status& status) {
  const ErrorDetails details = DetailsOf(status);
  std::string message = MessageOf(status);
  // Clients look for these words.
  if (details.reason == "INFERENCE_MODEL_NOT_FOUND" || details.reason == "MODEL_NOT_FOUND") {
    message = absl::StrCat("model not found: ", message);
  }
  return {{"error", message}};
}

Json ListedModel(const Json& model) {
  const std::string name = ListedName(model);
  // Ollama's own program reads a time here in any case; when an engine's models changed is not known.
  const std::string updated = TextOf(model, "update_time");
  return {{"name", name},
          {"model", name},
          {"modified_at", updated.empty() ? "1970-01-01T00:00:00Z" : updated},
          {"size", static_cast<int64_t>(NumberOf(model, "size"))},
          {"digest", TextOf(model, "digest")},
          {"details", DetailsOfModel(model)}};
}

Json RunningModel(const Json& model, const Json& instance) {
  Json running = ListedModel(model);
  running.erase("modified_at");
  running["size"] = static_cast<int64_t>(NumberOf(instance, "memory_bytes"));
  running["size_vram"] = 0;  // where the memory is, is not told
  running["context_length"] = static_cast<int64_t>(NumberOf(ObjectOf(instance, "config"), "context_length"));
  // At the latest, if nobody asks it from now on.
  const double idle = NumberOf(instance, "idle_timeout");
  running["expires_at"] = idle > 0 ? TextOf(absl::Now() + absl::Milliseconds(idle)) : "9999-12-31T23:59:59Z";
  return running;
}

Json ShownModel(const Json& model) {
  const Json details = ObjectOf(model, "details");
  const std::string family = TextOf(details, "architecture");
  const auto integer = [&details](const char* key) { return static_cast<int64_t>(NumberOf(details, key)); };
  Json info = {{"general.architecture", family},
               {"general.basename", TextOf(model, "name")},
               {"general.parameter_count", integer("parameters")}};
  const std::pair<const char*, const char*> kFigures[] = {
      {"context_length", "context_length"},   {"embedding_length", "embedding_length"},
      {"layers", "block_count"},              {"feed_forward_length", "feed_forward_length"},
      {"heads", "attention.head_count"},      {"kv_heads", "attention.head_count_kv"},
      {"key_length", "attention.key_length"}, {"value_length", "attention.value_length"},
      {"vocab_size", "vocab_size"}};
  for (const auto& [ours, theirs] : kFigures) {
    if (integer(ours) > 0) info[absl::StrCat(family, ".", theirs)] = integer(ours);
  }
  return {{"license", TextOf(details, "license")},
          {"modelfile", absl::StrCat("FROM ", TextOf(model, "path"), "\n")},
          {"parameters", ""},
          {"template", ""},
          {"details", DetailsOfModel(model)},
          {"model_info", std::move(info)},
          {"capabilities", Capabilities(model)},
          {"modified_at", TextOf(model, "update_time")}};
}

void TextLines::Add(const Json& chunk, std::string& out) {
  const std::string text = TextOf(chunk, chunk.contains("text") ? "text" : "content");
  const std::string thoughts = TextOf(chunk, "reasoning_content");
  if (!text.empty() || !thoughts.empty()) Line(Piece(kind_, model_, text, thoughts), out);
  if (!chunk.contains("finish_reason")) return;
  if (Json calls = Calls(chunk); !calls.empty() && kind_ == Kind::kChat) {
    Json piece = Piece(kind_, model_, "", "");
    piece["message"]["tool_calls"] = std::move(calls);
    Line(piece, out);
  }
  Json last = Piece(kind_, model_, "", "");
  AddEnd(chunk, last);
  Line(last, last_);
}

void TextLines::End(std::string& out) {
  if (last_.empty()) return Fail(absl::InternalError("the answer ended without saying why"), out);
  out += last_;
}

void TextLines::Fail(const absl::Status& status, std::string& out) { Line(ErrorBody(status), out); }

void PullLines::Begin(std::string& out) { Line({{"status", "pulling manifest"}}, out); }

void PullLines::Add(const Json& progress, std::string& out) {
  const auto items = progress.find("items");
  for (const Json& item : items != progress.end() && items->is_array() ? *items : Json::array()) {
    const auto done = static_cast<int64_t>(NumberOf(item, "done"));
    const auto [told, first] = told_.emplace(TextOf(item, "name"), 0);
    if (done == told->second && !first) continue;
    told->second = done;
    const std::string digest = TextOf(item, "digest");
    Json line = {{"status", absl::StrCat("pulling ", digest.empty() ? TextOf(item, "name") : digest.substr(0, 12))},
                 {"total", static_cast<int64_t>(NumberOf(item, "size"))},
                 {"completed", done}};
    if (!digest.empty()) line["digest"] = absl::StrCat("sha256:", digest);
    Line(line, out);
  }
  if (TextOf(progress, "phase") == "verifying" && !std::exchange(verifying_, true)) {
    Line({{"status", "verifying sha256 digest"}}, out);
  }
  if (!ObjectOf(progress, "result").empty() && !std::exchange(done_, true)) {
    Line({{"status", "writing manifest"}}, out);
    Line({{"status", "success"}}, out);
  }
}

void PullLines::End(std::string& out) {
  if (!done_) Fail(absl::InternalError("the pull ended without a result"), out);
}

void PullLines::Fail(const absl::Status& status, std::string& out) { Line(ErrorBody(status), out); }

}  // namespace aima::gateway::ollama
