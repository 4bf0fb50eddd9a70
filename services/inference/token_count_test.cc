#include "services/inference/token_count.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "libs/testing/status_matchers.h"
#include "libs/testing/task.h"
#include "services/inference/fakes.h"
#include "services/inference/inference_units.h"
#include "services/inference/scripted_engine.h"

namespace aima::inference {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::json;
using testing::FailsWith;
using testing::IsOk;

constexpr char kJson[] = "application/json";
constexpr char kFinish[] = R"({"choices":[{"index":0,"delta":{},"finish_reason":"length"}]})";
constexpr char kUsage[] = R"({"choices":[],"usage":{"prompt_tokens":31,"completion_tokens":1,"total_tokens":32}})";

class TokenCountTest : public ::testing::Test {
 protected:
  TokenCountTest() {
    call_.deadline = absl::Now() + absl::Minutes(2);
    engines_.endpoints = {engine_.At("chatty")};
    request_.set_model("chatty");
    v1::Message& turn = *request_.add_messages();
    turn.set_role("user");
    turn.set_content("Hello");
  }
  absl::StatusOr<v1::CountTokensResponse> Count() { return testing::Run(loop_, units_.CountTokens(call_, request_)); }
  std::string Line(size_t request) {
    const std::string& head = engine_.requests().at(request).head;
    return head.substr(0, head.find("\r\n"));
  }

  Loop loop_;
  ScriptedEngine engine_{loop_};
  FakeModels models_;
  FakeEngines engines_;
  FakeOutbox outbox_;
  Router router_{loop_, models_, engines_, /*auto_start=*/false};
  http::Client http_{loop_};
  Dispatcher dispatcher_{loop_, router_, http_};
  TokenCount units_{dispatcher_, outbox_};
  CallContext call_;
  v1::CountTokensRequest request_;
};

TEST_F(TokenCountTest, LlamaCppIsAskedWhereItCountsWithToolsAndTemplate) {
  engine_.Then(ScriptedEngine::Answer(200, kJson, R"({"input_tokens":37,"object":"response.input_tokens"})"));
  (*request_.add_tools()->mutable_fields())["type"].set_string_value("function");
  const auto count = Count();
  ASSERT_THAT(count, IsOk());
  EXPECT_EQ(count->tokens(), 37);
  EXPECT_EQ(count->model(), "chatty");
  EXPECT_THAT(Line(0), HasSubstr("/v1/chat/completions/input_tokens"));
  const Json body = Json::parse(engine_.requests()[0].body);
  EXPECT_EQ(body["messages"][0]["content"], "Hello");
  EXPECT_EQ(body["tools"][0]["type"], "function");
}

TEST_F(TokenCountTest, VllmIsAskedWhereItCounts) {
  engine_.Then(ScriptedEngine::Answer(404, kJson, R"({"detail":"Not Found"})"));
  engine_.Then(ScriptedEngine::Answer(200, kJson, R"({"count":12,"max_model_len":2048,"tokens":[1,2]})"));
  const auto count = Count();
  ASSERT_THAT(count, IsOk());
  EXPECT_EQ(count->tokens(), 12);
  EXPECT_THAT(Line(1), HasSubstr("POST /tokenize"));
}

TEST_F(TokenCountTest, AnEngineThatCountsNowhereReadsTheConversation) {
  engine_.Then(ScriptedEngine::Answer(404, kJson, "{}"));
  engine_.Then(ScriptedEngine::Answer(200, kJson, R"({"tokens":[]})"));
  engine_.Then(ScriptedEngine::Stream({kFinish, kUsage, "[DONE]"}));
  const auto count = Count();
  ASSERT_THAT(count, IsOk());
  EXPECT_EQ(count->tokens(), 31);
  EXPECT_EQ(Json::parse(engine_.requests()[2].body)["max_tokens"], 1);
}

TEST_F(TokenCountTest, PicturesAreCountedByReadingThem) {
  engine_.Then(ScriptedEngine::Stream({kFinish, kUsage, "[DONE]"}));
  (*request_.mutable_messages(0)->add_parts()->mutable_fields())["type"].set_string_value("image_url");
  const auto count = Count();
  ASSERT_THAT(count, IsOk());
  EXPECT_EQ(count->tokens(), 31);
  EXPECT_THAT(Line(0), HasSubstr("POST /v1/chat/completions HTTP"));
}

TEST_F(TokenCountTest, WhatTheEngineRefusesIsSaid) {
  engine_.Then(ScriptedEngine::Answer(400, kJson, R"({"error":{"message":"no such role"}})"));
  EXPECT_THAT(Count(), FailsWith(v1::INFERENCE_REQUEST_REFUSED, "no such role"));
}

TEST_F(TokenCountTest, AnEngineThatTellsNoUsageCannotCount) {
  engine_.Then(ScriptedEngine::Answer(404, kJson, "{}"));
  engine_.Then(ScriptedEngine::Answer(404, kJson, "{}"));
  engine_.Then(ScriptedEngine::Stream({kFinish, "[DONE]"}));
  EXPECT_THAT(Count(), FailsWith(v1::INFERENCE_REQUEST_REFUSED, "how many tokens"));
}

// What the translations of other APIs need to know of an answer.
class AnswerDetailsTest : public TokenCountTest {
 protected:
  absl::Status Stream() {
    v1::ChatRequest request;
    request.set_model("chatty");
    *request.mutable_messages() = request_.messages();
    request.add_stop("END");
    request.set_usage_first(usage_first_);
    return testing::Run(loop_, chat_.ChatStream(call_, request, chunks_));
  }
  InferenceUnits chat_{router_, dispatcher_, outbox_};
  FakeWriter<v1::ChatChunk> chunks_;
  bool usage_first_ = false;
};

TEST_F(AnswerDetailsTest, WhatLlamaCppReadsIsToldOnceBeforeItAnswersToWhoAsksForThat) {
  const auto reading = [](int processed) {
    return absl::StrCat(R"({"choices":[{"index":0,"delta":{"role":"assistant","content":null},"finish_reason":null}],)"
                        R"("prompt_progress":{"total":33,"cache":32,"processed":)", processed, R"(,"time_ms":0}})");
  };
  ScriptedEngine::Script script = ScriptedEngine::Stream(
      {reading(32), reading(33), ScriptedEngine::Piece("x"), R"({"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]})",
       R"({"choices":[],"usage":{"prompt_tokens":33,"completion_tokens":1,"total_tokens":34}})", "[DONE]"});
  script.insert(script.begin() + 2, {ScriptedEngine::Step::kPause, "", 30});
  engine_.Then(script);
  engines_.endpoints[0].engine = "llamacpp";
  usage_first_ = true;
  ASSERT_THAT(Stream(), IsOk());
  EXPECT_EQ(Json::parse(engine_.requests()[0].body)["return_progress"], true);
  ASSERT_GE(chunks_.written.size(), 3u);
  EXPECT_EQ(chunks_.written[0].content(), "");
  EXPECT_EQ(chunks_.written[0].usage().prompt_tokens(), 33);
  EXPECT_EQ(chunks_.written[0].usage().cached_tokens(), 32);
  EXPECT_EQ(chunks_.written[1].content(), "x");
  EXPECT_FALSE(chunks_.written[1].has_usage());
  EXPECT_EQ(chunks_.written.back().usage().completion_tokens(), 1);
}

