// Engines that speak Ollama's interface and the Open Inference Protocol, against recorded answers.
#include <nlohmann/json.hpp>

#include "libs/testing/status_matchers.h"
#include "libs/testing/task.h"
#include "libs/unit/json_codec.h"
#include "services/inference/recordings.h"
#include "services/inference/units_for_test.h"

namespace aima::inference {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::json;
using testing::FailsWith;
using testing::IsOk;
using Step = ScriptedEngine::Step;

class DialectTest : public UnitsTest {
 protected:
  explicit DialectTest(const std::string& dialect) {
    call_.deadline = absl::Now() + absl::Minutes(2);
    engines_.endpoints = {engine_.At("chatty"), engine_.At("vectors")};
    for (Endpoint& endpoint : engines_.endpoints) endpoint.dialect = dialect;
    chat_.set_model("chatty");
    complete_.set_model("chatty");
    complete_.set_prompt("One, two, three,");
    embed_.set_model("vectors");
  }

  absl::StatusOr<v1::ChatResponse> Chat(const std::string& message = "Hello") {
    chat_.set_message(message);
    return testing::Run(loop_, units_.Chat(call_, chat_));
  }
  absl::StatusOr<v1::CompleteResponse> Complete() { return testing::Run(loop_, units_.Complete(call_, complete_)); }
  absl::StatusOr<v1::EmbedResponse> Embed(std::initializer_list<const char*> texts) {
    embed_.clear_input();
    for (const char* text : texts) embed_.add_input(text);
    return testing::Run(loop_, units_.Embed(call_, embed_));
  }
  std::string Path(size_t i = 0) const {
    const std::string& head = engine_.requests().at(i).head;
    return head.substr(0, head.find(" HTTP/"));
  }
  Json Sent(size_t i = 0) const { return Json::parse(engine_.requests().at(i).body); }
  // An answer of these lines.
  void Lines(const std::string& lines) { engine_.Then(ScriptedEngine::Answer(200, "application/x-ndjson", lines)); }

