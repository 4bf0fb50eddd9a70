
#include <google/protobuf/util/json_util.h>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <nlohmann/json.hpp>

#include "libs/testing/status_matchers.h"
#include "libs/testing/task.h"
#include "services/inference/scripted_engine.h"
#include "services/inference/units_for_test.h"

namespace aima::inference {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using Json = nlohmann::json;
using testing::FailsWith;
using testing::IsOk;

constexpr char kFinish[] = R"({"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]})";
constexpr char kUsage[] = R"({"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}})";

class InferenceUnitsTest : public UnitsTest {
 protected:
  InferenceUnitsTest() {
    call_.request_id = "r1";
    call_.deadline = absl::Now() + absl::Minutes(2);
    engines_.endpoints = {engine_.At("chatty"), engine_.At("vectors")};
  }

  absl::StatusOr<v1::ChatResponse> Chat(const std::string& message = "Hello") {
    request_.set_model("chatty");
    request_.set_message(message);
    return testing::Run(loop_, units_.Chat(call_, request_));
  }
  absl::Status ChatStream() {
    stream_request_.set_model("chatty");
    stream_request_.set_message("Hello");
    return testing::Run(loop_, units_.ChatStream(call_, stream_request_, chunks_));
  }
  // Runs a request of the OpenAI surface and returns the body of its answer.
  std::string Forward(const std::string& path, const std::string& body, const std::string& method = "POST") {
    v1::ForwardRequest request;
    request.set_path(path);
    request.set_method(method);
    request.set_body(body);
    forwarded_.written.clear();
    EXPECT_THAT(testing::Run(loop_, units_.Forward(call_, request, forwarded_)), IsOk());
    std::string all;
    for (const auto& chunk : forwarded_.written) all += chunk.body();
    return all;
  }
  int Status() const { return forwarded_.written.empty() ? 0 : forwarded_.written[0].status(); }
  // Lets the loop run until `done`.
  template <class Done>
  void Until(Done done) {
    const absl::Time limit = absl::Now() + absl::Minutes(1);
    loop_.restart();
    while (!done() && absl::Now() < limit) loop_.run_one_for(std::chrono::milliseconds(50));
    EXPECT_TRUE(done());
  }
  int InFlight() {
    return router_.LoadOf("chatty").replicas.empty() ? 0 : router_.LoadOf("chatty").replicas[0]->in_flight;
  }

  v1::ChatRequest request_;
  v1::ChatRequest stream_request_;
  FakeWriter<v1::ChatChunk> chunks_;
  FakeWriter<v1::ForwardChunk> forwarded_;
};

TEST_F(InferenceUnitsTest, ChatAssemblesAStreamedAnswer) {
  engine_.Then(ScriptedEngine::Stream(
      {ScriptedEngine::Piece("Hel"), ScriptedEngine::Piece("lo"), kFinish, kUsage, "[DONE]"}));
  const auto response = Chat();
  ASSERT_THAT(response, IsOk());
  EXPECT_EQ(response->content(), "Hello");
  EXPECT_EQ(response->finish_reason(), v1::FINISH_REASON_STOP);
  EXPECT_EQ(response->usage().total_tokens(), 5);
  EXPECT_EQ(response->model(), "chatty");
  EXPECT_GT(response->metrics().time_to_first_token_ms(), 0);
  EXPECT_EQ(InFlight(), 0);
}

TEST_F(InferenceUnitsTest, TheEngineIsAskedForAStreamWithUsageAndItsKey) {
  engine_.Then(ScriptedEngine::Stream({kFinish, "[DONE]"}));
  request_.set_temperature(0.1);
  request_.set_max_tokens(5);
  request_.add_stop("\n\n");
  auto* turn = request_.add_messages();
  turn->set_role("system");
  turn->set_content("Be \"brief\".");
  (*request_.mutable_engine_options()->mutable_fields())["repeat_penalty"].set_number_value(1.5);
  ASSERT_THAT(Chat("Hi"), IsOk());
  EXPECT_THAT(engine_.requests()[0].head, HasSubstr("Authorization: Bearer engine-key"));
  EXPECT_EQ(Json::parse(engine_.requests()[0].body), Json::parse(R"({"model":"chatty","stream":true,
      "stream_options":{"include_usage":true},"temperature":0.1,"max_tokens":5,"stop":["\n\n"],"repeat_penalty":1.5,
      "messages":[{"role":"system","content":"Be \"brief\"."},{"role":"user","content":"Hi"}]})"));
}

