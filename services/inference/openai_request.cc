// What is sent to engines that speak OpenAI's interface.
#include <absl/strings/str_cat.h>

#include "libs/base/status_macros.h"
#include "libs/errors/errors.h"
#include "libs/unit/json_codec.h"
#include "services/inference/object_writer.h"
#include "services/inference/openai_dialect.h"

namespace aima::inference {
namespace {

constexpr char kLlamaCpp[] = "llamacpp";

// The fields that chat and completion share.
template <class Request>
absl::Status WriteSampling(const Request& request, ObjectWriter& body) {
  body.Key("stream") += "true";
  body.Key("stream_options") += R"({"include_usage":true})";
  if (request.has_temperature()) body.Number("temperature", request.temperature());
  if (request.has_max_tokens()) body.Integer("max_tokens", request.max_tokens());
  if (request.has_top_p()) body.Number("top_p", request.top_p());
  if (request.has_seed()) body.Integer("seed", request.seed());
  if (request.has_frequency_penalty()) body.Number("frequency_penalty", request.frequency_penalty());
  if (request.has_presence_penalty()) body.Number("presence_penalty", request.presence_penalty());
  if (request.stop_size() > 0) body.Texts("stop", request.stop());
  static constexpr const char* kOwn[] = {
      "model",       "messages",   "prompt", "stream", "stream_options",    "max_tokens",       "n",
      "temperature", "top_p",      "stop",   "seed",   "frequency_penalty", "presence_penalty", "response_format",
      "tools",       "tool_choice"};
  RETURN_IF_ERROR(AppendEngineOptions(request.engine_options(), kOwn, body));
  return absl::OkStatus();
}

void AppendToolCalls(const v1::Message& message, std::string& out) {
  out += '[';
  for (int i = 0; i < message.tool_calls_size(); ++i) {
    const v1::ToolCall& call = message.tool_calls(i);
    ObjectWriter function;
    function.Text("name", call.name());
    function.Text("arguments", call.arguments());
    ObjectWriter tool;
    tool.Text("id", call.id());
    tool.Text("type", "function");
    tool.Key("function") += std::move(function).Finish();
    if (i > 0) out += ',';
    out += std::move(tool).Finish();
  }
  out += ']';
}

std::string MessageJson(const v1::Message& message) {
  ObjectWriter json;
  json.Text("role", message.role());
  std::string& content = json.Key("content");
  if (message.parts_size() > 0) {
    content += '[';
    if (!message.content().empty()) {
      content += R"({"type":"text","text":)";
      AppendJsonString(message.content(), content);
      content += '}';
    }
    for (const auto& part : message.parts()) {
      if (content.back() != '[') content += ',';
      AppendJson(part, content);
    }
    content += ']';
  } else if (message.content().empty() && message.tool_calls_size() > 0) {
    content += "null";
  } else {
    AppendJsonString(message.content(), content);
  }
  if (!message.reasoning_content().empty()) json.Text("reasoning_content", message.reasoning_content());
  if (!message.name().empty()) json.Text("name", message.name());
  if (!message.tool_call_id().empty()) json.Text("tool_call_id", message.tool_call_id());
  if (message.tool_calls_size() > 0) AppendToolCalls(message, json.Key("tool_calls"));
  return std::move(json).Finish();
}

}  // namespace

absl::StatusOr<EngineRequest> OpenAiDialect::Chat(const v1::ChatRequest& request, const Endpoint& engine) const {
  ObjectWriter body;
  body.Text("model", engine.served_name);
  std::string& messages = body.Key("messages");
  messages += '[';
  for (const v1::Message& message : request.messages()) {
    if (messages.back() != '[') messages += ',';
    messages += MessageJson(message);
  }
  if (!request.message().empty()) {
    if (messages.back() != '[') messages += ',';
    messages += R"({"role":"user","content":)";
    AppendJsonString(request.message(), messages);
    messages += '}';
  }
  messages += ']';
  RETURN_IF_ERROR(WriteSampling(request, body));
  if (request.usage_first() && engine.engine == kLlamaCpp && !request.engine_options().fields().contains("return_progress")) {
    body.Key("return_progress") += "true";
  }
  // Otherwise llama.cpp does not tell at which text it stopped.
  if (request.stop_size() > 0 && engine.engine == kLlamaCpp && !request.engine_options().fields().contains("verbose")) {
    body.Key("verbose") += "true";
  }
  if (request.has_response_format()) body.Json("response_format", request.response_format());
  if (request.has_tool_choice()) body.Json("tool_choice", request.tool_choice());
  if (request.tools_size() > 0) {
    std::string& out = body.Key("tools");
    out += '[';
    for (const auto& tool : request.tools()) {
      if (out.back() != '[') out += ',';
      AppendJson(tool, out);
    }
    out += ']';
  }
  return EngineRequest{"/v1/chat/completions", std::move(body).Finish()};
}

absl::StatusOr<EngineRequest> OpenAiDialect::Complete(const v1::CompleteRequest& request,
                                                      const Endpoint& engine) const {
  ObjectWriter body;
  body.Text("model", engine.served_name);
  body.Text("prompt", request.prompt());
  RETURN_IF_ERROR(WriteSampling(request, body));
  return EngineRequest{"/v1/completions", std::move(body).Finish()};
}

absl::StatusOr<Exchange<v1::EmbedResponse>> OpenAiDialect::Embed(const v1::EmbedRequest& request,
                                                                 const Endpoint& engine) const {
  ObjectWriter body;
  body.Text("model", engine.served_name);
  body.Texts("input", request.input());
  body.Text("encoding_format", "float");
  if (request.has_dimensions()) body.Integer("dimensions", request.dimensions());
  Exchange<v1::EmbedResponse> exchange;
  exchange.request = {"/v1/embeddings", std::move(body).Finish()};
  exchange.read = [engine](const EngineAnswer& answer) { return ReadOpenAiEmbeddings(answer.body, engine); };
  return exchange;
}

}  // namespace aima::inference