  v1::ChatRequest chat_;
  v1::CompleteRequest complete_;
  v1::EmbedRequest embed_;
};

class OllamaTest : public DialectTest {
 protected:
  OllamaTest() : DialectTest("ollama") {}
};

class OpenInferenceTest : public DialectTest {
 protected:
  OpenInferenceTest() : DialectTest("open_inference") {}
};

TEST_F(OllamaTest, AConversationIsAnsweredWithItsTokens) {
  engine_.Then(Recorded("ollama-chat"));
  chat_.set_max_tokens(24);
  chat_.set_temperature(0);
  chat_.add_stop("\n\n");
  auto* turn = chat_.add_messages();
  turn->set_role("developer");
  turn->set_content("Be brief.");
  (*chat_.mutable_engine_options()->mutable_fields())["repeat_penalty"].set_number_value(1.5);
  (*chat_.mutable_engine_options()->mutable_fields())["keep_alive"].set_string_value("5m");
  const auto response = Chat("What is the capital of France?");
  ASSERT_THAT(response, IsOk());
  EXPECT_THAT(response->content(), HasSubstr("The capital of France is Paris"));
  EXPECT_EQ(response->finish_reason(), v1::FINISH_REASON_STOP);
  EXPECT_EQ(response->usage().completion_tokens(), 19);
  EXPECT_GT(response->usage().prompt_tokens(), 0);
  EXPECT_EQ(Path(), "POST /api/chat");
  EXPECT_EQ(Sent(), Json::parse(R"({"model":"chatty","stream":true,"truncate":false,"keep_alive":"5m",
      "options":{"temperature":0,"num_predict":24,"stop":["\n\n"],"repeat_penalty":1.5},
      "messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"What is the capital of France?"}]})"));
}

TEST_F(OllamaTest, HowTheModelIsToBeLoadedIsToldToTheServerThatLoadsIt) {
  for (const char* answer : {"ollama-chat", "ollama-generate", "ollama-embed"}) engine_.Then(Recorded(answer));
  v1::LoadOptions load;
  load.set_context_length(8192);
  load.set_threads(3);
  (*load.mutable_engine_options()->mutable_fields())["num_gpu"].set_number_value(20);
  const Json told = Json::parse(R"({"num_ctx":8192,"num_thread":3,"num_gpu":20})");
  *chat_.mutable_load() = load;
  ASSERT_THAT(Chat(), IsOk());
  EXPECT_EQ(Sent(0)["options"], told);
  *complete_.mutable_load() = load;
  ASSERT_THAT(Complete(), IsOk());
  EXPECT_EQ(Sent(1)["options"], told);
  *embed_.mutable_load() = load;
  ASSERT_THAT(Embed({"Hello"}), IsOk());
  EXPECT_EQ(Sent(2)["options"], told);
}

TEST_F(OllamaTest, AnAnswerThatReachedItsLengthSaysSo) {
  engine_.Then(Recorded("ollama-chat-length"));
  const auto response = Chat();
  ASSERT_THAT(response, IsOk());
  EXPECT_EQ(response->content(), "The Night of");
  EXPECT_EQ(response->finish_reason(), v1::FINISH_REASON_LENGTH);
}

TEST_F(OllamaTest, ATextIsContinuedAsItIs) {
  engine_.Then(Recorded("ollama-generate"));
  complete_.set_seed(7);
  const auto response = Complete();
  ASSERT_THAT(response, IsOk());
  EXPECT_EQ(response->text(), " four...\n* 1");
  EXPECT_EQ(response->usage().total_tokens(), 12);
  EXPECT_EQ(Path(), "POST /api/generate");
  EXPECT_EQ(Sent()["raw"], true);
  EXPECT_EQ(Sent()["options"]["seed"], 7);
}

TEST_F(OllamaTest, TextsBecomeVectors) {
  engine_.Then(Recorded("ollama-embed"));
  const auto response = Embed({"Hello"});
  ASSERT_THAT(response, IsOk());
  EXPECT_EQ(response->dimensions(), 384);
  EXPECT_NEAR(response->embeddings(0).values(0).number_value(), -0.062, 0.001);
  EXPECT_EQ(response->usage().prompt_tokens(), 3);
  EXPECT_EQ(Sent(), Json::parse(R"({"model":"vectors","input":["Hello"],"truncate":false})"));
}

TEST_F(OllamaTest, WhatDoesNotFitIsNotCutOff) {
  engine_.Then(Recorded("ollama-embed-too-long"));
  engine_.Then(Recorded("ollama-chat-too-long"));
  EXPECT_THAT(Embed({"long"}), FailsWith(v1::INFERENCE_CONTEXT_TOO_LONG, "context length"));
  EXPECT_THAT(Chat(), FailsWith(v1::INFERENCE_CONTEXT_TOO_LONG, "context length"));
}

TEST_F(OllamaTest, ItsRefusalsAreTold) {
  engine_.Then(Recorded("ollama-not-found"));
  engine_.Then(Recorded("ollama-no-tools"));
  EXPECT_THAT(Chat(), FailsWith(v1::INFERENCE_REQUEST_REFUSED, "model 'nobody' not found"));
  EXPECT_THAT(Chat(), FailsWith(v1::INFERENCE_REQUEST_REFUSED, "does not support tools"));
}

TEST_F(OllamaTest, AnErrorInTheMiddleIsAFailedEngine) {
  Lines(R"({"message":{"content":"The"},"done":false})"
        "\n"
        R"({"error":"an error was encountered"})"
        "\n");
  EXPECT_THAT(Chat(), FailsWith(v1::INFERENCE_ENGINE_FAILED, "an error was encountered"));
}

TEST_F(OllamaTest, AStreamWithoutAnEndIsALostEngine) {
  Lines(R"({"message":{"content":"The"},"done":false})"
        "\n");
  EXPECT_THAT(Chat(), FailsWith(v1::INFERENCE_ENGINE_LOST, "ended early"));
}

TEST_F(OllamaTest, LinesMayComeInAnyPieces) {
  const std::string line = R"({"message":{"content":"\u00e9"},"done":false})"
                           "\n\n"
                           R"({"message":{"content":"","thinking":"hm"},"done":true,"done_reason":"stop"})"
                           "\n";
  ScriptedEngine::Script script = {
      {Step::kSend, "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(line.size()) + "\r\n\r\n"}};
  for (const char c : line) script.push_back({Step::kSend, std::string(1, c)});
  engine_.Then(script);
  const auto response = Chat();
  ASSERT_THAT(response, IsOk());
  EXPECT_EQ(response->content(), "\xc3\xa9");
  EXPECT_EQ(response->reasoning_content(), "hm");
}

TEST_F(OllamaTest, ToolsPicturesAndFormatsAreTranslatedBothWays) {
  Lines(
      R"({"message":{"content":"","tool_calls":[{"function":{"name":"weather","arguments":{"city":"Rome"}}}]},"done":false})"
      "\n"
      R"({"message":{"content":""},"done":true,"done_reason":"stop","prompt_eval_count":5,"eval_count":2})"
      "\n");
  ASSERT_THAT(ParseJson(Json::parse(R"({"model":"chatty",
      "messages":[{"role":"user","content":"See: ","parts":[{"type":"text","text":"this"},
                    {"type":"image_url","image_url":{"url":"data:image/png;base64,iVBO"}}]},
                  {"role":"assistant","tool_calls":[{"id":"c1","name":"weather","arguments":"{\"city\":\"Paris\"}"}]},
                  {"role":"tool","tool_call_id":"c1","content":"sun"}],
      "tools":[{"type":"function","function":{"name":"weather"}}],
      "response_format":{"type":"json_schema","json_schema":{"schema":{"type":"object"}}}})"),
                        chat_),
              IsOk());
  const auto response = testing::Run(loop_, units_.Chat(call_, chat_));
  ASSERT_THAT(response, IsOk());
  EXPECT_EQ(response->finish_reason(), v1::FINISH_REASON_TOOL_CALLS);
  ASSERT_EQ(response->tool_calls_size(), 1);
  EXPECT_EQ(response->tool_calls(0).id(), "call_0");
  EXPECT_EQ(response->tool_calls(0).arguments(), R"({"city":"Rome"})");
  EXPECT_EQ(Sent()["messages"], Json::parse(R"([{"role":"user","content":"See: this","images":["iVBO"]},
      {"role":"assistant","content":"","tool_calls":[{"function":{"name":"weather","arguments":{"city":"Paris"}}}]},
      {"role":"tool","content":"sun","tool_name":"weather"}])"));
  EXPECT_EQ(Sent()["format"], Json::parse(R"({"type":"object"})"));
  EXPECT_EQ(Sent()["tools"][0]["function"]["name"], "weather");
}

// As many as a request may bring: looking through all calls for each message would take minutes.
TEST_F(OllamaTest, ManyMessagesAndCallsAreTranslatedInOneGo) {
  Lines(R"({"message":{"content":"ok"},"done":true,"done_reason":"stop"})"
        "\n");
  for (int i = 0; i < 4000; ++i) {
    v1::Message& asking = *chat_.add_messages();
    asking.set_role("assistant");
    for (int j = 0; j < 50; ++j) {
      v1::ToolCall& call = *asking.add_tool_calls();
      call.set_id(absl::StrCat("c", i, "_", j));
      call.set_name(absl::StrCat("f", i));
      call.set_arguments("{}");
    }
    v1::Message& result = *chat_.add_messages();
    result.set_role("tool");
    result.set_tool_call_id(absl::StrCat("c", i, "_0"));
  }
  ASSERT_THAT(testing::Run(loop_, units_.Chat(call_, chat_)), IsOk());
  const Json messages = Sent()["messages"];
  EXPECT_EQ(messages[1]["tool_name"], "f0");
  EXPECT_EQ(messages[7999]["tool_name"], "f3999");
}

TEST_F(OllamaTest, WhatItHasNoWordsForIsRefused) {
  for (const char* more :
       {R"({"tool_choice":"required"})", R"({"response_format":{"type":"grammar"}})",
        R"({"messages":[{"role":"user","parts":[{"type":"input_audio"}]}]})",
        R"({"messages":[{"role":"user","parts":[{"type":"image_url","image_url":{"url":"http://x/"}}]}]})"}) {
    chat_.Clear();
    ASSERT_THAT(ParseJson(Json::parse(more), chat_), IsOk());
    chat_.set_model("chatty");
    EXPECT_THAT(Chat(), FailsWith(v1::INFERENCE_REQUEST_REFUSED, "ollama")) << more;
  }
  EXPECT_TRUE(engine_.requests().empty());
}

TEST_F(OllamaTest, ItTakesRequestsInOpenAisFormAsTheyAre) {
  engine_.Then(ScriptedEngine::Stream({"[DONE]"}));
  v1::ForwardRequest request;
  request.set_path("/v1/chat/completions");
  request.set_method("POST");
  request.set_body(R"({"model":"chatty","stream":true,"messages":[]})");
  FakeWriter<v1::ForwardChunk> out;
  ASSERT_THAT(testing::Run(loop_, units_.Forward(call_, request, out)), IsOk());
  EXPECT_EQ(out.written.at(0).status(), 200);
  EXPECT_EQ(Path(), "POST /v1/chat/completions");
}

TEST_F(OpenInferenceTest, TextsGoIntoATensorAndVectorsComeOutOfOne) {
  engine_.Then(Recorded("mlserver-infer"));
  engines_.endpoints[1].served_name = "mini/lm";
  const auto response = Embed({"Hello", "World"});
  ASSERT_THAT(response, IsOk());
  EXPECT_EQ(response->dimensions(), 4);
  EXPECT_NEAR(response->embeddings(0).values(0).number_value(), 0.0941, 0.0001);
  EXPECT_NEAR(response->embeddings(1).values(3).number_value(), 0.4902, 0.0001);
  EXPECT_EQ(Path(), "POST /v2/models/mini%2flm/infer");
  EXPECT_EQ(Sent(), Json::parse(R"({"inputs":[{"name":"text_input","shape":[2,1],"datatype":"BYTES",
                                    "data":["Hello","World"]}]})"));
}

TEST_F(OpenInferenceTest, TensorsThatDoNotFitAreAFailedEngine) {
  engine_.Then(Recorded("mlserver-infer"));  // two rows
  for (const char* outputs :
       {R"([])", R"([3])", R"([{"datatype":"FP32","shape":[1,3],"data":[1,2]}])",
        R"([{"datatype":"FP32","shape":[1,0],"data":[]}])", R"([{"datatype":"FP32","shape":[1,1],"data":["1"]}])",
        R"([{"datatype":"FP32","shape":[1,1],"data":[[[[1]]]]}])", R"("none")"}) {
    engine_.Then(ScriptedEngine::Answer(200, "application/json", std::string(R"({"outputs":)") + outputs + "}"));
  }
  for (int i = 0; i < 8; ++i) {
    EXPECT_THAT(Embed({"one"}), FailsWith(v1::INFERENCE_ENGINE_FAILED, "sent what is no")) << i;
  }
}

TEST_F(OpenInferenceTest, RowsMayBeLists) {
  engine_.Then(ScriptedEngine::Answer(200, "application/json",
                                      R"({"outputs":[{"datatype":"FP64","shape":[2,2],"data":[[1,2],[3,4]]}]})"));
  const auto response = Embed({"a", "b"});
  ASSERT_THAT(response, IsOk());
  EXPECT_EQ(response->embeddings(1).values(0).number_value(), 3);
}

TEST_F(OpenInferenceTest, ItsErrorsAreTold) {
  engine_.Then(Recorded("mlserver-not-found"));
  engine_.Then(Recorded("mlserver-bad-input"));
  EXPECT_THAT(Embed({"x"}), FailsWith(v1::INFERENCE_REQUEST_REFUSED, "Model nobody not found"));
  EXPECT_THAT(Embed({"x"}), FailsWith(v1::INFERENCE_REQUEST_REFUSED, "Field required"));
}

TEST_F(OpenInferenceTest, ATextIsContinuedUntilTheStreamEnds) {
  engine_.Then(ScriptedEngine::Stream({R"({"model_name":"chatty","model_version":"1","text_output":" four"})",
                                       R"({"model_name":"chatty","model_version":"1","text_output":", five"})"}));
  complete_.set_max_tokens(8);
  complete_.add_stop(".");
  const auto response = Complete();
  ASSERT_THAT(response, IsOk());
  EXPECT_EQ(response->text(), " four, five");
  EXPECT_EQ(response->finish_reason(), v1::FINISH_REASON_UNSPECIFIED);
  EXPECT_EQ(response->usage().completion_tokens(), 2);
  EXPECT_EQ(Path(), "POST /v2/models/chatty/generate_stream");
  EXPECT_EQ(Sent(), Json::parse(R"({"text_input":"One, two, three,","parameters":{"stream":true,
                                    "exclude_input_in_output":true,"max_tokens":8,"stop":"."}})"));
}

