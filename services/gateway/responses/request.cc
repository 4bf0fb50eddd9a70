#include "services/gateway/responses/request.h"

#include <absl/strings/str_cat.h>

#include "services/gateway/json_fields.h"

namespace aima::gateway::responses {
namespace {

using Json = nlohmann::json;

constexpr char kNotKept[] = "cannot be used: responses are not kept here; send the whole conversation as input";
constexpr char kUnknown[] = "is an unknown parameter";

// The content of a message: text, or parts with pictures among them.
void ReadContent(const JsonFields& item, Json& message) {
  const Json* content = item.Find("content");
  if (!content) return item.Refuse("content", "is required");
  if (content->is_string()) {
    message["content"] = *content;
    return;
  }
  if (!content->is_array()) return item.Refuse("content", "must be a string or a list of parts");
  Json parts = Json::array();
  std::string text;
  bool images = false;
  for (size_t i = 0; i < content->size(); ++i) {
    const JsonFields part((*content)[i], PathOf(item.At("content"), i), item.error());
    const std::string type = part.RequiredText("type");
    if (type == "input_text" || type == "output_text" || type == "text" || type == "refusal") {
      const std::string said = part.Text(type == "refusal" ? "refusal" : "text");
      if (!text.empty() && !said.empty()) text += '\n';
      text += said;
      parts.push_back({{"type", "text"}, {"text", said}});
    } else if (type == "input_image") {
      images = true;
      const std::string url = part.Text("image_url");
      if (url.empty()) part.Refuse("image_url", "is required: files are not kept here");
      Json image = {{"url", url}};
      if (const std::string detail = part.Text("detail"); !detail.empty()) image["detail"] = detail;
      parts.push_back({{"type", "image_url"}, {"image_url", std::move(image)}});
    } else {
      part.Refuse("type",
                  "must be input_text, output_text or input_image: other parts cannot be shown to the models here");
    }
  }
  if (images) {
    message["parts"] = std::move(parts);
  } else {
    message["content"] = text;
  }
}

// The result of a call: text, or parts of which the texts count.
std::string ReadOutput(const JsonFields& item) {
  const Json* output = item.Find("output");
  if (!output) item.Refuse("output", "is required");
  if (!output || output->is_string()) return output ? output->get<std::string>() : "";
  if (!output->is_array()) return DumpJson(*output);
  std::string text;
  for (size_t i = 0; i < output->size(); ++i) {
    const JsonFields part((*output)[i], PathOf(item.At("output"), i), item.error());
    if (part.RequiredText("type") != "input_text") part.Refuse("type", "must be input_text in the result of a call");
    if (!text.empty()) text += '\n';
    text += part.Text("text");
  }
  return text;
}

// Items become turns. What the model thought and called comes as items of its own before or after what it said, and is
// of one turn.
class Conversation {
 public:
  explicit Conversation(Json& messages) : messages_(messages) {}

  void Add(const Json& value, const std::string& path, absl::Status& error) {
    const JsonFields item(value, path, error);
    std::string type = item.Text("type");
    if (type.empty()) type = "message";
    if (type == "message") {
      AddMessage(item);
    } else if (type == "function_call") {
      Json call = {{"id", item.RequiredText("call_id")},
                   {"name", item.RequiredText("name")},
                   {"arguments", item.Text("arguments")}};
      Assistant()["tool_calls"].push_back(std::move(call));
    } else if (type == "function_call_output") {
      Flush();
      messages_.push_back(
          {{"role", "tool"}, {"tool_call_id", item.RequiredText("call_id")}, {"content", ReadOutput(item)}});
    } else if (type == "reasoning") {
      AddThoughts(item);
    } else if (type == "item_reference") {
      item.Refuse("type", kNotKept);
    } else {
      item.Refuse("type", absl::StrCat("'", type.substr(0, 100), "' cannot be shown to the models here"));
    }
  }

  void Flush() {
    if (assistant_.is_object()) messages_.push_back(std::move(assistant_));
    assistant_ = nullptr;
  }

