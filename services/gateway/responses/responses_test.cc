// Translation of OpenAI's Responses API, as functions of JSON.
#include <gmock/gmock.h>

#include "aima/inference/v1/inference.pb.h"
#include "libs/errors/errors.h"
#include "libs/http/sse.h"
#include "libs/testing/status_matchers.h"
#include "services/gateway/json_fields.h"
#include "services/gateway/openai_error.h"
#include "services/gateway/responses/answer.h"
#include "services/gateway/responses/request.h"

namespace aima::gateway::responses {
namespace {

using aima::testing::IsOk;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Json = nlohmann::json;

Json With(const std::string& members) {
  Json body = Json::parse(R"({"model": "m", "input": "Hi"})");
  body.update(Json::parse(members));
  return body;
}

Json InputOf(const std::string& members) {
  const auto asked = ReadResponse(With(members));
  EXPECT_THAT(asked, IsOk());
  return asked.ok() ? asked->input : Json();
}

TEST(ResponsesRequest, TextAndInstructionsAreAChat) {
  EXPECT_EQ(InputOf(R"({"instructions": "Be brief.", "max_output_tokens": 9, "temperature": 0.5, "top_p": 0.9, "store": false})"),
            Json::parse(R"({"model": "m", "max_tokens": 9, "temperature": 0.5, "top_p": 0.9, "messages": [
                {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]})"));
}

TEST(ResponsesRequest, ItemsBecomeTurns) {
  const Json input = InputOf(R"({"input": [
      {"role": "developer", "content": "Be brief."},
      {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "See"},
                                                      {"type": "input_image", "image_url": "data:x", "detail": "low"}]},
      {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "Look."}]},
      {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
       "content": [{"type": "output_text", "text": "Let me see.", "annotations": []}]},
      {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": "{}"},
      {"type": "function_call", "call_id": "c2", "name": "g", "arguments": "{\"a\":1}"},
      {"type": "function_call_output", "call_id": "c1", "output": "one"},
      {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "two"}]},
      {"role": "assistant", "content": "Done."},
      {"role": "assistant", "content": "Really."},
      {"role": "user", "content": "Thanks"}]})");
  EXPECT_EQ(input["messages"], Json::parse(R"([
      {"role": "system", "content": "Be brief."},
      {"role": "user", "parts": [{"type": "text", "text": "See"}, {"type": "image_url", "image_url": {"url": "data:x", "detail": "low"}}]},
      {"role": "assistant", "content": "Let me see.", "reasoning_content": "Look.", "tool_calls": [
        {"id": "c1", "name": "f", "arguments": "{}"}, {"id": "c2", "name": "g", "arguments": "{\"a\":1}"}]},
      {"role": "tool", "tool_call_id": "c1", "content": "one"},
      {"role": "tool", "tool_call_id": "c2", "content": "two"},
      {"role": "assistant", "content": "Done."},
      {"role": "assistant", "content": "Really."},
      {"role": "user", "content": "Thanks"}])"));
}

TEST(ResponsesRequest, WhatDevelopersSayFirstIsOneSystemPromptWithTheInstructions) {
  EXPECT_EQ(InputOf(R"({"instructions": "Be brief.", "input": [{"role": "developer", "content": "Be kind."}, {"role": "user", "content": "Hi"},
                        {"role": "developer", "content": "Now be rude."}]})")["messages"],
            Json::parse(R"([{"role": "system", "content": "Be brief.\n\nBe kind."}, {"role": "user", "content": "Hi"},
                            {"role": "system", "content": "Now be rude."}])"));
}

TEST(ResponsesRequest, ToolsAndFormsAreThoseOfChat) {
  const Json input = InputOf(R"({"tools": [{"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}, "strict": true}],
      "tool_choice": {"type": "function", "name": "f"}, "parallel_tool_calls": false, "reasoning": {"effort": "low"},
      "text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": true}}})");
  EXPECT_EQ(input["tools"], Json::parse(R"([{"type": "function", "function":
      {"name": "f", "description": "d", "parameters": {"type": "object"}, "strict": true}}])"));
  EXPECT_EQ(input["tool_choice"], Json::parse(R"({"type": "function", "function": {"name": "f"}})"));
  EXPECT_EQ(input["response_format"], Json::parse(R"({"type": "json_schema", "json_schema":
      {"name": "n", "schema": {"type": "object"}, "strict": true}})"));
  EXPECT_EQ(input["engine_options"], Json::parse(R"({"parallel_tool_calls": false, "reasoning_effort": "low"})"));
}