TEST_F(OpenInferenceTest, AStreamThatIsCutIsALostEngine) {
  ScriptedEngine::Script script = ScriptedEngine::Stream({R"({"text_output":" four"})"});
  script.back() = {Step::kCut};
  engine_.Then(script);
  EXPECT_THAT(Complete(), FailsWith(v1::INFERENCE_ENGINE_LOST, "chatty-instance"));
}

TEST_F(OpenInferenceTest, AnErrorInTheStreamIsAFailedEngine) {
  engine_.Then(ScriptedEngine::Stream({R"({"text_output":" four"})", R"({"error":"out of memory"})"}));
  EXPECT_THAT(Complete(), FailsWith(v1::INFERENCE_ENGINE_FAILED, "out of memory"));
}

TEST_F(OpenInferenceTest, ConversationsAndOpenAisFormAreRefused) {
  EXPECT_THAT(Chat(), FailsWith(v1::INFERENCE_REQUEST_REFUSED, "conversations"));
  v1::ForwardRequest request;
  request.set_path("/v1/chat/completions");
  request.set_method("POST");
  request.set_body(R"({"model":"chatty"})");
  FakeWriter<v1::ForwardChunk> out;
  ASSERT_THAT(testing::Run(loop_, units_.Forward(call_, request, out)), IsOk());
  EXPECT_EQ(out.written.at(0).status(), 400);
  EXPECT_TRUE(engine_.requests().empty());
}

}  // namespace
}  // namespace aima::inference