TEST_F(InferenceUnitsTest, EngineOptionsCannotReplaceFieldsOfTheRequest) {
  (*request_.mutable_engine_options()->mutable_fields())["stream"].set_bool_value(false);
  EXPECT_THAT(Chat(), FailsWith(unit::v1::INVALID_INPUT, "engine_options.stream"));
}

TEST_F(InferenceUnitsTest, ChatWithoutAnyMessageNamesTheField) {
  EXPECT_THAT(Chat(""), FailsWith(unit::v1::INVALID_INPUT, "messages"));
}

TEST_F(InferenceUnitsTest, ChatStreamWritesPiecesAndEndsWithUsage) {
  ScriptedEngine::Script script = ScriptedEngine::Stream(
      {ScriptedEngine::Piece("Hel"), ScriptedEngine::Piece("lo"), kFinish, kUsage, "[DONE]"});
  script.insert(script.begin() + 2, {ScriptedEngine::Step::kPause, "", 30});
  engine_.Then(script);
  ASSERT_THAT(ChatStream(), IsOk());
  ASSERT_EQ(chunks_.written.size(), 3u);
  EXPECT_EQ(chunks_.written[0].content(), "Hel");
  EXPECT_FALSE(chunks_.written[0].has_usage());
  EXPECT_EQ(chunks_.written[1].content(), "lo");
  EXPECT_EQ(chunks_.written[2].finish_reason(), v1::FINISH_REASON_STOP);
  EXPECT_EQ(chunks_.written[2].usage().completion_tokens(), 2);
}

TEST_F(InferenceUnitsTest, UsageIsCountedWhereTheEngineDoesNotTell) {
  engine_.Then(
      ScriptedEngine::Stream({ScriptedEngine::Piece("a"), ScriptedEngine::Piece("b"), kFinish, "[DONE]"}));
  EXPECT_EQ(Chat()->usage().completion_tokens(), 2);
}

TEST_F(InferenceUnitsTest, ToolCallsComeWhole) {
  engine_.Then(ScriptedEngine::Stream(
      {R"({"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"t1","type":"function","function":{"name":"weather","arguments":"{\"city\":"}}]}}]})",
       R"({"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"\"Paris\"}"}}]}}]})",
       R"({"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]})", "[DONE]"}));
  const auto response = Chat();
  ASSERT_THAT(response, IsOk());
  ASSERT_EQ(response->tool_calls_size(), 1);
  EXPECT_EQ(response->tool_calls(0).name(), "weather");
  EXPECT_EQ(response->tool_calls(0).arguments(), R"({"city":"Paris"})");
  EXPECT_EQ(response->finish_reason(), v1::FINISH_REASON_TOOL_CALLS);
}

TEST_F(InferenceUnitsTest, EventsTellWhatHappened) {
  engine_.Then(ScriptedEngine::Stream({ScriptedEngine::Piece("Hi"), kFinish, kUsage, "[DONE]"}));
  engine_.Then(ScriptedEngine::Answer(500, "application/json", R"({"error":{"message":"boom"}})"));
  ASSERT_THAT(Chat(), IsOk());
  EXPECT_THAT(outbox_.Names(), ElementsAre("RequestStarted", "RequestCompleted"));
  EXPECT_EQ(outbox_.Last<v1::RequestCompleted>().tokens(), 5);
  EXPECT_EQ(outbox_.Last<v1::RequestCompleted>().request_id(), "r1");
  EXPECT_THAT(Chat(), FailsWith(v1::INFERENCE_ENGINE_FAILED, "boom"));
  EXPECT_THAT(outbox_.Names(),
              ElementsAre("RequestStarted", "RequestCompleted", "RequestStarted", "RequestFailed"));
  EXPECT_EQ(outbox_.Last<v1::RequestFailed>().reason(), "INFERENCE_ENGINE_FAILED");
}

