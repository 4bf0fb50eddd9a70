// Translation of Anthropic's Messages API, as functions of JSON.
#include <gmock/gmock.h>

#include "aima/inference/v1/inference.pb.h"
#include "libs/errors/errors.h"
#include "libs/http/sse.h"
#include "libs/testing/status_matchers.h"
#include "services/gateway/anthropic/messages_answer.h"
#include "services/gateway/anthropic/messages_request.h"
#include "services/gateway/json_fields.h"

namespace aima::gateway::anthropic {
namespace {

using aima::testing::IsOk;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Json = nlohmann::json;

// A request with these members besides model, max_tokens and a question.
Json With(const std::string& members) {
  Json body = Json::parse(R"({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]})");
  body.update(Json::parse(members));
  return body;
}

Json InputOf(const std::string& members) {
  const auto asked = ReadMessages(With(members), false);
  EXPECT_THAT(asked, IsOk());
  return asked.ok() ? asked->input : Json();
}

std::string ErrorOf(const std::string& members, bool beta = false) {
  return gateway::MessageOf(ReadMessages(With(members), beta).status());
}

TEST(MessagesRequest, AQuestionIsAChat) {
  const auto asked = ReadMessages(With(R"({"stream": true, "temperature": 0.5, "top_p": 0.9, "top_k": 5,
      "stop_sequences": ["END"], "metadata": {"user_id": "u"}})"), false);
  ASSERT_THAT(asked, IsOk());
  EXPECT_TRUE(asked->stream);
  EXPECT_EQ(asked->model, "m");
  EXPECT_EQ(asked->input, Json::parse(R"({"model": "m", "max_tokens": 9, "temperature": 0.5, "top_p": 0.9, "stop": ["END"], "usage_first": true,
      "engine_options": {"top_k": 5}, "messages": [{"role": "user", "content": "Hi"}]})"));
}

TEST(MessagesRequest, TheSystemPromptIsTheFirstTurnAsTextOrBlocks) {
  EXPECT_EQ(InputOf(R"({"system": "Be brief."})")["messages"][0], Json::parse(R"({"role": "system", "content": "Be brief."})"));
  EXPECT_EQ(InputOf(R"({"system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}},
                                   {"type": "text", "text": "Be kind."}]})")["messages"][0]["content"],
            "Be brief.\nBe kind.");
}

TEST(MessagesRequest, PicturesAreParts) {
  const Json input = InputOf(R"({"messages": [{"role": "user", "content": [
      {"type": "text", "text": "What is this?"},
      {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
      {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}}]}]})");
  EXPECT_EQ(input["messages"], Json::parse(R"([{"role": "user", "parts": [
      {"type": "text", "text": "What is this?"},
      {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
      {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}]}])"));
}

TEST(MessagesRequest, CallsAndTheirResultsKeepTheirIdsAndResultsComeFirst) {
  const Json input = InputOf(R"({"messages": [
      {"role": "user", "content": "Weather?"},
      {"role": "assistant", "content": [
        {"type": "thinking", "thinking": "Look it up.", "signature": "s"},
        {"type": "text", "text": "Let me see."},
        {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Paris"}},
        {"type": "tool_use", "id": "t2", "name": "time", "input": {}}]},
      {"role": "user", "content": [
        {"type": "text", "text": "Go on."},
        {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "Sunny"}, {"type": "text", "text": "20 C"}]},
        {"type": "tool_result", "tool_use_id": "t2", "content": "no clock", "is_error": true}]}]})");
  EXPECT_EQ(input["messages"], Json::parse(R"([
      {"role": "user", "content": "Weather?"},
      {"role": "assistant", "content": "Let me see.", "reasoning_content": "Look it up.", "tool_calls": [
        {"id": "t1", "name": "weather", "arguments": "{\"city\":\"Paris\"}"}, {"id": "t2", "name": "time", "arguments": "{}"}]},
      {"role": "tool", "tool_call_id": "t1", "content": "Sunny\n20 C"},
      {"role": "tool", "tool_call_id": "t2", "content": "Error: no clock"},
      {"role": "user", "content": "Go on."}])"));
}

TEST(MessagesRequest, ToolsAndTheirChoiceAreThoseOfOpenAi) {
  const Json input = InputOf(R"({"tools": [{"name": "f", "description": "does f", "input_schema": {"type": "object"}}],
                                 "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": true}})");
  EXPECT_EQ(input["tools"], Json::parse(R"([{"type": "function", "function":
      {"name": "f", "description": "does f", "parameters": {"type": "object"}}}])"));
  EXPECT_EQ(input["tool_choice"], Json::parse(R"({"type": "function", "function": {"name": "f"}})"));
  EXPECT_EQ(input["engine_options"]["parallel_tool_calls"], false);
  EXPECT_EQ(InputOf(R"({"tool_choice": {"type": "any"}})")["tool_choice"], "required");
  EXPECT_EQ(InputOf(R"({"tool_choice": {"type": "auto"}})")["tool_choice"], "auto");
  EXPECT_EQ(InputOf(R"({"tool_choice": {"type": "none"}})")["tool_choice"], "none");
}

