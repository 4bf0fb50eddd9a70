#include "services/gateway/anthropic/messages_request.h"

#include <absl/strings/str_cat.h>

#include "services/gateway/json_fields.h"

namespace aima::gateway::anthropic {
namespace {

using Json = nlohmann::json;

constexpr char kUnknown[] = "Extra inputs are not permitted";

void AppendLine(const std::string& text, std::string& to) {
  if (!to.empty() && !text.empty()) to += '\n';
  to += text;
}

// Blocks of text as one text.
std::string TextOf(const Json& value, const std::string& path, absl::Status& error) {
  if (value.is_string()) return value.get<std::string>();
  std::string text;
  if (!value.is_array()) {
    if (error.ok()) JsonFields(Json::object(), "", error).Refuse(path, "must be a string or a list of blocks");
    return text;
  }
  for (size_t i = 0; i < value.size(); ++i) {
    const JsonFields block(value[i], PathOf(path, i), error);
    if (block.RequiredText("type") != "text") block.Refuse("type", "must be text");
    AppendLine(block.Text("text"), text);
  }
  return text;
}

// An image as OpenAI writes it.
Json ImagePart(const JsonFields& block) {
  static const Json kNone = Json::object();
  const Json* object = block.Object("source");
  if (!object) block.Refuse("source", "is required");
  const JsonFields source(object ? *object : kNone, block.At("source"), block.error());
  const std::string type = source.Text("type");
  std::string url;
  if (type == "base64") {
    url = absl::StrCat("data:", source.RequiredText("media_type"), ";base64,", source.RequiredText("data"));
  } else if (type == "url") {
    url = source.RequiredText("url");
  } else if (object) {
    source.Refuse("type", "must be base64 or url");
  }
  return {{"type", "image_url"}, {"image_url", {{"url", url}}}};
}

// What a turn of the user says, besides the results of calls.
class UserTurn {
 public:
  void AddText(const std::string& text) {
    if (text.empty()) return;
    parts_.push_back({{"type", "text"}, {"text", text}});
  }
  void AddImage(Json part) {
    parts_.push_back(std::move(part));
    images_ = true;
  }
  bool empty() const { return parts_.empty(); }
  Json Message() const {
    Json message = {{"role", "user"}};
    if (images_) {
      message["parts"] = parts_;
    } else {
      std::string text;
      for (const Json& part : parts_) AppendLine(part["text"].get_ref<const std::string&>(), text);
      message["content"] = text;
    }
    return message;
  }