TEST(ResponsesRequest, WhatIsWrongOrCannotBeDoneIsNamed) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"previous_response_id": "resp_1"})", "previous_response_id: cannot be used: responses are not kept"},
      {R"({"conversation": "conv_1"})", "conversation: cannot be used"},
      {R"({"store": true})", "store: must be false"},
      {R"({"background": true})", "background: cannot be used"},
      {R"({"prompt": {"id": "p"}})", "prompt: cannot be used"},
      {R"({"truncation": "auto"})", "truncation: must be disabled"},
      {R"({"top_logprobs": 2})", "top_logprobs"},
      {R"({"temprature": 1})", "temprature: is an unknown parameter"},
      {R"({"model": null})", "model: is required"},
      {R"({"input": null})", "input: is required"},
      {R"({"input": 5})", "input: must be a string or a list"},
      {R"({"input": []})", "input: must be"},
      {R"({"input": ["x"]})", "input.0: must be an object"},
      {R"({"input": [{"role": "robot", "content": "x"}]})", "input.0.role"},
      {R"({"input": [{"role": "user"}]})", "input.0.content: is required"},
      {R"({"input": [{"role": "user", "content": [{"type": "input_file"}]}]})", "input.0.content.0.type"},
      {R"({"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]})", "input.0.content.0.image_url"},
      {R"({"input": [{"type": "item_reference", "id": "x"}]})", "input.0.type: cannot be used"},
      {R"({"input": [{"type": "computer_call"}]})", "input.0.type: 'computer_call'"},
      {R"({"input": [{"type": "function_call", "name": "f"}]})", "input.0.call_id"},
      {R"({"input": [{"type": "function_call_output", "call_id": "c"}]})", "input.0.output: is required"},
      {R"({"tools": [{"type": "web_search"}]})", "tools.0.type: must be function"},
      {R"({"tools": {}})", "tools: must be a list"},
      {R"({"tool_choice": 5})", "tool_choice"},
      {R"({"text": {"format": {"type": "xml"}}})", "text.format.type"},
      {R"({"text": {"format": {"type": "json_schema", "name": "n"}}})", "text.format.schema: is required"},
      {R"({"max_output_tokens": "9"})", "max_output_tokens: must be a number"},
      {R"({"metadata": []})", "metadata: must be an object"},
  };
  for (const auto& [members, expected] : cases) {
    EXPECT_THAT(MessageOf(ReadResponse(With(members)).status()), HasSubstr(expected)) << members;
  }
}

TEST(ResponsesRequest, WhatChangesNothingIsAccepted) {
  const auto asked = ReadResponse(With(R"({"include": ["reasoning.encrypted_content"], "user": "u", "metadata": {"a": "b"},
      "service_tier": "auto", "prompt_cache_key": "k", "stream_options": {"include_obfuscation": false}, "stream": true})"));
  ASSERT_THAT(asked, IsOk());
  EXPECT_TRUE(asked->stream);
  EXPECT_EQ(asked->request["metadata"]["a"], "b");
  EXPECT_EQ(asked->request["tool_choice"], "auto");
}

TEST(ResponsesRequest, TokensAreCountedOfTheSameConversation) {
  const auto input = ReadInputTokens(With(R"({"instructions": "S"})"));
  ASSERT_THAT(input, IsOk());
  EXPECT_EQ((*input)["messages"].size(), 2u);
}

