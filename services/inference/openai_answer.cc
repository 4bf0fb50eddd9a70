// What engines that speak OpenAI's interface answer.
#include <absl/strings/str_cat.h>

#include <charconv>
#include <nlohmann/json.hpp>

#include "libs/base/status_macros.h"
#include "libs/errors/errors.h"
#include "services/inference/json_cursor.h"
#include "services/inference/openai_dialect.h"

namespace aima::inference {
namespace {

using Json = nlohmann::json;

constexpr size_t kMaxEventBytes = 4 << 20;

v1::FinishReason FinishReasonOf(std::string_view text) {
  if (text == "stop") return v1::FINISH_REASON_STOP;
  if (text == "length") return v1::FINISH_REASON_LENGTH;
  if (text == "tool_calls" || text == "function_call") return v1::FINISH_REASON_TOOL_CALLS;
  if (text == "content_filter") return v1::FINISH_REASON_CONTENT_FILTER;
  return v1::FINISH_REASON_OTHER;
}

int64_t IntegerOf(std::string_view raw) {
  int64_t value = 0;
  std::from_chars(raw.data(), raw.data() + raw.size(), value);
  return value;
}

void ReadToolCall(JsonCursor& json, Delta& delta) {
  ToolPiece piece;
  std::string_view key;
  if (!json.EnterObject()) {
    json.Skip();
    return;
  }
  while (json.NextKey(key)) {
    if (key == "index") {
      piece.index = static_cast<int>(IntegerOf(json.Skip()));
    } else if (key == "id") {
      json.AppendString(piece.id);
    } else if (key == "function" && json.EnterObject()) {
      while (json.NextKey(key)) {
        if (key == "name") {
          json.AppendString(piece.name);
        } else if (key == "arguments") {
          json.AppendString(piece.arguments);
        } else {
          json.Skip();
        }
      }
    } else {
      json.Skip();
    }
  }
  delta.tools.push_back(std::move(piece));
}

void ReadDelta(JsonCursor& json, Delta& delta) {
  std::string_view key;
  while (json.NextKey(key)) {
    if (key == "content") {
      json.AppendString(delta.text);
    } else if (key == "reasoning_content" || key == "reasoning") {
      json.AppendString(delta.reasoning);
    } else if (key == "tool_calls" && json.EnterList()) {
      while (json.NextItem()) ReadToolCall(json, delta);
    } else {
      json.Skip();
    }
  }
}

void ReadChoice(JsonCursor& json, Delta& delta) {
  std::string_view key;
  while (json.NextKey(key)) {
    if (key == "delta" && json.EnterObject()) {
      ReadDelta(json, delta);
    } else if (key == "text") {
      json.AppendString(delta.text);
    } else if (key == "finish_reason") {
      std::string reason;
      if (json.AppendString(reason) && !reason.empty()) delta.finish = FinishReasonOf(reason);
    } else if ((key == "stop_reason" || key == "matched_stop") && json.Peek() == '"') {  // vLLM, SGLang
      json.AppendString(delta.stop_text);
    } else {
      json.Skip();
    }
  }
}

std::string TextOf(const Json& object, const char* key) {
  const auto it = object.find(key);
  if (it == object.end() || it->is_null()) return "";
  return it->is_string() ? it->get<std::string>() : it->dump();
}

// The object that tells of an error, in any of the forms that engines use.
Json ErrorObject(std::string_view body) {
  Json json = Json::parse(body, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return Json{{"message", body.substr(0, 1000)}};
  const auto it = json.find("error");
  if (it != json.end() && it->is_object()) return *it;
  if (it != json.end() && it->is_string()) return Json{{"message", *it}};
  if (!json.contains("message") && json.contains("detail")) json["message"] = json["detail"];
  return json;
}

absl::Status ErrorFrom(int http_status, const Json& error, const Endpoint& engine) {
  const std::string message = TextOf(error, "message");
  const std::string type = TextOf(error, "type");
  const std::string who = absl::StrCat("engine '", engine.instance_id, "'");
  Metadata metadata = {{"instance_id", engine.instance_id}, {"model", engine.model_id}};
  // llama.cpp has no type for an embedding input that is too long; it calls that an error of its own.
  const bool batch = http_status == 500 && message.find("too large to process") != std::string::npos;
  if (batch || type == "exceed_context_size_error" || TextOf(error, "code") == "context_length_exceeded") {
    if (error.contains("n_ctx")) metadata["n_ctx"] = TextOf(error, "n_ctx");
    if (error.contains("n_prompt_tokens")) metadata["n_prompt_tokens"] = TextOf(error, "n_prompt_tokens");
    return Error(v1::INFERENCE_CONTEXT_TOO_LONG,
                 absl::StrCat("the input is longer than the context of model '", engine.model_id, "': ", message),
                 std::move(metadata));
  }
  metadata["http_status"] = absl::StrCat(http_status);
  if (TextOf(error, "code") == "ffmpeg_missing") {
    return Error(v1::INFERENCE_FORMAT_UNAVAILABLE, absl::StrCat(who, ": ", message), std::move(metadata));
  }
  if (http_status == 413) return Error(unit::v1::TOO_LARGE, absl::StrCat(who, ": ", message), std::move(metadata));
  if (http_status == 415) {
    return Error(v1::INFERENCE_MEDIA_UNREADABLE, absl::StrCat(who, ": ", message), std::move(metadata));
  }
  if (http_status == 429) {
    return Error(unit::v1::OVERLOADED, absl::StrCat(who, " is overloaded: ", message), std::move(metadata));
  }
  const bool refused =
      (http_status >= 400 && http_status < 500 && http_status != 401 && http_status != 403) || http_status == 501;
  if (refused) {
    return Error(v1::INFERENCE_REQUEST_REFUSED, absl::StrCat(who, " does not accept the request: ", message),
                 std::move(metadata));
  }
  return Error(v1::INFERENCE_ENGINE_FAILED, absl::StrCat(who, " failed (HTTP ", http_status, "): ", message),
               std::move(metadata));
}

// A streamed answer: events of JSON, then [DONE].
class OpenAiReader : public AnswerReader {
 public:
  explicit OpenAiReader(const Endpoint& engine) : engine_(engine) {}

  absl::Status Feed(std::string_view bytes, Delta& delta) override {
    events_.Push(bytes);
    while (const std::optional<http::SseEvent> event = events_.Next()) {
      if (event->data == "[DONE]") {
        delta.done = true;
        break;
      }
      const size_t before = delta.text.size() + delta.reasoning.size() + delta.tools.size();
      RETURN_IF_ERROR(ReadOpenAiPiece(event->data, engine_, delta));
      if (delta.text.size() + delta.reasoning.size() + delta.tools.size() > before) ++delta.pieces;
    }
    return CheckPending(events_, engine_);
  }

 private:
  const Endpoint engine_;
  http::SseParser events_;
};

}  // namespace

void Delta::Clear() {
  text.clear();
  reasoning.clear();
  tools.clear();
  finish.reset();
  stop_text.clear();
  usage.reset();
  pieces = 0;
  done = false;
}

v1::Usage ReadOpenAiUsage(std::string_view text) {
  v1::Usage usage;
  JsonCursor json(text);
  std::string_view key;
  if (!json.EnterObject()) return usage;
  while (json.NextKey(key)) {
    if (key == "prompt_tokens") {
      usage.set_prompt_tokens(IntegerOf(json.Skip()));
    } else if (key == "completion_tokens") {
      usage.set_completion_tokens(IntegerOf(json.Skip()));
    } else if (key == "total_tokens") {
      usage.set_total_tokens(IntegerOf(json.Skip()));
    } else if (key == "prompt_tokens_details" && json.EnterObject()) {
      while (json.NextKey(key)) {
        const std::string_view value = json.Skip();
        if (key == "cached_tokens" && value != "null") usage.set_cached_tokens(IntegerOf(value));
      }
    } else {
      json.Skip();
    }
  }
  return usage;
}

absl::Status ReadOpenAiPiece(std::string_view text, const Endpoint& engine, Delta& delta) {
  JsonCursor json(text);
  std::string_view key;
  std::string_view error;
  bool known = false;
  if (json.EnterObject()) {
    while (json.NextKey(key)) {
      if (key == "choices" && json.EnterList()) {
        known = true;
        while (json.NextItem()) {
          if (!json.EnterObject()) {
            json.Skip();
            continue;
          }
          ReadChoice(json, delta);
        }
      } else if (key == "usage" && json.Peek() == '{') {
        known = true;
        delta.usage = ReadOpenAiUsage(json.Skip());
      } else if (key == "error") {
        error = json.Skip();
      } else if (key == "__verbose" && json.EnterObject()) {  // llama.cpp, in the piece that ends the answer
        while (json.NextKey(key)) {
          if (key == "stopping_word" && json.Peek() == '"') {
            json.AppendString(delta.stop_text);
          } else {
            json.Skip();
          }
        }
      } else {
        json.Skip();
      }
    }
  }
  if (json.failed() || !known || (!error.empty() && error != "null")) return ErrorInPiece(text, engine);
  return absl::OkStatus();
}

absl::Status ErrorInPiece(std::string_view text, const Endpoint& engine) {
  const Json piece = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (piece.is_object() && piece.contains("error") && !piece["error"].is_null()) {
    const Json error = ErrorObject(text);
    const auto code = error.find("code");
    return ErrorFrom(code != error.end() && code->is_number_integer() ? code->get<int>() : 500, error, engine);
  }
  return Error(v1::INFERENCE_ENGINE_FAILED,
               absl::StrCat("engine '", engine.instance_id, "' sent what is no answer: ",
                            absl::string_view(text.data(), std::min<size_t>(text.size(), 200))),
               {{"instance_id", engine.instance_id}, {"model", engine.model_id}});
}

absl::Status CheckPending(const http::SseParser& events, const Endpoint& engine) {
  if (events.pending() <= kMaxEventBytes) return absl::OkStatus();
  return Error(
      v1::INFERENCE_ENGINE_FAILED,
      absl::StrCat("engine '", engine.instance_id, "' sent an event of more than ", kMaxEventBytes, " bytes"),
      {{"instance_id", engine.instance_id}, {"model", engine.model_id}});
}

std::unique_ptr<AnswerReader> OpenAiDialect::NewReader(const Endpoint& engine) const {
  return std::make_unique<OpenAiReader>(engine);
}

absl::Status OpenAiDialect::ErrorOf(int http_status, const std::string& body, const Endpoint& engine) const {
  return ErrorFrom(http_status, ErrorObject(body), engine);
}

absl::Status NoAnswer(const Endpoint& engine, std::string_view what, std::string_view why) {
  return Error(v1::INFERENCE_ENGINE_FAILED,
               absl::StrCat("engine '", engine.instance_id, "' sent what is no ", absl::string_view(what.data(), what.size()),
                            ": ", absl::string_view(why.data(), std::min<size_t>(why.size(), 200))),
               {{"instance_id", engine.instance_id}, {"model", engine.model_id}});
}

absl::StatusOr<v1::EmbedResponse> ReadOpenAiEmbeddings(const std::string& body, const Endpoint& engine) {
  const auto failed = [&](std::string_view why) { return NoAnswer(engine, "list of embeddings", why); };
  const Json json = Json::parse(body, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || !json.contains("data") || !json["data"].is_array()) return failed("no data");
  const Json& data = json["data"];
  v1::EmbedResponse response;
  for (size_t i = 0; i < data.size(); ++i) response.add_embeddings();
  for (size_t i = 0; i < data.size(); ++i) {
    const Json& item = data[i];
    if (!item.is_object() || !item.contains("embedding") || !item["embedding"].is_array())
      return failed("no vector");
    size_t index = i;
    if (item.contains("index") && item["index"].is_number_unsigned()) index = item["index"].get<size_t>();
    if (index >= data.size() || response.embeddings(static_cast<int>(index)).values_size() > 0) {
      return failed("an index that does not fit");
    }
    auto& vector = *response.mutable_embeddings(static_cast<int>(index));
    for (const Json& number : item["embedding"]) {
      if (!number.is_number()) return failed("a vector of other things than numbers");
      vector.add_values()->set_number_value(number.get<double>());
    }
    response.set_dimensions(vector.values_size());
  }
  if (json.contains("usage")) *response.mutable_usage() = ReadOpenAiUsage(json["usage"].dump());
  return response;
}

}  // namespace aima::inference