TEST(MessagesRequest, ThinkingAndTheFormOfTheAnswerAreTold) {
  const Json thinking = InputOf(R"({"thinking": {"type": "enabled", "budget_tokens": 2000}})")["engine_options"];
  EXPECT_EQ(thinking, Json::parse(R"({"chat_template_kwargs": {"enable_thinking": true}, "thinking_budget_tokens": 2000})"));
  EXPECT_EQ(InputOf(R"({"thinking": {"type": "disabled"}})")["engine_options"]["chat_template_kwargs"]["enable_thinking"], false);
  const Json form = InputOf(R"({"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}})");
  EXPECT_EQ(form["response_format"]["json_schema"]["schema"]["type"], "object");
}

TEST(MessagesRequest, WhatIsWrongIsNamedAsAnthropicNamesIt) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"messages": []})", "messages: at least one"},
      {R"({"messages": "text"})", "messages: must be a list"},
      {R"({"messages": [5]})", "messages.0: must be an object"},
      {R"({"messages": [{"role": "robot", "content": "x"}]})", "messages.0.role: must be"},
      {R"({"messages": [{"role": "user"}]})", "messages.0.content: is required"},
      {R"({"messages": [{"role": "user", "content": 5}]})", "messages.0.content: must be a string or a list"},
      {R"({"messages": [{"role": "user", "content": [{"type": "video"}]}]})", "messages.0.content.0.type"},
      {R"({"messages": [{"role": "user", "content": [{"type": "image"}]}]})", "messages.0.content.0.source: is required"},
      {R"({"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "file"}}]}]})", "source.type"},
      {R"({"messages": [{"role": "user", "content": [{"type": "tool_result"}]}]})", "messages.0.content.0.tool_use_id"},
      {R"({"messages": [{"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "b", "input": 1}]}]})",
       "messages.0.content.0.input: must be an object"},
      {R"({"max_tokens": null})", "max_tokens: is required"},
      {R"({"max_tokens": 0})", "max_tokens: must be at least 1"},
      {R"({"max_tokens": 1.5})", "max_tokens: must be an integer"},
      {R"({"max_tokens": 1e300})", "max_tokens: must be an integer"},
      {R"({"model": 5})", "model: must be a string"},
      {R"({"model": ""})", "model: is required"},
      {R"({"temperature": "hot"})", "temperature: must be a number"},
      {R"({"stream": "yes"})", "stream: must be true or false"},
      {R"({"system": 5})", "system: must be a string or a list"},
      {R"({"system": [{"type": "image"}]})", "system.0.type: must be text"},
      {R"({"stop_sequences": [1]})", "stop_sequences.0: must be a string"},
      {R"({"tools": [{"type": "web_search_20250305", "name": "web_search"}]})", "tools.0.type: must be custom"},
      {R"({"tools": [{}]})", "tools.0.name: is required"},
      {R"({"tool_choice": {"type": "maybe"}})", "tool_choice.type"},
      {R"({"thinking": {"type": "much"}})", "thinking.type"},
      {R"({"mcp_servers": [{}]})", "mcp_servers"},
      {R"({"max_token": 5})", "max_token: Extra inputs are not permitted"},
  };
  for (const auto& [members, expected] : cases) EXPECT_THAT(ErrorOf(members), HasSubstr(expected)) << members;
  EXPECT_FALSE(ReadMessages(Json::array(), false).ok());
}

TEST(MessagesRequest, FieldsOfBetasPassForThoseWhoSayThatTheyUseThem) {
  EXPECT_EQ(ErrorOf(R"({"some_new_thing": {}})", true), "");
  EXPECT_THAT(ErrorOf(R"({"some_new_thing": {}})", false), HasSubstr("some_new_thing"));
}

TEST(MessagesRequest, TokensAreCountedOfTheSameConversation) {
  Json body = With(R"({"system": "S", "tools": [{"name": "f", "input_schema": {}}]})");
  EXPECT_THAT(gateway::MessageOf(ReadCountTokens(body, false).status()), HasSubstr("max_tokens")) << "it is no part of this request";
  body.erase("max_tokens");
  const auto input = ReadCountTokens(body, false);
  ASSERT_THAT(input, IsOk());
  EXPECT_EQ((*input)["messages"].size(), 2u);
  EXPECT_EQ((*input)["tools"].size(), 1u);
}