TEST_F(AnswerDetailsTest, NobodyElseIsAskedHowFarReadingIs) {
  for (const auto& [engine, asked] : {std::pair("llamacpp", false), std::pair("vllm", true)}) {
    engine_.Then(ScriptedEngine::Stream({R"({"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]})", "[DONE]"}));
    Endpoint endpoint = engine_.At("chatty");
    endpoint.engine = engine;
    endpoint.generation = static_cast<int64_t>(engine_.requests().size()) + 100;
    engines_.endpoints = {endpoint};
    testing::Run(loop_, router_.Refresh(call_)).IgnoreError();
    usage_first_ = asked;
    ASSERT_THAT(Stream(), IsOk());
    EXPECT_FALSE(Json::parse(engine_.requests().back().body).contains("return_progress")) << engine;
  }
}

TEST_F(AnswerDetailsTest, PartsOfFunctionCallsComeAsTheyAreMade) {
  const auto piece = [](const std::string& call) {
    return R"({"choices":[{"index":0,"delta":{"tool_calls":[)" + call + "]}}]}";
  };
  ScriptedEngine::Script script = ScriptedEngine::Stream(
      {piece(R"({"index":0,"id":"c1","function":{"name":"f","arguments":"{\"a\":"}})"),
       piece(R"({"index":0,"function":{"arguments":"1}"}})"),
       R"({"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]})", "[DONE]"});
  script.insert(script.begin() + 2, {ScriptedEngine::Step::kPause, "", 30});
  engine_.Then(script);
  ASSERT_THAT(Stream(), IsOk());
  ASSERT_EQ(chunks_.written.size(), 3u);
  EXPECT_EQ(chunks_.written[0].tool_call_deltas(0).id(), "c1");
  EXPECT_EQ(chunks_.written[0].tool_call_deltas(0).name(), "f");
  EXPECT_EQ(chunks_.written[0].tool_call_deltas(0).arguments(), "{\"a\":");
  EXPECT_EQ(chunks_.written[1].tool_call_deltas(0).arguments(), "1}");
  EXPECT_EQ(chunks_.written[2].tool_call_deltas_size(), 0);
  EXPECT_EQ(chunks_.written[2].tool_calls(0).arguments(), "{\"a\":1}");
}

TEST_F(AnswerDetailsTest, TheTextAtWhichAnEngineStoppedIsTold) {
  engines_.endpoints[0].engine = "llamacpp";
  const char* const ends[] = {
      R"({"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"__verbose":{"content":"","stopping_word":"END","x":1}})",
      R"({"choices":[{"index":0,"delta":{},"finish_reason":"stop","stop_reason":"END"}]})",
      R"({"choices":[{"index":0,"delta":{},"finish_reason":"stop","matched_stop":"END"}]})"};
  for (const char* end : ends) {
    engine_.Then(ScriptedEngine::Stream({ScriptedEngine::Piece("x"), end, "[DONE]"}));
  }
  for (size_t i = 0; i < std::size(ends); ++i) {
    chunks_.written.clear();
    ASSERT_THAT(Stream(), IsOk());
    EXPECT_EQ(chunks_.written.back().stop_text(), "END") << ends[i];
  }
  EXPECT_EQ(Json::parse(engine_.requests()[0].body)["verbose"], true) << "llama.cpp tells it only if asked so";
}

TEST_F(AnswerDetailsTest, AnEndWithoutAStopTextTellsNone) {
  engine_.Then(ScriptedEngine::Stream(
      {R"({"choices":[{"index":0,"delta":{},"finish_reason":"stop","stop_reason":128009}],"__verbose":{"stopping_word":""}})",
       "[DONE]"}));
  ASSERT_THAT(Stream(), IsOk());
  EXPECT_FALSE(chunks_.written.back().has_stop_text());
  EXPECT_FALSE(Json::parse(engine_.requests()[0].body).contains("verbose")) << "others are not asked";
}

}  // namespace
}  // namespace aima::inference