TEST_F(InferenceUnitsTest, AConnectionCutInTheMiddleIsALostEngine) {
  ScriptedEngine::Script script = ScriptedEngine::Stream({ScriptedEngine::Piece("Hel")});
  script.back() = {ScriptedEngine::Step::kCut};
  engine_.Then(script);
  EXPECT_THAT(ChatStream(), FailsWith(v1::INFERENCE_ENGINE_LOST, "chatty-instance"));
  EXPECT_EQ(outbox_.Last<v1::RequestFailed>().reason(), "INFERENCE_ENGINE_LOST");
  EXPECT_EQ(InFlight(), 0);
}

TEST_F(InferenceUnitsTest, AStreamThatEndsWithoutAnEndIsALostEngine) {
  engine_.Then(ScriptedEngine::Stream({ScriptedEngine::Piece("Hel")}));
  EXPECT_THAT(Chat(), FailsWith(v1::INFERENCE_ENGINE_LOST, "ended early"));
}

TEST_F(InferenceUnitsTest, GarbageIsAFailedEngine) {
  engine_.Then(ScriptedEngine::Stream({ScriptedEngine::Piece("Hel"), "}{ this is no JSON"}));
  EXPECT_THAT(Chat(), FailsWith(v1::INFERENCE_ENGINE_FAILED, "this is no JSON"));
}

TEST_F(InferenceUnitsTest, AnEngineThatStillLoadsIsWaitedFor) {
  engine_.Then(ScriptedEngine::Answer(503, "application/json",
                                      R"({"error":{"message":"Loading model","type":"unavailable_error"}})"));
  engine_.Then(ScriptedEngine::Stream({ScriptedEngine::Piece("Hi"), kFinish, "[DONE]"}));
  EXPECT_THAT(Chat(), IsOk());
  EXPECT_EQ(engine_.requests().size(), 2u);
  EXPECT_THAT(outbox_.Names(), ElementsAre("RequestStarted", "RequestCompleted"));
}

TEST_F(InferenceUnitsTest, AnEngineThatIsGoneIsReplaced) {
  Endpoint gone = engine_.At("chatty");
  gone.instance_id = "gone";
  gone.port = 1;  // nobody listens there
  engines_.endpoints = {gone};
  ASSERT_THAT(testing::Run(loop_, router_.Refresh(call_)), IsOk());
  engines_.endpoints.clear();
  engines_.start = [&](std::string model) -> Task<absl::Status> {
    engines_.endpoints = {engine_.At(model)};
    co_return absl::OkStatus();
  };
  engine_.Then(ScriptedEngine::Stream({ScriptedEngine::Piece("Hi"), kFinish, "[DONE]"}));
  EXPECT_THAT(Chat(), IsOk());
  EXPECT_EQ(engines_.starts, 1);
}

TEST_F(InferenceUnitsTest, AnEngineThatListensNowhereIsGivenUpSoon) {
  Endpoint gone = engine_.At("chatty");
  gone.port = 1;
  engines_.endpoints = {gone};
  EXPECT_THAT(Chat(), FailsWith(v1::INFERENCE_ENGINE_LOST, "chatty-instance"));
}

TEST_F(InferenceUnitsTest, ASlowEngineEndsWithTheDeadline) {
  engine_.Then({{ScriptedEngine::Step::kStall}});
  // A loaded machine may need longer until the engine has heard the request at all.
  for (absl::Duration patience = absl::Milliseconds(60); engine_.requests().empty(); patience *= 2) {
    call_.deadline = absl::Now() + patience;
    ASSERT_EQ(Chat().status().code(), absl::StatusCode::kDeadlineExceeded);
  }
  Until([&] { return engine_.abandoned() == 1; });
}

TEST_F(InferenceUnitsTest, ACallerThatLeavesAStreamEndsTheEnginesWork) {
  ScriptedEngine::Script script = ScriptedEngine::Stream({ScriptedEngine::Piece("a"), ScriptedEngine::Piece("b")});
  script.back() = {ScriptedEngine::Step::kStall};
  engine_.Then(script);
  chunks_.leave_after = 0;
  EXPECT_EQ(ChatStream().code(), absl::StatusCode::kCancelled);
  Until([&] { return engine_.abandoned() == 1; });
  EXPECT_EQ(InFlight(), 0);
  EXPECT_EQ(outbox_.Last<v1::RequestFailed>().reason(), "CANCELLED");
}

