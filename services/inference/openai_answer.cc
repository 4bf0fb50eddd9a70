// What engines that speak OpenAI's interface answer.
#include <absl/strings/str_cat.h>

#include <charconv>
#include <nlohmann/json.hpp>

#include "libs/base/status_macros.h"
#include "libs/errors/errors.h"
#include "services/inference/engine_error.h"
#include "services/inference/engine_json.h"
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

// How far llama.cpp is with reading: {"total", "cache", "processed", "time_ms"}.
v1::Usage ReadProgress(JsonCursor& json) {
  v1::Usage usage;
  std::string_view key;
  while (json.NextKey(key)) {
    const int64_t number = SaneTokens(IntegerOf(json.Skip()));
    if (key == "total") usage.set_prompt_tokens(number);
    if (key == "cache") usage.set_cached_tokens(number);
  }
  usage.set_total_tokens(usage.prompt_tokens());
  return usage;
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
  read.reset();
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
      usage.set_prompt_tokens(SaneTokens(IntegerOf(json.Skip())));
    } else if (key == "completion_tokens") {
      usage.set_completion_tokens(SaneTokens(IntegerOf(json.Skip())));
    } else if (key == "total_tokens") {
      usage.set_total_tokens(SaneTokens(IntegerOf(json.Skip())));
    } else if (key == "prompt_tokens_details" && json.EnterObject()) {
      while (json.NextKey(key)) {
        const std::string_view value = json.Skip();
        if (key == "cached_tokens" && value != "null") usage.set_cached_tokens(SaneTokens(IntegerOf(value)));
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
      } else if (key == "prompt_progress" && json.EnterObject()) {
        delta.read = ReadProgress(json);
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
  return EngineError(http_status, body, engine);
}

absl::StatusOr<v1::EmbedResponse> ReadOpenAiEmbeddings(const std::string& body, const Endpoint& engine) {
  const auto failed = [&](std::string_view why) { return NoAnswer(engine, "list of embeddings", why); };
  const Json json = ParseTree(body);
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