constexpr char kLast[] = R"({"content": "", "finish_reason": "tool_calls", "model": "m-1", "tool_calls": [
    {"id": "c1", "name": "f", "arguments": "{\"a\": 1}"}, {"id": "c2", "name": "g", "arguments": "{}"}],
    "usage": {"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 14, "cached_tokens": 7}})";

Json Whole(const std::string& members) {
  Json answer = Json::parse(kLast);
  answer.update(Json::parse(members));
  return ResponseOf(answer, "resp_1", ReadResponse(With("{}"))->request);
}

TEST(ResponsesAnswer, AnAnswerIsItemsWithUsage) {
  const Json response = Whole(R"({"content": "Hello", "reasoning_content": "Hm."})");
  EXPECT_EQ(response["id"], "resp_1");
  EXPECT_EQ(response["object"], "response");
  EXPECT_EQ(response["status"], "completed");
  EXPECT_EQ(response["model"], "m");
  EXPECT_EQ(response["store"], false);
  EXPECT_EQ(response["usage"]["input_tokens"], 10);
  EXPECT_EQ(response["usage"]["input_tokens_details"]["cached_tokens"], 7);
  EXPECT_EQ(response["output"].size(), 4u);
  EXPECT_EQ(response["output"][0]["content"][0]["text"], "Hm.");
  EXPECT_EQ(response["output"][1]["content"][0]["text"], "Hello");
  EXPECT_EQ(response["output"][1]["role"], "assistant");
  EXPECT_EQ(response["output"][2]["call_id"], "c1");
  EXPECT_EQ(response["output"][2]["arguments"], "{\"a\": 1}");
}

TEST(ResponsesAnswer, WhatIsCutOffIsIncomplete) {
  const Json response = Whole(R"({"content": "Hel", "finish_reason": "length", "tool_calls": []})");
  EXPECT_EQ(response["status"], "incomplete");
  EXPECT_EQ(response["incomplete_details"]["reason"], "max_output_tokens");
  EXPECT_EQ(response["output"][0]["status"], "incomplete");
}

TEST(ResponsesAnswer, ErrorsNameParameterAndCode) {
  const auto body = [](const absl::Status& status, int http) { return OpenAiErrorBody(status, http)["error"]; };
  EXPECT_EQ(body(ReadResponse(With(R"({"nope": 1})")).status(), 400),
            Json::parse(R"({"message": "nope: is an unknown parameter", "type": "invalid_request_error", "param": "nope", "code": "unknown_parameter"})"));
  EXPECT_EQ(body(Error(inference::v1::INFERENCE_MODEL_NOT_FOUND, "no x"), 404)["code"], "model_not_found");
  EXPECT_EQ(body(Error(inference::v1::INFERENCE_CONTEXT_TOO_LONG, "long"), 400)["code"], "context_length_exceeded");
}

// Puts a stream together as OpenAI's clients do, checking numbers and order.
struct Folded {
  std::vector<std::string> types;
  Json output = Json::array();  // of deltas alone
  Json last;                    // response of the last event
  Json error;

  void Read(const std::string& text) {
    http::SseParser parser;
    parser.Push(text);
    while (const auto event = parser.Next()) {
      const Json data = Json::parse(event->data);
      EXPECT_EQ(data["type"], event->event);
      EXPECT_EQ(data["sequence_number"], types.size());
      types.push_back(event->event);
      if (data.contains("response")) last = data["response"];
      if (data.contains("error")) error = data["error"];
      if (event->event == "response.output_item.added") {
        EXPECT_EQ(data["output_index"], output.size());
        output.push_back(data["item"]);
      }
      if (event->event == "response.content_part.added") output[data["output_index"].get<size_t>()]["content"].push_back(data["part"]);
      if (!data.contains("delta")) continue;
      Json& item = output[data["output_index"].get<size_t>()];
      EXPECT_EQ(data["item_id"], item["id"]);
      Json& text_of = item["type"] == "function_call" ? item["arguments"] : item["content"][0]["text"];
      text_of = text_of.get<std::string>() + data["delta"].get<std::string>();
    }
  }
};

Folded Fold(const std::vector<std::string>& chunks, const absl::Status& status = absl::OkStatus()) {
  ResponseStream stream("resp_1", ReadResponse(With("{}"))->request);
  std::string out;
  stream.Begin(out);
  for (const std::string& chunk : chunks) stream.Add(Json::parse(chunk), out);
  status.ok() ? stream.End(out) : stream.Fail(status, out);
  Folded folded;
  folded.Read(out);
  return folded;
}

// Without what is made anew for each answer.
Json Comparable(Json response) {
  response.erase("created_at");
  for (Json& item : response["output"]) item.erase("id");
  return response;
}

TEST(ResponseStreams, PiecesMakeTheResponseThatTheWholeAnswerIs) {
  const Folded folded = Fold({R"({"content": "", "reasoning_content": "H"})", R"({"content": "", "reasoning_content": "m."})",
                              R"({"content": "Hel"})", R"({"content": "lo"})",
                              R"({"content": "", "tool_call_deltas": [{"index": 0, "id": "c1", "name": "f", "arguments": "{\"a\""}]})",
                              R"({"content": "", "tool_call_deltas": [{"index": 0, "arguments": ": 1}"}, {"index": 1, "id": "c2", "name": "g", "arguments": "{}"}]})",
                              kLast});
  EXPECT_EQ(Comparable(folded.last), Comparable(Whole(R"({"content": "Hello", "reasoning_content": "Hm."})")));
  for (size_t i = 0; i < folded.output.size(); ++i) {
    Json item = folded.output[i];
    item["status"] = "completed";
    EXPECT_EQ(item, folded.last["output"][i]) << "deltas alone make the item";
  }
  EXPECT_EQ(folded.types.front(), "response.created");
  EXPECT_EQ(folded.types[1], "response.in_progress");
  EXPECT_EQ(folded.types.back(), "response.completed");
}

TEST(ResponseStreams, TextHasAllItsEvents) {
  EXPECT_THAT(Fold({R"({"content": "Hi"})", R"({"content": "", "finish_reason": "length"})"}).types,
              ElementsAre("response.created", "response.in_progress", "response.output_item.added", "response.content_part.added",
                          "response.output_text.delta", "response.output_text.done", "response.content_part.done",
                          "response.output_item.done", "response.incomplete"));
}

TEST(ResponseStreams, CallsThatAnEngineTellsOnlyAtTheEndAreNotLost) {
  EXPECT_EQ(Comparable(Fold({kLast}).last), Comparable(Whole("{}")));
  EXPECT_EQ(Comparable(Fold({R"({"content": "", "tool_call_deltas": [{"index": 0, "id": "c1", "name": "f", "arguments": "{\"a\""}]})", kLast}).last),
            Comparable(Whole("{}")));
}

TEST(ResponseStreams, AFailureIsRaisedByClientsAndEndsTheResponse) {
  const Folded folded = Fold({R"({"content": "Hel"})"}, Error(inference::v1::INFERENCE_ENGINE_LOST, "the engine went away"));
  EXPECT_EQ(folded.types[folded.types.size() - 2], "error");
  EXPECT_EQ(folded.error["message"], "the engine went away");
  EXPECT_EQ(folded.types.back(), "response.failed");
  EXPECT_EQ(folded.last["status"], "failed");
  EXPECT_EQ(Fold({R"({"content": "Hel"})"}).types.back(), "response.failed") << "a stream that just ends";
}

}  // namespace
}  // namespace aima::gateway::responses