TEST_F(InferenceUnitsTest, ACancelledChatEndsTheEnginesWork) {
  ScriptedEngine::Script script = ScriptedEngine::Stream({ScriptedEngine::Piece("a")});
  script.back() = {ScriptedEngine::Step::kStall};
  engine_.Then(script);
  request_.set_model("chatty");
  request_.set_message("Hello");
  boost::asio::cancellation_signal leave;
  bool ended = false;
  boost::asio::co_spawn(
      loop_, units_.Chat(call_, request_),
      boost::asio::bind_cancellation_slot(leave.slot(), [&](std::exception_ptr, auto) { ended = true; }));
  Until([&] { return InFlight() == 1 && engine_.requests().size() == 1; });
  leave.emit(boost::asio::cancellation_type::terminal);
  Until([&] { return ended && engine_.abandoned() == 1; });
  EXPECT_EQ(InFlight(), 0);
  EXPECT_EQ(outbox_.Last<v1::RequestFailed>().reason(), "CANCELLED");
}

TEST_F(InferenceUnitsTest, ACancelledStreamLeavesTheEngineInTheTable) {
  ScriptedEngine::Script script = ScriptedEngine::Stream({ScriptedEngine::Piece("a")});
  script.back() = {ScriptedEngine::Step::kStall};
  engine_.Then(script);
  stream_request_.set_model("chatty");
  stream_request_.set_message("Hello");
  boost::asio::cancellation_signal leave;
  bool ended = false;
  boost::asio::co_spawn(
      loop_, units_.ChatStream(call_, stream_request_, chunks_),
      boost::asio::bind_cancellation_slot(leave.slot(), [&](std::exception_ptr, auto) { ended = true; }));
  Until([&] { return chunks_.written.size() == 1; });
  loop_.poll();  // the handler waits for the next piece
  leave.emit(boost::asio::cancellation_type::terminal);
  Until([&] { return ended && engine_.abandoned() == 1; });
  EXPECT_EQ(outbox_.Last<v1::RequestFailed>().reason(), "CANCELLED");
  ASSERT_EQ(router_.LoadOf("chatty").replicas.size(), 1u);
  EXPECT_EQ(InFlight(), 0);
}

TEST_F(InferenceUnitsTest, ManyStreamsOverConnectionsThatTheEngineClosesAllSucceed) {
  // llama.cpp announces keep-alive and closes all the same.
  engine_.Then(ScriptedEngine::Stream({ScriptedEngine::Piece("a"), kFinish, kUsage, "[DONE]"}));
  for (int i = 0; i < 200; ++i) ASSERT_THAT(Chat(), IsOk()) << i;
}

TEST_F(InferenceUnitsTest, EmbedReturnsVectorsInTheOrderOfTheTexts) {
  engine_.Then(ScriptedEngine::Answer(
      200, "application/json",
      R"({"data":[{"index":1,"embedding":[3,4]},{"index":0,"embedding":[1,2.5]}],"usage":{"prompt_tokens":6,"total_tokens":6}})"));
  v1::EmbedRequest request;
  request.set_model("vectors");
  request.add_input("a");
  request.add_input("b");
  const auto response = testing::Run(loop_, units_.Embed(call_, request));
  ASSERT_THAT(response, IsOk());
  EXPECT_EQ(response->embeddings(0).values(1).number_value(), 2.5);
  EXPECT_EQ(response->embeddings(1).values(0).number_value(), 3);
  EXPECT_EQ(response->dimensions(), 2);
  EXPECT_EQ(response->usage().total_tokens(), 6);
}

TEST_F(InferenceUnitsTest, EmbedNoticesMissingVectors) {
  engine_.Then(ScriptedEngine::Answer(200, "application/json", R"({"data":[{"index":0,"embedding":[1]}]})"));
  v1::EmbedRequest request;
  request.set_model("vectors");
  request.add_input("a");
  request.add_input("b");
  EXPECT_THAT(testing::Run(loop_, units_.Embed(call_, request)),
              FailsWith(v1::INFERENCE_ENGINE_FAILED, "1 embeddings of 2"));
}

