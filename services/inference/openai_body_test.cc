#include "services/inference/openai_body.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "libs/testing/status_matchers.h"
#include "services/inference/json_cursor.h"
#include "services/inference/openai_dialect.h"

namespace aima::inference {
namespace {

using Json = nlohmann::json;
using testing::FailsWith;
using testing::IsOk;

std::string Rewritten(const std::string& body, const std::string& served, bool stream) {
  const auto scan = ScanRequest(body);
  EXPECT_THAT(scan, IsOk());
  return EngineBody(body, *scan, served, stream);
}

TEST(ScanRequest, FindsTheModelWhereverItIs) {
  const auto scan = ScanRequest(
      R"( {"messages":[{"content":"\"model\": \"x\"","model":"y"}] , "model" : "m\u00e9" , "stream":true})");
  ASSERT_THAT(scan, IsOk());
  EXPECT_EQ(scan->model, "m\xc3\xa9");
  EXPECT_TRUE(scan->stream);
}

TEST(ScanRequest, RefusesWhatTwoReadersCouldReadDifferently) {
  EXPECT_THAT(ScanRequest(R"({"model":"a","model":"b"})"), FailsWith(unit::v1::INVALID_INPUT, "model"));
  EXPECT_THAT(ScanRequest(R"({"model":"a","mod\u0065l":"b"})"), FailsWith(unit::v1::INVALID_INPUT, "model"));
  EXPECT_THAT(ScanRequest(R"({"model":"a","stream":false,"stream":true})"),
              FailsWith(unit::v1::INVALID_INPUT, "stream"));
  EXPECT_THAT(ScanRequest(R"({"model":"a"} {"model":"b"})"), FailsWith(unit::v1::INVALID_INPUT, "body"));
}

TEST(ScanRequest, RefusesWhatNoModelIsCalled) {
  EXPECT_THAT(ScanRequest(R"({"model":")" + std::string(200, 'a') + R"("})"), IsOk());
  EXPECT_THAT(ScanRequest(R"({"model":")" + std::string(201, 'a') + R"("})"),
              FailsWith(unit::v1::INVALID_INPUT, "model: has 201 bytes, at most 200 are allowed"));
}

TEST(ScanRequest, RefusesBrokenBodies) {
  for (const char* body :
       {"", "[]", "null", "{", R"({"model":"a")", R"({"model":"a)", R"({"model":3})", R"({"model"})",
        R"({"messages":[]})", R"({"model":"a","x":})", R"({"model":"a","stream":"yes"})", R"({model:1})"}) {
    EXPECT_FALSE(ScanRequest(body).ok()) << body;
  }
  const std::string deep = R"({"model":"a","x":)" + std::string(200, '[') + std::string(200, ']') + "}";
  EXPECT_THAT(ScanRequest(deep), FailsWith(unit::v1::INVALID_INPUT, "body"));
}

TEST(EngineBody, LeavesABodyAloneThatNeedsNoChange) {
  const std::string body = R"({ "model":"m",  "messages":[],"stream": true, "big": 12345678901234567890 })";
  EXPECT_EQ(Rewritten(body, "m", false), body);
}

TEST(EngineBody, WritesTheNameByWhichTheEngineKnowsTheModel) {
  EXPECT_EQ(Rewritten(R"({"a":1,"model" : "m","b":2})", "served \"x\"", false),
            R"({"a":1,"model" : "served \"x\"","b":2})");
}

TEST(EngineBody, AsksForAStreamWithUsage) {
  EXPECT_EQ(Rewritten(R"({"model":"m","n":1})", "m", true),
            R"({"stream":true,"stream_options":{"include_usage":true},"model":"m","n":1})");
  EXPECT_EQ(Rewritten(R"({"stream":false,"model":"m","stream_options":null})", "e", true),
            R"({"stream":true,"model":"e","stream_options":{"include_usage":true}})");
}