 private:
  Json& Assistant() {
    if (!assistant_.is_object()) assistant_ = {{"role", "assistant"}, {"content", ""}};
    return assistant_;
  }
  void AddMessage(const JsonFields& item) {
    const std::string role = item.RequiredText("role");
    if (role != "user" && role != "assistant" && role != "system" && role != "developer") {
      return item.Refuse("role", "must be user, assistant, system or developer");
    }
    if (role == "assistant") {
      // What follows upon calls is another turn.
      if (assistant_.is_object() && (assistant_.contains("tool_calls") || assistant_["content"] != "")) Flush();
      return ReadContent(item, Assistant());
    }
    Flush();
    // Not every chat template knows developers, or more than one system prompt.
    Json message = {{"role", role == "developer" ? "system" : role}};
    ReadContent(item, message);
    const auto instructs = [](const Json& turn) { return turn["role"] == "system" && turn.contains("content"); };
    if (instructs(message) && messages_.size() == 1 && instructs(messages_[0])) {
      absl::StrAppend(&messages_[0]["content"].get_ref<std::string&>(), "\n\n",
                      message["content"].get_ref<const std::string&>());
      return;
    }
    messages_.push_back(std::move(message));
  }
  void AddThoughts(const JsonFields& item) {
    std::string thoughts;
    for (const char* key : {"summary", "content"}) {
      const Json* list = item.List(key);
      for (size_t i = 0; list && i < list->size(); ++i) {
        const JsonFields part((*list)[i], PathOf(item.At(key), i), item.error());
        if (!thoughts.empty()) thoughts += '\n';
        thoughts += part.Text("text");
      }
    }
    Flush();
    if (!thoughts.empty()) Assistant()["reasoning_content"] = thoughts;
  }