TEST_F(InferenceUnitsTest, ModelsTellsWhatRuns) {
  models_.Add("idle", v1::MODEL_TYPE_LLM);
  models_.Add("half", v1::MODEL_TYPE_LLM, /*ready=*/false);
  v1::ModelsRequest request;
  request.set_type(v1::MODEL_TYPE_LLM);
  const auto response = testing::Run(loop_, units_.Models(call_, request));
  ASSERT_THAT(response, IsOk());
  ASSERT_EQ(response->models_size(), 2);
  EXPECT_EQ(response->models(0).id(), "chatty");
  EXPECT_TRUE(response->models(0).running());
  EXPECT_EQ(response->models(0).instances(0).max_concurrent(), 4);
  EXPECT_EQ(response->models(1).id(), "idle");
  EXPECT_FALSE(response->models(1).running());
}

TEST_F(InferenceUnitsTest, ForwardPassesAStreamOnByteForByte) {
  const ScriptedEngine::Script script =
      ScriptedEngine::Stream({ScriptedEngine::Piece("Hi"), kFinish, kUsage, "[DONE]"});
  engine_.Then(script);
  const std::string sent = R"({ "model":"chatty", "stream":true, "messages":[] })";
  const std::string body = Forward("/v1/chat/completions", sent);
  EXPECT_EQ(body, "data: " + ScriptedEngine::Piece("Hi") + "\n\ndata: " + kFinish + "\n\ndata: " + kUsage +
                      "\n\ndata: [DONE]\n\n");
  EXPECT_EQ(Status(), 200);
  EXPECT_EQ(forwarded_.written[0].headers(0).value(), "text/event-stream");
  EXPECT_EQ(engine_.requests()[0].body, sent);
  EXPECT_EQ(outbox_.Last<v1::RequestCompleted>().tokens(), 5);
}

TEST_F(InferenceUnitsTest, ForwardAssemblesAnAnswerForWhoAskedForNoStream) {
  engine_.Then(ScriptedEngine::Stream(
      {ScriptedEngine::Piece("Hel"), ScriptedEngine::Piece("lo"), kFinish, kUsage, "[DONE]"}));
  const Json json = Json::parse(Forward("/v1/chat/completions", R"({"model":"The chatty","messages":[]})"));
  EXPECT_EQ(json["object"], "chat.completion");
  EXPECT_EQ(json["choices"][0]["message"]["content"], "Hello");
  EXPECT_EQ(json["usage"]["total_tokens"], 5);
  EXPECT_EQ(Json::parse(engine_.requests()[0].body)["model"], "chatty");
  EXPECT_EQ(Json::parse(engine_.requests()[0].body)["stream"], true);
}

TEST_F(InferenceUnitsTest, ForwardPassesAWholeAnswerOnOfAnEngineThatEndsAbandonedOnes) {
  engines_.endpoints[0].cancels_whole_answers = true;
  const std::string answer = R"({ "object":"chat.completion", "x_own":[1], "usage":{"total_tokens":7} })";
  engine_.Then(ScriptedEngine::Answer(200, "application/json", answer));
  const std::string sent = R"({ "model":"chatty", "messages":[] })";
  EXPECT_EQ(Forward("/v1/chat/completions", sent), answer);
  EXPECT_EQ(engine_.requests()[0].body, sent);
  EXPECT_EQ(outbox_.Last<v1::RequestCompleted>().tokens(), 7);
}

