#include "services/gateway/anthropic/messages_answer.h"

#include <absl/strings/str_cat.h>

#include <algorithm>

#include "libs/base/ids.h"
#include "libs/errors/errors.h"
#include "libs/http/sse.h"
#include "libs/unit/json_codec.h"
#include "services/gateway/json_fields.h"

namespace aima::gateway::anthropic {
namespace {

using Json = nlohmann::json;

std::string TextOf(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

int64_t NumberOf(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number() ? found->get<int64_t>() : 0;
}

bool HasCalls(const Json& answer) {
  const auto calls = answer.find("tool_calls");
  return calls != answer.end() && calls->is_array() && !calls->empty();
}

const char* StopReason(const Json& answer) {
  const std::string reason = TextOf(answer, "finish_reason");
  if (reason == "length") return "max_tokens";
  if (reason == "content_filter") return "refusal";
  if (reason == "tool_calls" || HasCalls(answer)) return "tool_use";
  return TextOf(answer, "stop_text").empty() ? "end_turn" : "stop_sequence";
}

// Anthropic counts what was read from a cache apart.
Json UsageOf(const Json& answer) {
  const Json usage = answer.value("usage", Json::object());
  const int64_t cached = std::max<int64_t>(NumberOf(usage, "cached_tokens"), 0);
  return {{"input_tokens", std::max(NumberOf(usage, "prompt_tokens"), cached) - cached},
          {"cache_creation_input_tokens", 0},
          {"cache_read_input_tokens", cached},
          {"output_tokens", NumberOf(usage, "completion_tokens")}};
}

Json StopOf(const Json& answer) {
  const std::string stop = TextOf(answer, "stop_text");
  const std::string reason = StopReason(answer);
  return {{"stop_reason", reason}, {"stop_sequence", reason == "stop_sequence" ? Json(stop) : Json()}};
}

std::string IdOf(const Json& call) {
  const std::string id = TextOf(call, "id");
  return id.empty() ? NewId("toolu_") : id;
}

Json CallBlock(const Json& call) {
  const std::string text = TextOf(call, "arguments");
  Json input = text.empty() ? Json::object() : ParseJsonText(text).value_or(Json());
  // Models make mistakes. The text is kept, so that the tool can say what is wrong with it.
  if (!input.is_object()) input = {{"arguments", text}};
  return {{"type", "tool_use"}, {"id", IdOf(call)}, {"name", TextOf(call, "name")}, {"input", std::move(input)}};
}

const char* ErrorType(int http_status) {
  switch (http_status) {
    case 401: return "authentication_error";
    case 403: return "permission_error";
    case 404: return "not_found_error";
    case 413: return "request_too_large";
    case 429: return "rate_limit_error";
    case 504: return "timeout_error";
  }
  return http_status < 500 ? "invalid_request_error" : "api_error";
}

void Event(const Json& data, std::string& out) {
  out += http::FormatSse(data["type"].get_ref<const std::string&>(), DumpJson(data));
}

}  // namespace

Json MessageOf(const Json& answer, const std::string& id, const std::string& model) {
  Json content = Json::array();
  if (const std::string thoughts = TextOf(answer, "reasoning_content"); !thoughts.empty()) {
    content.push_back({{"type", "thinking"}, {"thinking", thoughts}, {"signature", ""}});
  }
  if (const std::string text = TextOf(answer, "content"); !text.empty()) {
    content.push_back({{"type", "text"}, {"text", text}, {"citations", nullptr}});
  }
  if (HasCalls(answer)) {
    for (const Json& call : answer["tool_calls"]) content.push_back(CallBlock(call));
  }
  Json message = {{"id", id},           {"type", "message"},           {"role", "assistant"},
                  {"model", model},     {"content", std::move(content)}, {"usage", UsageOf(answer)}};
  message.update(StopOf(answer));
  return message;
}

Json ErrorBody(const absl::Status& status, int http_status, const std::string& request_id) {
  return {{"type", "error"},
          {"error", {{"type", ErrorType(http_status)}, {"message", gateway::MessageOf(status)}}},
          {"request_id", request_id}};
}

MessageStream::MessageStream(std::string id, std::string model, std::string request_id)
    : id_(std::move(id)), model_(std::move(model)), request_id_(std::move(request_id)) {}

void MessageStream::Begin(std::string& out) { BeginWith(Json::object(), out); }

void MessageStream::BeginWith(const Json& first, std::string& out) {
  Json message = MessageOf(Json::object(), id_, model_);
  message["stop_reason"] = nullptr;
  // Engines that do not tell it so early tell it at the end; the last message_delta has it in any case.
  message["usage"] = UsageOf(first);
  Event({{"type", "message_start"}, {"message", std::move(message)}}, out);
  out += alive();
}

void MessageStream::Open(Block kind, Json block, std::string& out) {
  Close(out);
  open_ = kind;
  Event({{"type", "content_block_start"}, {"index", ++block_}, {"content_block", std::move(block)}}, out);
}

void MessageStream::Close(std::string& out) {
  if (open_ == Block::kNone) return;
  open_ = Block::kNone;
  Event({{"type", "content_block_stop"}, {"index", block_}}, out);
}

void MessageStream::Delta(Json delta, std::string& out) {
  Event({{"type", "content_block_delta"}, {"index", block_}, {"delta", std::move(delta)}}, out);
}

void MessageStream::AddCallPart(const Json& part, std::string& out) {
  const int index = static_cast<int>(NumberOf(part, "index"));
  const std::string name = TextOf(part, "name");
  std::string arguments = TextOf(part, "arguments");
  if (index != call_ || open_ != Block::kTool) {
    if (index < call_) return;  // of a block that is closed: engines make one call after the other
    if (name.empty()) {
      nameless_ += arguments;
      return;
    }
    Open(Block::kTool, {{"type", "tool_use"}, {"id", IdOf(part)}, {"name", name}, {"input", Json::object()}}, out);
    call_ = index;
    arguments_ = 0;
    arguments.insert(0, std::exchange(nameless_, ""));
  }
  if (arguments.empty()) return;
  arguments_ += arguments.size();
  Delta({{"type", "input_json_delta"}, {"partial_json", std::move(arguments)}}, out);
}

// Engines that tell calls only as a whole.
void MessageStream::AddMissingCalls(const Json& calls, std::string& out) {
  for (int i = 0; i < static_cast<int>(calls.size()); ++i) {
    const Json& call = calls[i];
    if (i < call_ || (i == call_ && open_ != Block::kTool)) continue;
    const std::string arguments = TextOf(call, "arguments");
    if (i == call_) {
      if (arguments.size() <= arguments_) continue;
      Delta({{"type", "input_json_delta"}, {"partial_json", arguments.substr(arguments_)}}, out);
      arguments_ = arguments.size();
    } else {
      nameless_.clear();
      Json whole = call;
      whole["index"] = i;
      AddCallPart(whole, out);
    }
  }
}

void MessageStream::Add(const Json& chunk, std::string& out) {
  if (const std::string thoughts = TextOf(chunk, "reasoning_content"); !thoughts.empty()) {
    if (open_ != Block::kThinking) {
      Open(Block::kThinking, {{"type", "thinking"}, {"thinking", ""}, {"signature", ""}}, out);
    }
    Delta({{"type", "thinking_delta"}, {"thinking", thoughts}}, out);
  }
  if (const std::string text = TextOf(chunk, "content"); !text.empty()) {
    if (open_ != Block::kText) Open(Block::kText, {{"type", "text"}, {"text", ""}, {"citations", nullptr}}, out);
    Delta({{"type", "text_delta"}, {"text", text}}, out);
  }
  if (const auto parts = chunk.find("tool_call_deltas"); parts != chunk.end() && parts->is_array()) {
    for (const Json& part : *parts) AddCallPart(part, out);
  }
  if (!chunk.contains("finish_reason")) return;
  if (HasCalls(chunk)) AddMissingCalls(chunk["tool_calls"], out);
  Close(out);
  ended_ = true;
  Event({{"type", "message_delta"}, {"delta", StopOf(chunk)}, {"usage", UsageOf(chunk)}}, out);
}

void MessageStream::End(std::string& out) {
  if (!ended_) return Fail(absl::InternalError("the answer ended without saying why"), out);
  Event({{"type", "message_stop"}}, out);
}

void MessageStream::Fail(const absl::Status& status, std::string& out) {
  Event(ErrorBody(status, HttpStatusOf(status), request_id_), out);
}

}  // namespace aima::gateway::anthropic
