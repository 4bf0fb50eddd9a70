#include "services/gateway/mcp/testing/fixtures.h"

#include <absl/strings/str_cat.h>

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/this_coro.hpp>

#include "aima/unit/v1/errors.pb.h"
#include "libs/errors/errors.h"

namespace aima::gateway::mcp {
namespace {

namespace asio = boost::asio;

// One red pixel, and a sound without samples.
constexpr char kPng[] =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==";
constexpr char kWav[] = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQAAAAA=";

Task<void> Pause(int ms) {
  asio::steady_timer timer(co_await asio::this_coro::executor, std::chrono::milliseconds(ms));
  co_await timer.async_wait(asio::use_awaitable);
}

json Text(const std::string& text) { return {{"type", "text"}, {"text", text}}; }
json Image() { return {{"type", "image"}, {"data", kPng}, {"mimeType", "image/png"}}; }

Outcome Contents(json content) { return Outcome::Result(Dump({{"content", std::move(content)}})); }

json Object(json properties, json required = json::array()) {
  json schema = {{"type", "object"}, {"properties", std::move(properties)}};
  if (!required.empty()) schema["required"] = std::move(required);
  return schema;
}
const json kText = {{"type", "string"}};

json Elicit(const std::string& message, json properties, json required) {
  return {{"method", "elicitation/create"},
          {"params", {{"message", message}, {"requestedSchema", Object(std::move(properties), std::move(required))}}}};
}
json Sample(const std::string& prompt, int tokens) {
  json message = {{"role", "user"}, {"content", Text(prompt)}};
  return {{"method", "sampling/createMessage"}, {"params", {{"messages", json::array({message})}, {"maxTokens", tokens}}}};
}
json Roots() { return {{"method", "roots/list"}, {"params", json::object()}}; }

// What the client answered to `key`; null if it has not, or not with what was asked for.
const json& AnswerOf(const Input& input, const char* key) { return Member(input.responses, key); }

std::string ContentOf(const json& answer, const char* field) {
  return TextMember(Member(answer, "content"), field);
}

}  // namespace

Fixtures::Fixtures() {
  AddContentTools();
  AddWaitingTools();
  AddLegacyAskingTools();
  AddAskingTools();
  AddTaskTools();
  AddResourcesAndPrompts();
}

void Fixtures::AddTool(std::string name, Function function, json schema, TaskUse tasks) {
  if (schema.is_null()) schema = {{"type", "object"}, {"additionalProperties", false}};
  Tool tool;
  tool.name = tool.label = name;
  tool.domain = "fixtures";
  tool.tasks = tasks;
  const json properties = Member(schema, "properties");
  for (const auto& [property, description] : properties.items()) {
    if (const std::string header = TextMember(description, "x-mcp-header"); !header.empty()) {
      tool.headers.push_back({property, header});
    }
  }
  tool.entry = Dump({{"name", name}, {"description", "A fixture of the conformance suite."}, {"inputSchema", schema}});
  functions_[name] = std::move(function);
  tools_.push_back(std::move(tool));
}

Task<Outcome> Fixtures::CallTool(Call& call, const Tool& tool, const Input& input) {
  co_return co_await functions_.at(tool.name)(call, input);
}

void Fixtures::AddContentTools() {
  const auto fixed = [this](const char* name, json content) {
    AddTool(name, [content](Call&, const Input&) -> Task<Outcome> { co_return Contents(content); });
  };
  fixed("test_simple_text", json::array({Text("This is a simple text response for testing.")}));
  fixed("test_image_content", json::array({Image()}));
  fixed("test_audio_content", json::array({{{"type", "audio"}, {"data", kWav}, {"mimeType", "audio/wav"}}}));
  const auto resource = [](const char* uri, const char* type, const char* text) -> json {
    return {{"type", "resource"}, {"resource", {{"uri", uri}, {"mimeType", type}, {"text", text}}}};
  };
  fixed("test_embedded_resource",
        json::array({resource("test://embedded-resource", "text/plain", "This is an embedded resource content.")}));
  fixed("test_multiple_content_types",
        json::array({Text("Multiple content types test:"), Image(),
                     resource("test://mixed-content-resource", "application/json", R"({"test":"data","value":123})")}));
  AddTool("test_error_handling", [](Call&, const Input&) -> Task<Outcome> {
    co_return TextResult("This tool intentionally returns an error for testing", true);
  });
  const json address = {{"$anchor", "addressDef"}, {"type", "object"}, {"properties", {{"street", kText}, {"city", kText}}}};
  json schema = Object({{"address", {{"$ref", "#/$defs/address"}}},
                        {"contactMethod", {{"type", "string"}, {"enum", {"phone", "email"}}}},
                        {"phone", kText},
                        {"email", kText}});
  schema["$schema"] = "https://json-schema.org/draft/2020-12/schema";
  schema["$defs"] = {{"address", address}};
  const auto needs = [](const char* field) -> json { return {{"required", json::array({field})}}; };
  schema["allOf"] = json::array({{{"anyOf", json::array({needs("phone"), needs("email")})}}});
  schema["if"] = {{"properties", {{"contactMethod", {{"const", "phone"}}}}}, {"required", json::array({"contactMethod"})}};
  schema["then"] = needs("phone");
  schema["else"] = needs("email");
  schema["additionalProperties"] = false;
  AddTool("json_schema_2020_12_tool", [](Call&, const Input&) -> Task<Outcome> { co_return TextResult("ok"); }, schema);
  AddTool("test_header_parameter",
          [](Call&, const Input& input) -> Task<Outcome> { co_return TextResult(TextMember(input.arguments, "region")); },
          Object({{"region", {{"type", "string"}, {"x-mcp-header", "Region"}}}}, json::array({"region"})));
  for (const char* list : {"tool", "prompt"}) {
    AddTool(absl::StrCat("test_trigger_", list, "_change"), [this, list](Call&, const Input&) -> Task<Outcome> {
      on_change_(absl::StrCat(list, "s"));
      co_return TextResult("changed");
    });
  }
}

void Fixtures::AddWaitingTools() {
  const auto logging = [](Call& call, const Input&) -> Task<Outcome> {
    call.Log("info", "Tool execution started");
    co_await Pause(50);
    call.Log("info", "Tool processing data");
    co_await Pause(50);
    call.Log("info", "Tool execution completed");
    co_return TextResult("logged");
  };
  AddTool("test_tool_with_logging", logging);
  AddTool("test_logging_tool", logging);
  AddTool("test_tool_with_progress", [](Call& call, const Input&) -> Task<Outcome> {
    for (const int percent : {0, 50, 100}) {
      call.Progress(percent, 100, "");
      co_await Pause(50);
    }
    co_return TextResult("done");
  });
  AddTool("test_reconnection", [](Call& call, const Input&) -> Task<Outcome> {
    call.Disconnect();
    co_await Pause(200);
    co_return TextResult("the answer for a client that came back");
  });
}

void Fixtures::AddLegacyAskingTools() {
  const auto add = [this](const char* name, std::function<json(const Input&)> request, const char* begin, json schema = nullptr) {
    AddTool(name, [request, begin = std::string(begin)](Call&, const Input& input) -> Task<Outcome> {
      const json& answer = AnswerOf(input, "question");
      if (answer.is_null()) co_return Outcome::Ask({{"question", request(input)}});
      const std::string action = TextMember(answer, "action");
      const std::string sampled = ContentOf(answer, "text");
      co_return TextResult(absl::StrCat(begin, action.empty() ? sampled : absl::StrCat("action=", action, ", content=", Dump(Member(answer, "content")))));
    }, std::move(schema));
  };
  add("test_sampling", [](const Input& input) { return Sample(TextMember(input.arguments, "prompt"), 100); }, "LLM response: ",
      Object({{"prompt", kText}}, json::array({"prompt"})));
  add("test_missing_capability", [](const Input&) { return Sample("Nobody asks this.", 10); }, "");
  add("test_elicitation",
      [](const Input& input) {
        return Elicit(TextMember(input.arguments, "message"),
                      {{"username", {{"type", "string"}, {"description", "User's response"}}},
                       {"email", {{"type", "string"}, {"description", "User's email address"}}}},
                      json::array({"username", "email"}));
      },
      "User response: ", Object({{"message", kText}}, json::array({"message"})));
  add("test_elicitation_sep1034_defaults",
      [](const Input&) {
        return Elicit("Please review", {{"name", {{"type", "string"}, {"default", "John Doe"}}},
                                        {"age", {{"type", "integer"}, {"default", 30}}},
                                        {"score", {{"type", "number"}, {"default", 95.5}}},
                                        {"status", {{"type", "string"}, {"enum", {"active", "inactive", "pending"}}, {"default", "active"}}},
                                        {"verified", {{"type", "boolean"}, {"default", true}}}},
                      json::array());
      },
      "Elicitation completed: ");
  const auto choices = [] {
    return json::array({{{"const", "value1"}, {"title", "First"}}, {{"const", "value2"}, {"title", "Second"}}, {{"const", "value3"}, {"title", "Third"}}});
  };
  const json options = json::array({"option1", "option2", "option3"});
  const json enums = {
      {"untitledSingle", {{"type", "string"}, {"enum", options}}},
      {"titledSingle", {{"type", "string"}, {"oneOf", choices()}}},
      {"legacyEnum", {{"type", "string"}, {"enum", {"opt1", "opt2", "opt3"}}, {"enumNames", {"Option One", "Option Two", "Option Three"}}}},
      {"untitledMulti", {{"type", "array"}, {"items", {{"type", "string"}, {"enum", options}}}}},
      {"titledMulti", {{"type", "array"}, {"items", {{"anyOf", choices()}}}}}};
  add("test_elicitation_sep1330_enums", [enums](const Input&) { return Elicit("Please choose", enums, json::array()); },
      "Elicitation completed: ");
}

void Fixtures::AddAskingTools() {
  const json name_schema = {{"name", kText}};
  const json name_request = Elicit("What is your name?", name_schema, json::array({"name"}));
  const json confirm = Elicit("Please confirm", {{"ok", {{"type", "boolean"}}}}, json::array({"ok"}));

  const auto greet = [name_request](Call&, const Input& input) -> Task<Outcome> {
    const json& answer = AnswerOf(input, "user_name");
    if (answer.is_null()) co_return Outcome::Ask({{"user_name", name_request}});
    co_return TextResult(absl::StrCat("Hello, ", ContentOf(answer, "name"), "!"));
  };
  AddTool("test_input_required_result_elicitation", greet);
  AddTool("test_streaming_elicitation", greet);
  AddTool("test_input_required_result_sampling", [](Call&, const Input& input) -> Task<Outcome> {
    const json& answer = AnswerOf(input, "capital_question");
    if (answer.is_null()) co_return Outcome::Ask({{"capital_question", Sample("What is the capital of France?", 100)}});
    co_return TextResult(ContentOf(answer, "text"));
  });
  AddTool("test_input_required_result_list_roots", [](Call&, const Input& input) -> Task<Outcome> {
    const json& answer = AnswerOf(input, "client_roots");
    if (answer.is_null()) co_return Outcome::Ask({{"client_roots", Roots()}});
    co_return TextResult(Dump(Member(answer, "roots")));
  });
  for (const char* name : {"test_input_required_result_request_state", "test_input_required_result_tampered_state"}) {
    AddTool(name, [confirm](Call&, const Input& input) -> Task<Outcome> {
      if (AnswerOf(input, "confirm").is_null() || input.state != "waits for confirm") {
        co_return Outcome::Ask({{"confirm", confirm}}, "waits for confirm");
      }
      co_return TextResult("state-ok");
    });
  }
  AddTool("test_input_required_result_multiple_inputs", [name_request](Call&, const Input& input) -> Task<Outcome> {
    if (input.responses.size() < 3) {
      co_return Outcome::Ask({{"user_name", name_request}, {"greeting", Sample("Generate a greeting", 50)}, {"client_roots", Roots()}}, "asked");
    }
    co_return TextResult("all there");
  });
  AddTool("test_input_required_result_multi_round", [](Call&, const Input& input) -> Task<Outcome> {
    if (input.state == "2" && !AnswerOf(input, "step2").is_null()) co_return TextResult("three rounds");
    if (input.state == "1" && !AnswerOf(input, "step1").is_null()) {
      co_return Outcome::Ask({{"step2", Elicit("Step 2: What is your favorite color?", {{"color", kText}}, json::array({"color"}))}}, "2");
    }
    co_return Outcome::Ask({{"step1", Elicit("Step 1: What is your name?", {{"name", kText}}, json::array({"name"}))}}, "1");
  });
  AddTool("test_input_required_result_capabilities", [name_request](Call&, const Input& input) -> Task<Outcome> {
    if (!input.responses.empty()) co_return TextResult("answered");
    co_return Outcome::Ask({{"by_user", name_request}, {"by_model", Sample("Say something.", 20)}});
  });
}

void Fixtures::AddTaskTools() {
  AddTool("greet", [](Call&, const Input& input) -> Task<Outcome> {
    co_return TextResult(absl::StrCat("Hello, ", TextMember(input.arguments, "name"), "!"));
  }, Object({{"name", kText}}));
  AddTool("slow_compute", [](Call&, const Input& input) -> Task<Outcome> {
    const json& seconds = Member(input.arguments, "seconds");
    co_await Pause(static_cast<int>(1000 * (seconds.is_number() ? seconds.get<double>() : 0)));
    co_return TextResult(absl::StrCat("computed ", TextMember(input.arguments, "label")));
  }, Object({{"seconds", {{"type", "number"}}}, {"label", kText}}), TaskUse::kAlways);
  AddTool("failing_job", [](Call&, const Input&) -> Task<Outcome> { co_return TextResult("the job failed", true); }, nullptr,
          TaskUse::kRequired);
  AddTool("protocol_error_job", [](Call&, const Input&) -> Task<Outcome> {
    co_return Outcome::Failure(kInternalError, "the protocol failed");
  }, nullptr, TaskUse::kAlways);
  const json confirm = Elicit("Really?", {{"confirm", {{"type", "boolean"}}}}, json::array({"confirm"}));
  AddTool("confirm_delete", [confirm](Call&, const Input& input) -> Task<Outcome> {
    if (input.responses.empty()) co_return Outcome::Ask({{"confirm", confirm}});
    co_return TextResult("deleted");
  }, Object({{"filename", kText}}), TaskUse::kAlways);
  AddTool("multi_input", [confirm](Call&, const Input& input) -> Task<Outcome> {
    if (input.responses.size() < 2) co_return Outcome::Ask({{"first", confirm}, {"second", confirm}});
    co_return TextResult("both");
  }, nullptr, TaskUse::kAlways);
  AddTool("test_tool_with_task", [](Call&, const Input& input) -> Task<Outcome> {
    const json& answer = AnswerOf(input, "user_name");
    if (answer.is_null()) {
      co_return Outcome::Ask({{"user_name", Elicit("What is your name?", {{"name", kText}}, json::array({"name"}))}}, "asked");
    }
    co_return TextResult(absl::StrCat("Hello, ", ContentOf(answer, "name"), "!"));
  }, nullptr, TaskUse::kAfterInput);
}

// Resources and prompts.

void Fixtures::AddResourcesAndPrompts() {
  const auto resource = [this](const char* uri, const char* type, bool is_template = false) {
    const json entry = {{is_template ? "uriTemplate" : "uri", uri}, {"name", uri}, {"description", "A fixture."}, {"mimeType", type}};
    resources_.push_back({uri, is_template, unit::v1::READ, Dump(entry)});
  };
  resource("test://static-text", "text/plain");
  resource("test://static-binary", "image/png");
  resource("test://watched-resource", "text/plain");
  resource("test://template/{id}/data", "application/json", true);
  const auto prompt = [this](const char* name, std::vector<const char*> arguments = {}) {
    json list = json::array();
    for (const char* argument : arguments) list.push_back({{"name", argument}, {"description", "An argument."}, {"required", true}});
    prompts_.push_back({name, unit::v1::READ, Dump({{"name", name}, {"description", "A fixture."}, {"arguments", list}})});
  };
  prompt("test_simple_prompt");
  prompt("test_prompt_with_arguments", {"arg1", "arg2"});
  prompt("test_prompt_with_embedded_resource", {"resourceUri"});
  prompt("test_prompt_with_image");
  prompt("test_input_required_result_prompt");
}

Task<Outcome> Fixtures::GetPrompt(Call& call, const Prompt& prompt, const Input& input) {
  const auto say = [](json content) -> json { return {{"role", "user"}, {"content", std::move(content)}}; };
  json messages = json::array();
  if (prompt.name == "test_simple_prompt") {
    messages.push_back(say(Text("This is a simple prompt for testing.")));
  } else if (prompt.name == "test_prompt_with_arguments") {
    messages.push_back(say(Text(absl::StrCat("Prompt with arguments: arg1='", TextMember(input.arguments, "arg1"), "', arg2='",
                                             TextMember(input.arguments, "arg2"), "'"))));
  } else if (prompt.name == "test_prompt_with_embedded_resource") {
    messages.push_back(say({{"type", "resource"},
                            {"resource", {{"uri", TextMember(input.arguments, "resourceUri")},
                                          {"mimeType", "text/plain"},
                                          {"text", "Embedded resource content for testing."}}}}));
    messages.push_back(say(Text("Please process the embedded resource above.")));
  } else if (prompt.name == "test_prompt_with_image") {
    messages.push_back(say(Image()));
    messages.push_back(say(Text("Please analyze the image above.")));
  } else {
    const json& answer = AnswerOf(input, "user_context");
    if (answer.is_null()) {
      co_return Outcome::Ask({{"user_context", Elicit("What context should the prompt use?", {{"context", kText}}, json::array({"context"}))}});
    }
    messages.push_back(say(Text(absl::StrCat("In this context: ", ContentOf(answer, "context")))));
  }
  co_return Outcome::Result(Dump({{"messages", messages}}));
}

Task<absl::StatusOr<std::string>> Fixtures::Read(Call& call, const std::string& uri) {
  json content = {{"uri", uri}};
  const std::string begin = "test://template/", end = "/data";
  if (uri == "test://static-text" || uri == "test://watched-resource") {
    content["mimeType"] = "text/plain";
    content["text"] = "This is the content of the static text resource.";
  } else if (uri == "test://static-binary") {
    content["mimeType"] = "image/png";
    content["blob"] = kPng;
  } else if (uri.starts_with(begin) && uri.ends_with(end) && uri.size() > begin.size() + end.size()) {
    const std::string id = uri.substr(begin.size(), uri.size() - begin.size() - end.size());
    content["mimeType"] = "application/json";
    content["text"] = Dump({{"id", id}, {"templateTest", true}, {"data", "Data for ID: " + id}});
  } else {
    co_return Error(unit::v1::RESOURCE_NOT_FOUND, "there is no such fixture");
  }
  co_return Dump({{"contents", json::array({content})}});
}

Task<absl::Status> Fixtures::Watch(CallContext call, std::string uri, std::function<void()> ready,
                                   std::function<Task<absl::Status>()> changed) {
  ready();
  for (;;) {
    co_await Pause(100);
    const absl::Status told = co_await changed();
    if (!told.ok()) co_return told;
  }
}

}  // namespace aima::gateway::mcp