 private:
  Json parts_ = Json::array();
  bool images_ = false;
};

// The answer to a call. Pictures in it are shown to the model with the turn that it belongs to.
Json ToolResult(const JsonFields& block, UserTurn& turn) {
  const std::string id = block.RequiredText("tool_use_id");
  std::string text;
  const Json* content = block.Find("content");
  if (content && content->is_string()) {
    text = content->get<std::string>();
  } else if (const Json* list = block.List("content")) {
    for (size_t i = 0; i < list->size(); ++i) {
      const JsonFields part((*list)[i], PathOf(block.At("content"), i), block.error());
      const std::string type = part.RequiredText("type");
      if (type == "text") {
        AppendLine(part.Text("text"), text);
      } else if (type == "image") {
        turn.AddText(absl::StrCat("Picture in the result of ", id, ":"));
        turn.AddImage(ImagePart(part));
      } else {
        part.Refuse("type", "must be text or image: other blocks cannot be shown to the models here");
      }
    }
  }
  if (block.Bool("is_error")) text = absl::StrCat("Error: ", text);
  return {{"role", "tool"}, {"tool_call_id", id}, {"content", text}};
}

void AddUserTurn(const Json& blocks, const std::string& path, absl::Status& error, Json& messages) {
  UserTurn turn;
  for (size_t i = 0; i < blocks.size(); ++i) {
    const JsonFields block(blocks[i], PathOf(path, i), error);
    const std::string type = block.RequiredText("type");
    if (type == "text") {
      turn.AddText(block.Text("text"));
    } else if (type == "image") {
      turn.AddImage(ImagePart(block));
    } else if (type == "tool_result") {
      // Results come right after the calls, whatever else the turn says.
      messages.push_back(ToolResult(block, turn));
    } else {
      block.Refuse("type", "must be text, image or tool_result: other blocks cannot be shown to the models here");
    }
  }
  if (!turn.empty()) messages.push_back(turn.Message());
}

void AddAssistantTurn(const Json& blocks, const std::string& path, absl::Status& error, Json& messages) {
  Json message = {{"role", "assistant"}};
  std::string text;
  std::string thoughts;
  Json calls = Json::array();
  for (size_t i = 0; i < blocks.size(); ++i) {
    const JsonFields block(blocks[i], PathOf(path, i), error);
    const std::string type = block.RequiredText("type");
    if (type == "text") {
      text += block.Text("text");
    } else if (type == "thinking") {
      AppendLine(block.Text("thinking"), thoughts);
    } else if (type == "tool_use") {
      const Json* input = block.Object("input");
      calls.push_back({{"id", block.RequiredText("id")},
                       {"name", block.RequiredText("name")},
                       {"arguments", input ? DumpJson(*input) : "{}"}});
    } else if (type != "redacted_thinking") {
      block.Refuse("type", "must be text, thinking or tool_use: other blocks cannot be shown to the models here");
    }
  }
  message["content"] = text;
  if (!thoughts.empty()) message["reasoning_content"] = thoughts;
  if (!calls.empty()) message["tool_calls"] = std::move(calls);
  messages.push_back(std::move(message));
}

void AddTurn(const Json& value, const std::string& path, absl::Status& error, Json& messages) {
  const JsonFields turn(value, path, error);
  const std::string role = turn.RequiredText("role");
  if (role != "user" && role != "assistant" && role != "system") {
    return turn.Refuse("role", "must be user, assistant or system");
  }
  const Json* content = turn.Find("content");
  if (!content) return turn.Refuse("content", "is required");
  if (content->is_string()) return messages.push_back({{"role", role}, {"content", *content}});
  const std::string at = turn.At("content");
  if (role == "system") return messages.push_back({{"role", role}, {"content", TextOf(*content, at, error)}});
  if (!content->is_array()) return turn.Refuse("content", "must be a string or a list of blocks");
  role == "user" ? AddUserTurn(*content, at, error, messages) : AddAssistantTurn(*content, at, error, messages);
}

Json ReadTools(const Json& list, const std::string& path, absl::Status& error) {
  Json tools = Json::array();
  for (size_t i = 0; i < list.size(); ++i) {
    const JsonFields tool(list[i], PathOf(path, i), error);
    const std::string type = tool.Text("type");
    if (!type.empty() && type != "custom") {
      tool.Refuse("type",
                  absl::StrCat("must be custom: '", type.substr(0, 100), "' is a tool of Anthropic's own models"));
    }
    Json function = {{"name", tool.RequiredText("name")}};
    tool.Text("description");
    tool.Copy("description", function);
    tool.Object("input_schema");
    tool.Copy("input_schema", function, "parameters");
    tool.Copy("strict", function);
    tools.push_back({{"type", "function"}, {"function", std::move(function)}});
  }
  return tools;
}

void ReadToolChoice(const JsonFields& choice, Json& input) {
  const std::string type = choice.RequiredText("type");
  if (type == "auto" || type == "none") {
    input["tool_choice"] = type;
  } else if (type == "any") {
    input["tool_choice"] = "required";
  } else if (type == "tool") {
    input["tool_choice"] = {{"type", "function"}, {"function", {{"name", choice.RequiredText("name")}}}};
  } else {
    choice.Refuse("type", "must be auto, any, tool or none");
  }
  if (choice.Bool("disable_parallel_tool_use")) input["engine_options"]["parallel_tool_calls"] = false;
}

void ReadThinking(const JsonFields& thinking, Json& input) {
  const std::string type = thinking.RequiredText("type");
  Json& options = input["engine_options"];
  if (type == "enabled") {
    options["chat_template_kwargs"]["enable_thinking"] = true;
    if (const auto budget = thinking.Integer("budget_tokens")) options["thinking_budget_tokens"] = *budget;
  } else if (type == "disabled") {
    options["chat_template_kwargs"]["enable_thinking"] = false;
  } else if (type != "adaptive" && type != "between_tools") {  // those are how models do by themselves
    thinking.Refuse("type", "must be enabled, disabled or adaptive");
  }
}

void ReadOutputForm(const JsonFields& format, Json& input) {
  if (format.RequiredText("type") != "json_schema") format.Refuse("type", "must be json_schema");
  const Json* schema = format.Object("schema");
  if (!schema) return format.Refuse("schema", "is required");
  input["response_format"] = {{"type", "json_schema"},
                              {"json_schema", {{"name", "answer"}, {"schema", *schema}, {"strict", true}}}};
}

// What both requests have.
Json ReadConversation(const JsonFields& body, absl::Status& error) {
  Json input = {{"model", body.RequiredText("model")}};
  Json& messages = input["messages"] = Json::array();
  if (const Json* system = body.Find("system")) {
    messages.push_back({{"role", "system"}, {"content", TextOf(*system, "system", error)}});
  }
  const Json* turns = body.List("messages");
  if (!turns || turns->empty()) body.Refuse("messages", "at least one message is required");
  for (size_t i = 0; turns && i < turns->size() && error.ok(); ++i) {
    AddTurn((*turns)[i], PathOf("messages", i), error, messages);
  }
  const Json* tools = body.List("tools");
  if (tools && !tools->empty()) input["tools"] = ReadTools(*tools, "tools", error);
  if (const Json* choice = body.Object("tool_choice")) ReadToolChoice({*choice, "tool_choice", error}, input);
  if (const Json* thinking = body.Object("thinking")) ReadThinking({*thinking, "thinking", error}, input);
  if (const Json* output = body.Object("output_config")) {
    const JsonFields config(*output, "output_config", error);
    if (const Json* format = config.Object("format")) ReadOutputForm({*format, "output_config.format", error}, input);
    const std::string effort = config.Text("effort");
    if (!effort.empty()) {
      input["engine_options"]["reasoning_effort"] = effort == "xhigh" || effort == "max" ? "high" : effort;
    }
  }
  if (const Json* format = body.Object("output_format")) ReadOutputForm({*format, "output_format", error}, input);
  if (const Json* servers = body.List("mcp_servers"); servers && !servers->empty()) {
    body.Refuse("mcp_servers", "cannot be called from here; give their tools as tools");
  }
  return input;
}

}  // namespace

absl::StatusOr<Asked> ReadMessages(const Json& body, bool beta) {
  absl::Status error;
  const JsonFields fields(body, "", error);
  if (!beta) {
    fields.AllowOnly({"model", "messages", "max_tokens", "system", "stop_sequences", "stream", "temperature", "top_k",
                      "top_p", "tools", "tool_choice", "thinking", "output_config", "output_format", "metadata", "service_tier",
                      "cache_control", "container", "context_management", "diagnostics", "inference_geo", "speed",
                      "mcp_servers", "user_profile_id", "workspace_id"},
                     kUnknown);
  }
  Asked asked;
  asked.input = ReadConversation(fields, error);
  asked.model = asked.input["model"].get<std::string>();
  asked.stream = fields.Bool("stream");
  if (asked.stream) asked.input["usage_first"] = true;
  const auto max_tokens = fields.Integer("max_tokens");
  if (!max_tokens) fields.Refuse("max_tokens", "is required");
  if (max_tokens && *max_tokens < 1) fields.Refuse("max_tokens", "must be at least 1");
  asked.input["max_tokens"] = max_tokens.value_or(1);
  for (const char* key : {"temperature", "top_p"}) {
    if (const auto number = fields.Number(key)) asked.input[key] = *number;
  }
  if (const auto top_k = fields.Integer("top_k")) asked.input["engine_options"]["top_k"] = *top_k;
  if (const Json* stops = fields.List("stop_sequences"); stops && !stops->empty()) {
    for (size_t i = 0; i < stops->size(); ++i) {
      if (!(*stops)[i].is_string()) fields.Refuse(PathOf("stop_sequences", i), "must be a string");
    }
    asked.input["stop"] = *stops;
  }
  if (!error.ok()) return error;
  return asked;
}

absl::StatusOr<Json> ReadCountTokens(const Json& body, bool beta) {
  absl::Status error;
  const JsonFields fields(body, "", error);
  if (!beta) {
    fields.AllowOnly({"model", "messages", "system", "tools", "tool_choice", "thinking", "output_config",
                      "output_format", "cache_control", "context_management", "mcp_servers", "speed", "user_profile_id", "workspace_id"},
                     kUnknown);
  }
  Json input = ReadConversation(fields, error);
  if (!error.ok()) return error;
  return input;
}

}  // namespace aima::gateway::anthropic
