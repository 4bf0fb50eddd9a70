// Engines that answer what no engine should: their callers get an answer that can be read, or an error that names them.
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "libs/errors/errors.h"
#include "libs/testing/status_matchers.h"
#include "libs/testing/task.h"
#include "services/inference/scripted_engine.h"
#include "services/inference/units_for_test.h"

namespace aima::inference {
namespace {

using ::testing::HasSubstr;
using testing::FailsWith;
using testing::IsOk;

constexpr char kFinish[] = R"({"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]})";

class HostileEngineTest : public UnitsTest {
 protected:
  HostileEngineTest() {
    call_.deadline = absl::Now() + absl::Minutes(2);
    engines_.endpoints = {engine_.At("chatty"), engine_.At("vectors")};
  }
  void Speak(const std::string& dialect) {
    for (Endpoint& endpoint : engines_.endpoints) endpoint.dialect = dialect;
    EXPECT_THAT(testing::Run(loop_, router_.Refresh(call_)), IsOk());
  }
  absl::StatusOr<v1::ChatResponse> Chat() {
    chat_.set_model("chatty");
    chat_.set_message("Hello");
    return testing::Run(loop_, units_.Chat(call_, chat_));
  }
  absl::StatusOr<v1::EmbedResponse> Embed() {
    v1::EmbedRequest request;
    request.set_model("vectors");
    request.add_input("a");
    return testing::Run(loop_, units_.Embed(call_, request));
  }
  // What the caller in another process gets.
  template <class Message>
  static bool IsReadable(const Message& message) {
    return Message().ParseFromString(message.SerializeAsString());
  }

  v1::ChatRequest chat_;
};

TEST_F(HostileEngineTest, BytesThatAreNoUtf8AreReplacedInWhatAModelSays) {
  engine_.Then(ScriptedEngine::Stream({ScriptedEngine::Piece("Hel\xff\xc3"), ScriptedEngine::Piece("lo \xc3\xa4"), kFinish, "[DONE]"}));
  const auto response = Chat();
  ASSERT_THAT(response, IsOk());
  EXPECT_EQ(response->content(), "Hel\xef\xbf\xbd\xef\xbf\xbdlo \xc3\xa4");
  EXPECT_TRUE(IsReadable(*response));
}

TEST_F(HostileEngineTest, AnErrorThatIsNoUtf8KeepsItsReason) {
  engine_.Then(ScriptedEngine::Answer(501, "application/json", "cannot do \xa3\xa3"));
  const absl::Status sent = Chat().status();
  const absl::Status read = StatusFromWire(static_cast<int>(sent.code()), sent.message(), SerializeDetails(sent));
  EXPECT_THAT(read, FailsWith(v1::INFERENCE_REQUEST_REFUSED, "cannot do"));
  EXPECT_TRUE(IsReadable(outbox_.Last<v1::RequestFailed>()));
}

TEST_F(HostileEngineTest, ATypeThatIsNoUtf8IsPassedOnReadably) {
  engine_.Then(ScriptedEngine::Answer(200, "text/\xa3", "{}"));
  v1::ForwardRequest request;
  request.set_path("/v1/embeddings");
  request.set_method("POST");
  request.set_body(R"({"model": "vectors", "input": "a"})");
  FakeWriter<v1::ForwardChunk> chunks;
  ASSERT_THAT(testing::Run(loop_, units_.Forward(call_, request, chunks)), IsOk());
  ASSERT_FALSE(chunks.written.empty());
  EXPECT_TRUE(IsReadable(chunks.written[0]));
}

TEST_F(HostileEngineTest, AModelThatIsNoUtf8IsRefusedByName) {
  v1::ForwardRequest request;
  request.set_path("/v1/chat/completions");
  request.set_method("POST");
  request.set_body("{\"model\": \"\xa3\"}");
  FakeWriter<v1::ForwardChunk> chunks;
  ASSERT_THAT(testing::Run(loop_, units_.Forward(call_, request, chunks)), IsOk());
  EXPECT_EQ(chunks.written[0].status(), 400);
  EXPECT_THAT(chunks.written[0].body(), HasSubstr("model: must be UTF-8"));
}

TEST_F(HostileEngineTest, NumbersThatCannotBeAreTheNearestThatCan) {
  const std::string most = "9223372036854775807";
  engine_.Then(ScriptedEngine::Stream({kFinish, R"({"choices":[],"usage":{"prompt_tokens":)" + most + R"(,"completion_tokens":)" +
                                                    most + R"(,"total_tokens":-5}})", "[DONE]"}));
  engine_.Then(ScriptedEngine::Answer(200, "application/x-ndjson", R"({"done":true,"done_reason":"stop","prompt_eval_count":)" +
                                                                         most + R"(,"eval_count":)" + most + "}\n"));
  const auto response = Chat();
  ASSERT_THAT(response, IsOk());
  EXPECT_GT(response->usage().total_tokens(), 0);
  Speak("ollama");
  const auto other = Chat();
  ASSERT_THAT(other, IsOk());
  EXPECT_GT(other->usage().total_tokens(), 0);
}

TEST_F(HostileEngineTest, WhatIsNestedWithoutEndIsNoAnswerAndNoEndOfOurs) {
  const std::string deep = std::string(2'000'000, '[') + std::string(2'000'000, ']');
  const std::string bodies[] = {R"({"usage":)" + deep + R"(,"data":[{"embedding":[1]}]})", R"({"error":{"message":)" + deep + "}}",
                                R"({"embeddings":[[1]],"error":)" + deep + "}",
                                R"({"outputs":[{"datatype":"FP32","shape":[1,1],"data":[)" + deep + "]}]}"};
  for (const int status : {200, 400}) {
    for (const std::string& body : bodies) engine_.Then(ScriptedEngine::Answer(status, "application/json", body));
  }
  for (const int status : {200, 400}) {
    for (const char* dialect : {"openai", "openai", "ollama", "open_inference"}) {
      Speak(dialect);
      const absl::Status failed = Embed().status();
      EXPECT_THAT(failed, FailsWith(status == 200 ? v1::INFERENCE_ENGINE_FAILED : v1::INFERENCE_REQUEST_REFUSED, "")) << dialect;
    }
  }
}

TEST_F(HostileEngineTest, ACallThatIsNestedWithoutEndIsNoAnswer) {
  const std::string deep = std::string(500'000, '[') + std::string(500'000, ']');
  Speak("ollama");
  const std::string call = R"({"done":true,"message":{"tool_calls":[{"function":{"name":"f","arguments":{"a":)" + deep + "}}}]}}\n";
  engine_.Then(ScriptedEngine::Answer(200, "application/x-ndjson", call));
  EXPECT_THAT(Chat(), FailsWith(v1::INFERENCE_ENGINE_FAILED, "no answer"));
}

TEST_F(HostileEngineTest, CallersCannotNestWithoutEndEither) {
  Speak("ollama");
  v1::Message& turn = *chat_.add_messages();
  turn.set_role("assistant");
  turn.add_tool_calls()->set_arguments(R"({"a":)" + std::string(1'000'000, '[') + std::string(1'000'000, ']') + "}");
  EXPECT_THAT(Chat(), FailsWith(unit::v1::INVALID_INPUT, "arguments"));
}

}  // namespace
}  // namespace aima::inference