constexpr char kAnswer[] = R"({"content": "Hello", "finish_reason": "stop", "model": "m-1",
    "usage": {"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 14, "cached_tokens": 7}})";

Json Answered(const std::string& members) {
  Json answer = Json::parse(kAnswer);
  answer.update(Json::parse(members));
  return MessageOf(answer, "msg_1", "m");
}

TEST(MessagesAnswer, AnAnswerIsAMessageWithItsUsage) {
  EXPECT_EQ(Answered("{}"), Json::parse(R"({"id": "msg_1", "type": "message", "role": "assistant", "model": "m",
      "content": [{"type": "text", "text": "Hello", "citations": null}], "stop_reason": "end_turn", "stop_sequence": null,
      "usage": {"input_tokens": 3, "cache_read_input_tokens": 7, "cache_creation_input_tokens": 0, "output_tokens": 4}})"));
}

TEST(MessagesAnswer, EachWayToStopHasItsReason) {
  constexpr char kCall[] = R"("tool_calls": [{"id": "t", "name": "f", "arguments": "{}"}])";
  EXPECT_EQ(Answered(R"({"finish_reason": "length"})")["stop_reason"], "max_tokens");
  EXPECT_EQ(Answered(R"({"finish_reason": "content_filter"})")["stop_reason"], "refusal");
  EXPECT_EQ(Answered(R"({"finish_reason": "other"})")["stop_reason"], "end_turn");
  EXPECT_EQ(Answered(std::string(R"({"finish_reason": "tool_calls", )") + kCall + "}")["stop_reason"], "tool_use");
  EXPECT_EQ(Answered(std::string(R"({"finish_reason": "stop", )") + kCall + "}")["stop_reason"], "tool_use")
      << "engines that say stop though they call";
  EXPECT_EQ(Answered(std::string(R"({"finish_reason": "length", )") + kCall + "}")["stop_reason"], "max_tokens");
  const Json stopped = Answered(R"({"stop_text": "END"})");
  EXPECT_EQ(stopped["stop_reason"], "stop_sequence");
  EXPECT_EQ(stopped["stop_sequence"], "END");
}

TEST(MessagesAnswer, ThoughtsAndCallsAreBlocks) {
  const Json content = Answered(R"({"reasoning_content": "Hm.", "finish_reason": "tool_calls", "tool_calls": [
      {"id": "t1", "name": "f", "arguments": "{\"a\": 1}"}, {"id": "", "name": "g", "arguments": ""}, {"id": "t3", "name": "h", "arguments": "{\"a"}]})")["content"];
  EXPECT_EQ(content[0], Json::parse(R"({"type": "thinking", "thinking": "Hm.", "signature": ""})"));
  EXPECT_EQ(content[2], Json::parse(R"({"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}})"));
  EXPECT_EQ(content[3]["input"], Json::object());
  EXPECT_THAT(content[3]["id"].get<std::string>(), HasSubstr("toolu_"));
  EXPECT_EQ(content[4]["input"]["arguments"], "{\"a") << "what is no JSON is not lost";
}

// Puts a stream together as Anthropic's clients do, checking its order.
class Folded {
 public:
  void Read(const std::string& text) {
    parser_.Push(text);
    while (const auto event = parser_.Next()) {
      const Json data = Json::parse(event->data);
      EXPECT_EQ(data["type"], event->event);
      types.push_back(event->event);
      Take(data);
    }
  }

  std::vector<std::string> types;
  Json message;
  Json error;

 private:
  void Take(const Json& data) {
    const std::string type = data["type"];
    if (type == "message_start") message = data["message"];
    if (type == "error") error = data["error"];
    if (type == "message_delta") {
      message.update(data["delta"]);
      message["usage"] = data["usage"];
    }
    if (type == "content_block_start") {
      EXPECT_EQ(data["index"], message["content"].size());
      message["content"].push_back(data["content_block"]);
      arguments_.clear();
    }
    if (type == "content_block_delta") {
      Json& block = message["content"].at(data["index"].get<size_t>());
      const Json& delta = data["delta"];
      if (delta["type"] == "text_delta") block["text"] = block["text"].get<std::string>() + delta["text"].get<std::string>();
      if (delta["type"] == "thinking_delta") block["thinking"] = block["thinking"].get<std::string>() + delta["thinking"].get<std::string>();
      if (delta["type"] == "input_json_delta") arguments_ += delta["partial_json"].get<std::string>();
    }
    if (type == "content_block_stop" && !arguments_.empty()) {
      message["content"].at(data["index"].get<size_t>())["input"] = Json::parse(arguments_);
      arguments_.clear();
    }
  }

  http::SseParser parser_;
  std::string arguments_;
};