  Json& messages_;
  Json assistant_;  // a turn of the model that is not whole yet
};

Json ReadTools(const Json& list, absl::Status& error) {
  Json tools = Json::array();
  for (size_t i = 0; i < list.size(); ++i) {
    const JsonFields tool(list[i], PathOf("tools", i), error);
    const std::string type = tool.RequiredText("type");
    if (type != "function") {
      tool.Refuse("type",
                  absl::StrCat("must be function: '", type.substr(0, 100), "' is a tool that OpenAI runs itself"));
    }
    Json function = {{"name", tool.RequiredText("name")}};
    tool.Text("description");
    tool.Copy("description", function);
    tool.Object("parameters");
    tool.Copy("parameters", function);
    tool.Copy("strict", function);
    tools.push_back({{"type", "function"}, {"function", std::move(function)}});
  }
  return tools;
}

void ReadToolChoice(const JsonFields& fields, absl::Status& error, Json& input) {
  const Json* choice = fields.Find("tool_choice");
  if (!choice) return;
  if (*choice == "auto" || *choice == "none" || *choice == "required") {
    input["tool_choice"] = *choice;
  } else if (choice->is_object()) {
    const JsonFields object(*choice, "tool_choice", error);
    if (object.RequiredText("type") != "function") object.Refuse("type", "must be function");
    input["tool_choice"] = {{"type", "function"}, {"function", {{"name", object.RequiredText("name")}}}};
  } else {
    fields.Refuse("tool_choice", "must be auto, none, required or a function");
  }
}

void ReadForm(const JsonFields& fields, absl::Status& error, Json& input) {
  const Json* text = fields.Object("text");
  if (!text) return;
  const JsonFields config(*text, "text", error);
  const Json* object = config.Object("format");
  if (!object) return;
  const JsonFields format(*object, "text.format", error);
  const std::string type = format.RequiredText("type");
  if (type == "json_object") {
    input["response_format"] = {{"type", type}};
  } else if (type == "json_schema") {
    const Json* schema = format.Object("schema");
    if (!schema) return format.Refuse("schema", "is required");
    Json named = {{"name", format.RequiredText("name")}, {"schema", *schema}};
    format.Copy("strict", named);
    input["response_format"] = {{"type", type}, {"json_schema", std::move(named)}};
  } else if (type != "text") {
    format.Refuse("type", "must be text, json_object or json_schema");
  }
}

void ReadReasoning(const JsonFields& fields, absl::Status& error, Json& input) {
  const Json* object = fields.Object("reasoning");
  if (!object) return;
  const std::string effort = JsonFields(*object, "reasoning", error).Text("effort");
  if (effort == "none" || effort == "minimal") {
    input["engine_options"]["chat_template_kwargs"]["enable_thinking"] = false;
  } else if (!effort.empty()) {
    input["engine_options"]["reasoning_effort"] = effort == "xhigh" || effort == "max" ? "high" : effort;
  }
}

// What a response and a count of tokens have in common.
Json ReadConversation(const JsonFields& fields, absl::Status& error) {
  for (const char* key : {"previous_response_id", "conversation"}) {
    if (fields.Find(key)) fields.Refuse(key, kNotKept);
  }
  if (fields.Find("prompt")) fields.Refuse("prompt", "cannot be used: prompts are not kept here");
  Json input = {{"model", fields.RequiredText("model")}};
  Json& messages = input["messages"] = Json::array();
  if (const std::string instructions = fields.Text("instructions"); !instructions.empty()) {
    messages.push_back({{"role", "system"}, {"content", instructions}});
  }
  const Json* items = fields.Find("input");
  if (items && items->is_string()) {
    messages.push_back({{"role", "user"}, {"content", *items}});
  } else if (items && items->is_array() && !items->empty()) {
    Conversation conversation(messages);
    for (size_t i = 0; i < items->size() && error.ok(); ++i) conversation.Add((*items)[i], PathOf("input", i), error);
    conversation.Flush();
  } else {
    fields.Refuse("input", items ? "must be a string or a list of items" : "is required");
  }
  if (const Json* tools = fields.List("tools"); tools && !tools->empty()) input["tools"] = ReadTools(*tools, error);
  ReadToolChoice(fields, error, input);
  ReadForm(fields, error, input);
  ReadReasoning(fields, error, input);
  const Json* parallel = fields.Find("parallel_tool_calls");
  if (parallel) input["engine_options"]["parallel_tool_calls"] = fields.Bool("parallel_tool_calls", true);
  return input;
}

}  // namespace

absl::StatusOr<Asked> ReadResponse(const Json& body) {
  absl::Status error;
  const JsonFields fields(body, "", error);
  fields.AllowOnly({"background", "context_management", "conversation", "include", "input", "instructions",
                    "max_output_tokens", "max_tool_calls", "metadata", "model", "moderation", "parallel_tool_calls",
                    "previous_response_id", "prompt", "prompt_cache_key", "prompt_cache_options",
                    "prompt_cache_retention", "reasoning", "safety_identifier", "service_tier", "store", "stream", "stream_options", "temperature", "text", "tool_choice", "tools",
                    "top_logprobs", "top_p", "truncation", "user", "access_programs", "image"},
                   kUnknown);
  Asked asked;
  asked.input = ReadConversation(fields, error);
  asked.stream = fields.Bool("stream");
  if (fields.Bool("store")) fields.Refuse("store", "must be false: responses are not kept here");
  if (fields.Bool("background")) fields.Refuse("background", kNotKept);
  if (fields.Text("truncation") == "auto") fields.Refuse("truncation", "must be disabled: what is sent is sent whole");
  if (fields.Integer("top_logprobs").value_or(0) > 0) fields.Refuse("top_logprobs", "cannot be told here");
  if (const auto limit = fields.Integer("max_output_tokens")) asked.input["max_tokens"] = *limit;
  for (const char* key : {"temperature", "top_p"}) {
    if (const auto number = fields.Number(key)) asked.input[key] = *number;
  }
  fields.Object("metadata");
  asked.request = {{"model", asked.input["model"]}, {"parallel_tool_calls", fields.Bool("parallel_tool_calls", true)}};
  asked.request["tool_choice"] = "auto";
  asked.request["tools"] = Json::array();
  asked.request["metadata"] = Json::object();
  asked.request["text"] = {{"format", {{"type", "text"}}}};
  for (const char* key : {"instructions", "max_output_tokens", "temperature", "top_p", "reasoning"}) {
    asked.request[key] = nullptr;
  }
  for (const char* key : {"instructions", "max_output_tokens", "temperature", "top_p", "reasoning", "tool_choice",
                          "tools", "metadata", "text", "user", "safety_identifier", "prompt_cache_key", "max_tool_calls"}) {
    fields.Copy(key, asked.request);
  }
  if (!error.ok()) return error;
  return asked;
}

absl::StatusOr<Json> ReadInputTokens(const Json& body) {
  absl::Status error;
  const JsonFields fields(body, "", error);
  fields.AllowOnly({"conversation", "input", "instructions", "model", "parallel_tool_calls", "previous_response_id",
                    "reasoning", "text", "tool_choice", "tools", "truncation", "personality"},
                   kUnknown);
  Json input = ReadConversation(fields, error);
  if (!error.ok()) return error;
  return input;
}

}  // namespace aima::gateway::responses