TEST(AnswerAssembler, JoinsTextUsageAndWhatElseTheEngineSays) {
  AnswerAssembler whole("chat.completion");
  Endpoint engine;
  ASSERT_THAT(
      whole.Add(
          R"({"id":"c1","object":"chat.completion.chunk","created":7,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":null},"finish_reason":null}],"system_fingerprint":"f"})",
          engine),
      IsOk());
  ASSERT_THAT(
      whole.Add(R"({"choices":[{"delta":{"content":"Hi \"you\" \ud83d"},"index":0}],"usage":null})", engine),
      IsOk());
  EXPECT_FALSE(whole.complete());
  ASSERT_THAT(
      whole.Add(R"({"choices":[{"delta":{"content":"\ude00"},"index":0,"finish_reason":"stop"}]})", engine),
      IsOk());
  ASSERT_THAT(
      whole.Add(R"({"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}})", engine),
      IsOk());
  EXPECT_TRUE(whole.complete());
  EXPECT_EQ(Json::parse(whole.Finish()),
            Json::parse(R"({"id":"c1","object":"chat.completion","created":7,"model":"m",
      "system_fingerprint":"f","choices":[{"index":0,"message":{"role":"assistant","content":"Hi \"you\" 😀"},
      "logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}})"));
}

TEST(AnswerAssembler, JoinsToolCallsAndSeveralChoices) {
  AnswerAssembler whole("chat.completion");
  Endpoint engine;
  ASSERT_THAT(
      whole.Add(
          R"({"choices":[{"index":1,"delta":{"content":"b"},"finish_reason":"length"},{"index":0,"delta":{"tool_calls":[{"index":0,"id":"t1","type":"function","function":{"name":"f","arguments":"{\"a\""}}]}}]})",
          engine),
      IsOk());
  ASSERT_THAT(
      whole.Add(
          R"({"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":":1}"}}]},"finish_reason":"tool_calls"}]})",
          engine),
      IsOk());
  const Json json = Json::parse(whole.Finish());
  EXPECT_EQ(
      json["choices"][0]["message"],
      Json::parse(
          R"({"role":"assistant","content":null,"tool_calls":[{"id":"t1","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}}]})"));
  EXPECT_EQ(json["choices"][0]["finish_reason"], "tool_calls");
  EXPECT_EQ(json["choices"][1]["message"]["content"], "b");
}

TEST(AnswerAssembler, JoinsCompletionsAndLogprobs) {
  AnswerAssembler whole("text_completion");
  Endpoint engine;
  ASSERT_THAT(
      whole.Add(R"({"choices":[{"text":"a","index":0,"logprobs":{"content":[{"x":1}]},"finish_reason":null}]})",
                engine),
      IsOk());
  ASSERT_THAT(
      whole.Add(R"({"choices":[{"text":"b","index":0,"logprobs":{"content":[{"x":2}]},"finish_reason":"stop"}]})",
                engine),
      IsOk());
  EXPECT_EQ(
      Json::parse(whole.Finish()),
      Json::parse(
          R"({"object":"text_completion","choices":[{"index":0,"text":"ab","logprobs":{"content":[{"x":1},{"x":2}]},"finish_reason":"stop"}]})"));
}

TEST(AnswerAssembler, TellsErrorsAndGarbageApart) {
  Endpoint engine;
  engine.instance_id = "e1";
  EXPECT_THAT(AnswerAssembler("x").Add(R"({"error":{"code":500,"message":"out of memory"}})", engine),
              FailsWith(v1::INFERENCE_ENGINE_FAILED, "out of memory"));
  for (const char* piece :
       {"garbage", "{}", "", "{\"choices\":[", "[]", "{\"choices\":[{\"delta\":{\"content\":\"x"}) {
    EXPECT_THAT(AnswerAssembler("x").Add(piece, engine), FailsWith(v1::INFERENCE_ENGINE_FAILED, "e1")) << piece;
  }
}