TEST_F(InferenceUnitsTest, ForwardAnswersErrorsInOpenAisForm) {
  EXPECT_EQ(Json::parse(Forward("/v1/chat/completions", R"({"model":"nope"})"))["error"]["code"],
            "model_not_found");
  EXPECT_EQ(Status(), 404);
  EXPECT_EQ(Json::parse(Forward("/v1/chat/completions", "not json"))["error"]["type"], "invalid_request_error");
  EXPECT_EQ(Status(), 400);
  EXPECT_THAT(Forward("/v1/chat/completions", R"({"model": "chatty", "messages": [)"), HasSubstr("is not valid JSON at byte 34"));
  EXPECT_THAT(Forward("/v1/chat/completions", R"({"model": "chatty"} and more)"), HasSubstr("is not valid JSON at byte"));
  Forward("/v1/files", "{}");
  EXPECT_EQ(Status(), 404);
  Forward("/v1/chat/completions", "", "GET");
  EXPECT_EQ(Status(), 405);
  ASSERT_EQ(forwarded_.written[0].headers_size(), 2);
  EXPECT_EQ(forwarded_.written[0].headers(1).name(), "allow");
  EXPECT_EQ(forwarded_.written[0].headers(1).value(), "POST");
  Forward("/v1/models", "{}");
  EXPECT_EQ(Status(), 405);
  engine_.Then(ScriptedEngine::Answer(
      400, "application/json",
      R"({"error":{"code":400,"message":"too long","type":"exceed_context_size_error","n_ctx":512}})"));
  EXPECT_EQ(Json::parse(Forward("/v1/chat/completions", R"({"model":"chatty"})"))["error"]["code"],
            "context_length_exceeded");
  EXPECT_EQ(Status(), 400);
}

TEST_F(InferenceUnitsTest, DefinitionsThatNoEngineCanReadAreRefusedByField) {
  const auto refused = [&](const std::string& tool) {
    request_.clear_tools();
    EXPECT_TRUE(google::protobuf::util::JsonStringToMessage(tool, request_.add_tools()).ok());
    return Chat().status();
  };
  EXPECT_THAT(refused(R"({"name":"a"})"), FailsWith(unit::v1::INVALID_INPUT, "tools[0].type"));
  EXPECT_THAT(refused(R"({"type":"function","name":"a"})"), FailsWith(unit::v1::INVALID_INPUT, "tools[0].function"));
  EXPECT_THAT(refused(R"({"type":"function","function":{}})"), FailsWith(unit::v1::INVALID_INPUT, "tools[0].function.name"));
  EXPECT_THAT(refused(R"({"type":"function","function":{"name":"a","parameters":[]}})"),
              FailsWith(unit::v1::INVALID_INPUT, "tools[0].function.parameters"));
  request_.clear_tools();
  (*request_.mutable_response_format()->mutable_fields())["type"].set_string_value("json_schema");
  EXPECT_THAT(Chat(), FailsWith(unit::v1::INVALID_INPUT, "response_format.json_schema"));
  request_.mutable_response_format()->clear_fields();
  EXPECT_THAT(Chat(), FailsWith(unit::v1::INVALID_INPUT, "response_format.type"));
  EXPECT_TRUE(engine_.requests().empty());
}

TEST_F(InferenceUnitsTest, WhatAnEngineCannotReadInTheRequestIsNoFailureToTryAgain) {
  engine_.Then(ScriptedEngine::Answer(
      500, "application/json", R"({"error":{"code":500,"message":"Failed to parse tools: Missing tool type: {}","type":"server_error"}})"));
  engine_.Then(ScriptedEngine::Answer(
      500, "application/json", R"({"error":{"code":500,"message":"Failed to parse input at pos 7: <x>","type":"server_error"}})"));
  EXPECT_THAT(Chat(), FailsWith(v1::INFERENCE_REQUEST_REFUSED, "Missing tool type"));
  EXPECT_THAT(Chat(), FailsWith(v1::INFERENCE_ENGINE_FAILED, "input at pos 7")) << "which is the model's own answer";
}