// What a client makes of these chunks of inference.chat.
Folded Fold(const std::vector<std::string>& chunks, const absl::Status& status = absl::OkStatus()) {
  MessageStream stream("msg_1", "m", "req_1");
  std::string out;
  stream.Begin(out);
  for (const std::string& chunk : chunks) stream.Add(Json::parse(chunk), out);
  status.ok() ? stream.End(out) : stream.Fail(status, out);
  Folded folded;
  folded.Read(out);
  return folded;
}

constexpr char kLast[] = R"({"content": "", "finish_reason": "tool_calls", "model": "m-1", "tool_calls": [
    {"id": "t1", "name": "f", "arguments": "{\"a\": 1}"}, {"id": "t2", "name": "g", "arguments": "{}"}],
    "usage": {"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 14, "cached_tokens": 7}})";

TEST(MessageStreams, PiecesMakeTheMessageThatTheWholeAnswerIs) {
  const Folded folded = Fold({R"({"content": "", "reasoning_content": "H"})", R"({"content": "", "reasoning_content": "m."})",
                              R"({"content": "Hel"})", R"({"content": "lo"})",
                              R"({"content": "", "tool_call_deltas": [{"index": 0, "id": "t1", "name": "f", "arguments": "{\"a\""}]})",
                              R"({"content": "", "tool_call_deltas": [{"index": 0, "id": "", "name": "", "arguments": ": 1}"},
                                                                      {"index": 1, "id": "t2", "name": "g", "arguments": "{}"}]})",
                              kLast});
  Json whole = Json::parse(kLast);
  whole["content"] = "Hello";
  whole["reasoning_content"] = "Hm.";
  EXPECT_EQ(folded.message, MessageOf(whole, "msg_1", "m"));
  EXPECT_THAT(folded.types,
              ElementsAre("message_start", "ping", "content_block_start", "content_block_delta", "content_block_delta",
                          "content_block_stop", "content_block_start", "content_block_delta", "content_block_delta",
                          "content_block_stop", "content_block_start", "content_block_delta", "content_block_delta",
                          "content_block_stop", "content_block_start", "content_block_delta", "content_block_stop",
                          "message_delta", "message_stop"));
}

TEST(MessageStreams, WhatTheEngineReadsIsToldAtTheBeginningIfItSaysSoThen) {
  const auto usage_at_the_beginning = [](const char* first) {
    MessageStream stream("msg_1", "m", "req_1");
    std::string out;
    stream.BeginWith(Json::parse(first), out);
    Folded folded;
    folded.Read(out);
    return folded.message["usage"];
  };
  EXPECT_EQ(usage_at_the_beginning(R"({"content": "", "usage": {"prompt_tokens": 33, "total_tokens": 33, "cached_tokens": 32}})"),
            Json::parse(R"({"input_tokens": 1, "cache_read_input_tokens": 32, "cache_creation_input_tokens": 0, "output_tokens": 0})"));
  EXPECT_EQ(usage_at_the_beginning(R"({"content": "Hel"})")["input_tokens"], 0);
}

TEST(MessageStreams, CallsThatAnEngineTellsOnlyAtTheEndAreNotLost) {
  EXPECT_EQ(Fold({kLast}).message, MessageOf(Json::parse(kLast), "msg_1", "m"));
  const Folded half = Fold({R"({"content": "", "tool_call_deltas": [{"index": 0, "id": "t1", "name": "f", "arguments": "{\"a\""}]})", kLast});
  EXPECT_EQ(half.message, MessageOf(Json::parse(kLast), "msg_1", "m"));
}

TEST(MessageStreams, AFailureIsAnErrorEvent) {
  const Folded folded = Fold({R"({"content": "Hel"})"}, Error(inference::v1::INFERENCE_ENGINE_LOST, "the engine went away"));
  EXPECT_EQ(folded.types.back(), "error");
  EXPECT_EQ(folded.error, Json::parse(R"({"type": "api_error", "message": "the engine went away"})"));
}

TEST(MessageStreams, AStreamThatJustEndsIsAFailureToo) {
  EXPECT_EQ(Fold({R"({"content": "Hel"})"}).types.back(), "error");
}

TEST(MessageStreams, ErrorsHaveTheTypeOfTheirStatus) {
  EXPECT_EQ(ErrorBody(InvalidInput("messages", "is required"), 400, "req_1"),
            Json::parse(R"({"type": "error", "request_id": "req_1",
                "error": {"type": "invalid_request_error", "message": "messages: is required"}})"));
  const std::pair<int, const char*> types[] = {{401, "authentication_error"}, {403, "permission_error"}, {404, "not_found_error"},
                                               {413, "request_too_large"},    {429, "rate_limit_error"}, {500, "api_error"}};
  for (const auto& [status, type] : types) {
    EXPECT_EQ(ErrorBody(absl::InternalError("x"), status, "")["error"]["type"], type);
  }
}

}  // namespace
}  // namespace aima::gateway::anthropic