TEST(OpenAiErrorBody, HasTheFormThatClientsKnow) {
  EXPECT_EQ(
      Json::parse(OpenAiErrorBody(Error(v1::INFERENCE_MODEL_NOT_FOUND, "there is no model 'x'"))),
      Json::parse(
          R"({"error":{"message":"there is no model 'x'","type":"invalid_request_error","param":"model","code":"model_not_found"}})"));
  const Json bad = Json::parse(OpenAiErrorBody(InvalidInput("model", "is required")));
  EXPECT_EQ(bad["error"]["param"], "model");
  EXPECT_NE(bad["error"]["message"].get<std::string>().find("is required"), std::string::npos);
  EXPECT_EQ(Json::parse(OpenAiErrorBody(Error(unit::v1::OVERLOADED, "busy")))["error"]["type"],
            "rate_limit_error");
}

TEST(ReadOpenAiPiece, ReadsTextReasoningToolsUsageAndTheEnd) {
  Delta delta;
  Endpoint engine;
  ASSERT_THAT(
      ReadOpenAiPiece(
          R"({"choices":[{"finish_reason":"length","index":0,"delta":{"content":"a\nb","reasoning_content":"hm","tool_calls":[{"index":1,"id":"t","function":{"name":"f","arguments":"{}"}}]}}],"usage":{"completion_tokens":4,"prompt_tokens":9,"total_tokens":13,"prompt_tokens_details":{"cached_tokens":8}},"timings":{"a":[1,2]}})",
          engine, delta),
      IsOk());
  EXPECT_EQ(delta.text, "a\nb");
  EXPECT_EQ(delta.reasoning, "hm");
  ASSERT_EQ(delta.tools.size(), 1u);
  EXPECT_EQ(delta.tools[0].index, 1);
  EXPECT_EQ(delta.tools[0].arguments, "{}");
  EXPECT_EQ(delta.finish, v1::FINISH_REASON_LENGTH);
  EXPECT_EQ(delta.usage->total_tokens(), 13);
  EXPECT_EQ(delta.usage->cached_tokens(), 8);
}

TEST(OpenAiDialect, TellsWhatAnErrorMeans) {
  Endpoint engine;
  engine.instance_id = "e1";
  engine.model_id = "m";
  const OpenAiDialect dialect;
  const absl::Status context = dialect.ErrorOf(
      400,
      R"({"error":{"code":400,"message":"too long","type":"exceed_context_size_error","n_prompt_tokens":900,"n_ctx":512}})",
      engine);
  EXPECT_THAT(context, FailsWith(v1::INFERENCE_CONTEXT_TOO_LONG, "too long"));
  EXPECT_EQ(DetailsOf(context).metadata["n_ctx"], "512");
  // An embedding input.
  const std::string large =
      R"({"error":{"code":500,"message":"input (2002 tokens) is too large to process","type":"x"}})";
  EXPECT_THAT(dialect.ErrorOf(500, large, engine), FailsWith(v1::INFERENCE_CONTEXT_TOO_LONG, "2002 tokens"));
  EXPECT_THAT(dialect.ErrorOf(400, R"({"error":{"message":"bad tools"}})", engine),
              FailsWith(v1::INFERENCE_REQUEST_REFUSED, "bad tools"));
  EXPECT_THAT(dialect.ErrorOf(501, R"({"error":"not supported"})", engine),
              FailsWith(v1::INFERENCE_REQUEST_REFUSED, "not supported"));
  EXPECT_THAT(dialect.ErrorOf(500, "<html>oops", engine), FailsWith(v1::INFERENCE_ENGINE_FAILED, "<html>oops"));
  EXPECT_THAT(dialect.ErrorOf(401, R"({"detail":"no key"})", engine),
              FailsWith(v1::INFERENCE_ENGINE_FAILED, "no key"));
  EXPECT_THAT(dialect.ErrorOf(429, "{}", engine), FailsWith(unit::v1::OVERLOADED, "e1"));
}

}  // namespace
}  // namespace aima::inference