TEST_F(InferenceUnitsTest, EmbeddingsHaveTheLengthThatWasAskedFor) {
  // 3, 4 and 12, which become 0.6 and 0.8; once as base64 of floats.
  const std::string numbers = "[3.0,4.0,12.0]", base64 = R"("AABAQAAAgEAAAEBB")";
  for (const std::string& embedding : {numbers, numbers, numbers, numbers, base64, numbers}) {
    engine_.Then(ScriptedEngine::Answer(
        200, "application/json",
        R"({"data":[{"index":0,"embedding":)" + embedding + R"(}],"usage":{"prompt_tokens":3,"total_tokens":3}})"));
  }
  v1::EmbedRequest request;
  request.set_model("vectors");
  request.add_input("hi");
  const auto embed = [&](int dimensions) {
    request.set_dimensions(dimensions);
    return testing::Run(loop_, units_.Embed(call_, request));
  };
  const auto shortened = embed(2);
  ASSERT_THAT(shortened, IsOk());
  EXPECT_EQ(shortened->dimensions(), 2);
  ASSERT_EQ(shortened->embeddings(0).values_size(), 2);
  EXPECT_DOUBLE_EQ(shortened->embeddings(0).values(0).number_value(), 0.6);
  EXPECT_DOUBLE_EQ(shortened->embeddings(0).values(1).number_value(), 0.8);
  EXPECT_DOUBLE_EQ(embed(3)->embeddings(0).values(2).number_value(), 12) << "of the right length already";
  EXPECT_THAT(embed(4), FailsWith(unit::v1::INVALID_INPUT, "dimensions: is 4, but the model's vectors have 3 numbers"));

  const auto forward = [&](const std::string& dimensions) {
    return Forward("/v1/embeddings", R"({"model":"vectors","input":["hi"],"dimensions":)" + dimensions + "}");
  };
  const Json shorter = Json::parse(forward("2"))["data"][0]["embedding"];
  ASSERT_EQ(shorter.size(), 2u);
  EXPECT_DOUBLE_EQ(shorter[1].get<double>(), 0.8);
  EXPECT_EQ(outbox_.Last<v1::RequestCompleted>().tokens(), 3);
  EXPECT_EQ(Json::parse(forward("2"))["data"][0]["embedding"], "mpkZP83MTD8=");
  EXPECT_EQ(Json::parse(forward("4"))["error"]["param"], "dimensions");
  EXPECT_EQ(Status(), 400);
  for (const char* wrong : {"0", "\"2\"", "1.5"}) {
    EXPECT_EQ(Json::parse(forward(wrong))["error"]["param"], "dimensions");
    EXPECT_EQ(Status(), 400);
  }
}

TEST_F(InferenceUnitsTest, AnEmbeddingInputThatIsTooLongIsNamedAndCounted) {
  engine_.Then(ScriptedEngine::Answer(
      500, "application/json",
      R"-({"error":{"code":500,"message":"input (3000 tokens) is too large to process. increase the physical batch size (current batch size: 512)","type":"server_error"}})-"));
  const Json error = Json::parse(Forward("/v1/embeddings", R"({"model":"vectors","input":"long"})"))["error"];
  EXPECT_EQ(error["code"], "context_length_exceeded");
  EXPECT_EQ(error["param"], "input");
  EXPECT_EQ(error["message"], "the input is longer than the context of model 'vectors': 3000 tokens, of which it takes 512 at once");
}

TEST_F(InferenceUnitsTest, ForwardTellsOfALostEngineInTheStream) {
  ScriptedEngine::Script script = ScriptedEngine::Stream({ScriptedEngine::Piece("Hel")});
  script.back() = {ScriptedEngine::Step::kPause, "", 20};
  script.push_back({ScriptedEngine::Step::kCut});
  engine_.Then(script);
  const std::string body = Forward("/v1/chat/completions", R"({"model":"chatty","stream":true})");
  EXPECT_THAT(body, HasSubstr("Hel"));
  EXPECT_THAT(body, HasSubstr(R"(data: {"error":{"message":)"));
  EXPECT_THAT(body, Not(HasSubstr("[DONE]")));
  EXPECT_EQ(outbox_.Last<v1::RequestFailed>().reason(), "INFERENCE_ENGINE_LOST");
}

TEST_F(InferenceUnitsTest, ForwardListsModelsAsOpenAiDoes) {
  const Json json = Json::parse(Forward("/v1/models", "", "GET"));
  EXPECT_EQ(json["object"], "list");
  EXPECT_EQ(json["data"][0]["id"], "chatty");
  EXPECT_EQ(json["data"][0]["object"], "model");
  EXPECT_EQ(Json::parse(Forward("/v1/models/vectors", "", "GET"))["id"], "vectors");
  EXPECT_EQ(Json::parse(Forward("/v1/models/The%20chatty?x=1", "", "GET"))["id"], "chatty") << "as clients send it that encode";
  Forward("/v1/models/nope", "", "GET");
  EXPECT_EQ(Status(), 404);
}

}  // namespace
}  // namespace aima::inference
