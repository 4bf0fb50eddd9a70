// The APIs of other vendors over real sockets, with units that answer from a table.
#include "services/gateway/translation.h"

#include <absl/strings/match.h>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/write.hpp>

#include "aima/engine/v1/engine.pb.h"
#include "services/gateway/anthropic/anthropic_api.h"
#include "services/gateway/anthropic/messages_request.h"
#include "services/gateway/face_for_test.h"
#include "services/gateway/ollama/ollama_api.h"
#include "services/gateway/ollama/request.h"
#include "services/gateway/responses/request.h"
#include "services/gateway/responses/responses_api.h"

namespace aima::gateway {
namespace {

using aima::testing::IsOk;
using nlohmann::json;
using ::testing::HasSubstr;

constexpr char kChat[] = "aima.inference.v1.ChatRequest";
constexpr char kAnswer[] = R"({"content": "Hello", "finish_reason": "stop", "model": "m",
    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}})";
constexpr char kEnd[] = R"({"finish_reason": "stop", "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}})";

class TranslationTest : public FaceTest {
 protected:
  TranslationTest() {
    Parts parts = PartsWith(operations_);
    parts.translations = {&anthropic_, &ollama_, &responses_};
    Serve(std::move(parts));
  }

  const Translation::Parts parts_{loop_, runner_, edge_, absl::Milliseconds(30)};
  anthropic::AnthropicApi anthropic_{parts_};
  ollama::OllamaApi ollama_{parts_};
  responses::ResponsesApi responses_{parts_};
};

constexpr char kMessages[] = R"({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]})";
constexpr char kMessagesStream[] = R"({"model": "m", "stream": true, "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]})";

// One endpoint of each API, and how it tells of an error.
struct Form {
  const char* path;
  const char* good;
  std::string (*message)(const json&);
};
const Form kForms[] = {
    {"/v1/messages", kMessages,
     [](const json& body) { return body.value("type", "") == "error" ? body["error"]["message"].get<std::string>() : "no error"; }},
    {"/v1/responses", R"({"model": "m", "input": "Hi"})",
     [](const json& body) { return body["error"].contains("param") ? body["error"]["message"].get<std::string>() : "no error"; }},
    {"/api/chat", R"({"model": "m", "stream": false, "messages": [{"role": "user", "content": "Hi"}]})",
     [](const json& body) { return body["error"].is_string() ? body["error"].get<std::string>() : "no error"; }},
};

TEST_F(TranslationTest, EachApiAsksTheSameUnitAndAnswersInItsOwnForm) {
  services_.answers[kChat] = kAnswer;
  const json message = json::parse(Ask("POST", "/v1/messages", kMessages).body);
  EXPECT_EQ(message["content"][0]["text"], "Hello");
  EXPECT_EQ(services_.last_request["max_tokens"], 9);
  EXPECT_EQ(services_.last_call.unit, "inference.chat");
  const json response = json::parse(Ask("POST", "/v1/responses", R"({"model": "m", "input": "Hi"})").body);
  EXPECT_EQ(response["output"][0]["content"][0]["text"], "Hello");
  const json line = json::parse(Ask("POST", "/api/chat", R"({"model": "m:latest", "stream": false, "messages": [{"role": "user", "content": "Hi"}]})").body);
  EXPECT_EQ(line["message"]["content"], "Hello");
  EXPECT_EQ(services_.last_request["model"], "m");
}

TEST_F(TranslationTest, MalformedBodiesAreErrorsInEachForm) {
  const std::string bodies[] = {"",
                                "{",
                                R"({"model": "m", "messages": [)",
                                "[]",
                                "5",
                                "null",
                                "\xff\xfe{}",
                                "{\"model\": \"\xc3\x28\"}",
                                std::string(100'000, '['),
                                R"({"model": )" + std::string(1000, '[') + std::string(1000, ']') + "}",
                                R"({"model": "m", "model": "n"})",
                                R"({"model": {}, "messages": {}, "input": {}})",
                                R"({"model": [], "messages": [[]], "input": [[]]})",
                                R"({"model": "m", "max_tokens": 9, "messages": [{"role": 5, "content": {}}], "input": [{"role": [], "content": 0}]})",
                                R"({"model": ")" + std::string(100'000, 'm') + R"(", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}], "input": "Hi"})"};
  services_.failure = services_.stream_end = Error(inference::v1::INFERENCE_MODEL_NOT_FOUND, "there is no such model");
  for (const Form& form : kForms) {
    for (const std::string& body : bodies) {
      const http::Response response = Ask("POST", form.path, body);
      EXPECT_GE(response.status, 400) << form.path << " " << body.substr(0, 100);
      EXPECT_LT(response.status, 500) << form.path << " " << body.substr(0, 100);
      const json error = json::parse(response.body, nullptr, false);
      ASSERT_TRUE(error.is_object()) << response.body;
      EXPECT_NE(form.message(error), "no error") << response.body;
      EXPECT_FALSE(form.message(error).empty());
    }
  }
}

// The places of all values of a body.
void CollectPlaces(const json& value, const json::json_pointer& at, std::vector<json::json_pointer>& places) {
  places.push_back(at);
  if (value.is_object()) {
    for (const auto& [key, member] : value.items()) CollectPlaces(member, at / key, places);
  } else if (value.is_array()) {
    for (size_t i = 0; i < value.size(); ++i) CollectPlaces(value[i], at / i, places);
  }
}

TEST(TranslatedRequests, WhateverStandsInThePlaceOfAnyValueIsReadOrRefusedByName) {
  const std::pair<const char*, std::function<absl::Status(const json&)>> requests[] = {
      {R"({"model": "m", "max_tokens": 9, "stream": false, "system": [{"type": "text", "text": "S"}], "stop_sequences": ["x"],
           "temperature": 0.5, "top_k": 4, "thinking": {"type": "enabled", "budget_tokens": 9}, "mcp_servers": [],
           "tools": [{"name": "f", "description": "d", "input_schema": {"type": "object"}, "strict": true}],
           "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": true},
           "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {}}},
           "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"},
             {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}]},
             {"role": "assistant", "content": [{"type": "thinking", "thinking": "t"}, {"type": "tool_use", "id": "a", "name": "f", "input": {}}]},
             {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "is_error": true, "content": [{"type": "text", "text": "r"},
               {"type": "image", "source": {"type": "url", "url": "u"}}]}]}, {"role": "system", "content": "s"}]})",
       [](const json& body) { return anthropic::ReadMessages(body, true).status(); }},
      {R"({"model": "m", "instructions": "i", "max_output_tokens": 9, "stream": true, "store": false, "metadata": {"a": "b"}, "top_p": 0.5,
           "reasoning": {"effort": "low"}, "parallel_tool_calls": false, "truncation": "disabled", "top_logprobs": 0,
           "text": {"format": {"type": "json_schema", "name": "n", "schema": {}, "strict": true}},
           "tools": [{"type": "function", "name": "f", "parameters": {}, "strict": false}], "tool_choice": {"type": "function", "name": "f"},
           "input": [{"role": "developer", "content": "d"}, {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "t"},
             {"type": "input_image", "image_url": "u", "detail": "low"}]}, {"type": "reasoning", "summary": [{"text": "s"}], "content": [{"text": "c"}]},
             {"role": "assistant", "content": [{"type": "output_text", "text": "o"}, {"type": "refusal", "refusal": "r"}]},
             {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
             {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "x"}]}]})",
       [](const json& body) { return responses::ReadResponse(body).status(); }},
      {R"({"model": "m", "stream": false, "format": {"type": "object"}, "think": true, "keep_alive": "5m", "logprobs": false,
           "options": {"temperature": 0.1, "num_predict": 5, "stop": ["x"], "seed": 3, "top_k": 4, "min_p": 0.1},
           "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
           "messages": [{"role": "user", "content": "c", "images": ["iVBORw0KGgoA"]},
             {"role": "assistant", "thinking": "t", "tool_calls": [{"id": "i", "function": {"name": "f", "arguments": {"a": 1}}}]},
             {"role": "tool", "tool_name": "f", "tool_call_id": "i", "content": "r"}]})",
       [](const json& body) { return ollama::ReadChat(body).status(); }},
      {R"({"model": "m", "prompt": "p", "system": "s", "images": ["/9j/A"], "raw": false, "context": [], "suffix": "", "template": "", "options": {}})",
       [](const json& body) { return ollama::ReadGenerate(body).status(); }},
      {R"({"model": "m", "input": ["a", "b"], "dimensions": 3, "keep_alive": 0})",
       [](const json& body) { return ollama::ReadEmbed(body).status(); }},
  };
  const json replacements[] = {nullptr, true,  0, -1, 1.5, 1e308, "", "x", "auto", "type", "tool_use", "function_call", json::array(), json::object(),
                               json::array({nullptr}), json::array({json::object()}), json::array({"x"}), json{{"type", "x"}},
                               json{{"type", 5}}, std::string(1 << 16, 'y')};
  for (const auto& [text, read] : requests) {
    const json good = json::parse(text);
    EXPECT_THAT(read(good), IsOk()) << text;
    std::vector<json::json_pointer> places;
    CollectPlaces(good, json::json_pointer(), places);
    for (const auto& place : places) {
      for (const json& replacement : replacements) {
        json body = good;
        body[place] = replacement;
        try {
          const absl::Status status = read(body);
          EXPECT_TRUE(status.ok() || HasReason(status, unit::v1::INVALID_INPUT)) << status;
        } catch (const std::exception& thrown) {
          ADD_FAILURE() << thrown.what() << " at " << place.to_string() << " = " << replacement.dump().substr(0, 100);
        }
      }
    }
  }
}

TEST_F(TranslationTest, FailuresOfUnitsHaveTheirStatusInEachForm) {
  services_.failure = Error(inference::v1::INFERENCE_MODEL_NOT_FOUND, "there is no model 'm'");
  for (const Form& form : kForms) {
    const http::Response response = Ask("POST", form.path, form.good);
    EXPECT_EQ(response.status, 404);
    EXPECT_THAT(form.message(json::parse(response.body)), HasSubstr("there is no model 'm'"));
  }
  services_.failure = Error(unit::v1::OVERLOADED, "full", {{"retry_after_s", "7"}});
  for (const Form& form : kForms) {
    const http::Response response = Ask("POST", form.path, form.good);
    EXPECT_EQ(response.status, 429);
    EXPECT_EQ(response.headers.Get("Retry-After"), "7");
  }
}

TEST_F(TranslationTest, WhoMayCallIsDecidedAsForUnitsAndSaidInEachForm) {
  services_.answers[kChat] = kAnswer;
  for (const Form& form : kForms) {
    http::Response refused = Ask("POST", form.path, form.good, {{"x-api-key", "wrong"}});
    EXPECT_EQ(refused.status, 401);
    EXPECT_THAT(form.message(json::parse(refused.body)), HasSubstr("not valid"));
    refused = Ask("POST", form.path, form.good, {{"origin", "http://evil.example"}});
    EXPECT_EQ(refused.status, 403);
    EXPECT_THAT(form.message(json::parse(refused.body)), HasSubstr("evil.example"));
    EXPECT_EQ(Ask("POST", form.path, form.good, {{"x-api-key", "the-admin-key"}}).status, 200);
    EXPECT_EQ(Ask("POST", form.path, form.good, {{"authorization", "Bearer the-admin-key"}}).status, 200);
  }
}

TEST_F(TranslationTest, AnAnswerThatEndsBeforeItBeginsIsNoDefectOfTheGateway) {
  const http::Response response = Ask("POST", "/v1/chat/completions", R"({"model": "m", "messages": []})");
  EXPECT_EQ(response.status, 503) << "/v1/* is passed on, and nothing comes back";
  EXPECT_EQ(json::parse(response.body)["error"]["code"], "unavailable");
}

TEST_F(TranslationTest, WhatIsNotThereIsSaidInEachForm) {
  for (const char* target : {"/v1/messages/batches", "/v1/responses/resp_1", "/api/create"}) {
    const http::Response response = Ask("GET", target, "", {{"anthropic-version", "2023-06-01"}});
    EXPECT_EQ(response.status, 404);
    EXPECT_FALSE(json::parse(response.body).contains("success")) << response.body;
  }
  EXPECT_TRUE(json::parse(Ask("GET", "/api/nothing").body).contains("success")) << "paths of nobody are AIMA's own";
}

TEST_F(TranslationTest, AWrongMethodIsToldTheRightOnesInEachForm) {
  const std::tuple<const char*, const char*, const char*> cases[] = {
      {"GET", "/v1/messages", "POST"}, {"POST", "/v1/models", "GET"},        {"GET", "/v1/responses", "POST"},
      {"GET", "/api/chat", "POST"},    {"POST", "/api/tags", "GET, HEAD"},   {"POST", "/api/delete", "DELETE"}};
  for (const auto& [method, target, allow] : cases) {
    const http::Response response = Ask(method, target, "{}", {{"anthropic-version", "2023-06-01"}});
    EXPECT_EQ(response.status, 405) << target;
    EXPECT_EQ(response.headers.Get("allow"), allow) << target;
    EXPECT_FALSE(json::parse(response.body).contains("success")) << response.body;
  }
}

TEST_F(TranslationTest, AStreamThatFailsAtOnceHasAStatus) {
  services_.stream_end = Error(inference::v1::INFERENCE_MODEL_NOT_FOUND, "there is no model 'm'");
  const http::Response response = Ask("POST", "/v1/messages", kMessagesStream);
  EXPECT_EQ(response.status, 404);
  EXPECT_EQ(json::parse(response.body)["error"]["type"], "not_found_error");
}

TEST_F(TranslationTest, AStreamThatFailsLaterEndsWithAnErrorInEachForm) {
  services_.stream = {R"({"content": "Hel"})"};
  services_.stream_end = Error(inference::v1::INFERENCE_ENGINE_LOST, "the engine went away");
  EXPECT_THAT(Ask("POST", "/v1/messages", kMessagesStream).body, HasSubstr("event: error\ndata: {\"error\":{\"message\":\"the engine went away\""));
  EXPECT_THAT(Ask("POST", "/v1/responses", R"({"model": "m", "input": "Hi", "stream": true})").body, HasSubstr("event: response.failed"));
  const std::string lines = Ask("POST", "/api/chat", R"({"model": "m", "messages": [{"role": "user", "content": "Hi"}]})").body;
  EXPECT_TRUE(absl::EndsWith(lines, "\n{\"error\":\"the engine went away\"}\n")) << lines;
}

TEST_F(TranslationTest, ASilentStreamGivesSignsOfLife) {
  services_.stream = {"", R"({"content": "Hello"})", "", kEnd};
  services_.pause = absl::Milliseconds(200);
  const std::string events = Ask("POST", "/v1/messages", kMessagesStream).body;
  const size_t start = events.find("event: message_start");
  const size_t text = events.find("text_delta");
  ASSERT_NE(start, std::string::npos) << events;
  ASSERT_NE(text, std::string::npos) << events;
  size_t before = 0;
  size_t after = 0;
  for (size_t at = events.find("event: ping"); at != std::string::npos; at = events.find("event: ping", at + 1)) ++(at < text ? before : after);
  EXPECT_GT(before, 1u) << "one comes in any case";
  EXPECT_GT(after, 0u);
  EXPECT_TRUE(absl::StrContains(events, "message_stop"));
  const std::string lines = Ask("POST", "/api/chat", R"({"model": "m", "messages": [{"role": "user", "content": "Hi"}]})").body;
  EXPECT_EQ(std::count(lines.begin(), lines.end(), '\n'), 2) << "Ollama has no such thing: " << lines;
}

TEST_F(TranslationTest, AStreamWhoseClientDoesNotReadIsNotLookedAtAgainAndAgain) {
  services_.stream = {json{{"content", std::string(6 << 20, 'x')}}.dump(), "", kEnd};
  services_.pause = absl::Hours(1);
  boost::asio::ip::tcp::socket client(loop_);
  const auto ask = [&]() -> Task<void> {
    const auto port = static_cast<uint16_t>(endpoint_.port);
    const boost::asio::ip::tcp::endpoint server(boost::asio::ip::make_address("127.0.0.1"), port);
    client.open(server.protocol());
    client.set_option(boost::asio::socket_base::receive_buffer_size(16 << 10));
    co_await client.async_connect(server, boost::asio::use_awaitable);
    const std::string request = absl::StrCat("POST /v1/messages HTTP/1.1\r\nHost: 127.0.0.1:9090\r\nContent-Length: ",
                                             sizeof(kMessagesStream) - 1, "\r\n\r\n", kMessagesStream);
    co_await boost::asio::async_write(client, boost::asio::buffer(request), boost::asio::use_awaitable);
  };
  aima::testing::Run(loop_, ask());
  loop_.restart();
  while (services_.open_streams == 0) loop_.run_one();
  // The kernel takes what it takes; then the piece waits for the client.
  loop_.run_for(std::chrono::milliseconds(500));
  ASSERT_EQ(services_.open_streams, 1);
  const size_t turns = loop_.run_for(20 * absl::ToChronoMilliseconds(parts_.patience));
  EXPECT_LT(turns, 100u) << "one look for each time that a client may be left without a sign";
}

TEST_F(TranslationTest, AFailureAfterSignsOfLifeIsAnErrorEvent) {
  services_.stream = {""};
  services_.pause = absl::Milliseconds(200);
  services_.stream_end = Error(inference::v1::INFERENCE_ENGINE_FAILED, "it broke");
  const http::Response response = Ask("POST", "/v1/messages", kMessagesStream);
  EXPECT_EQ(response.status, 200);
  EXPECT_THAT(response.body, HasSubstr("event: error"));
}

TEST_F(TranslationTest, AClientThatLeavesEndsTheUnit) {
  services_.stream = {R"({"content": "Hello"})", "", kEnd};
  services_.pause = absl::Hours(1);
  for (const Form& form : kForms) {
    json body = json::parse(form.good);
    body["stream"] = true;
    const auto read = [&]() -> Task<std::string> {
      http::Request request = {"POST", form.path, {}, body.dump()};
      auto answer = co_await client_.Open(endpoint_, std::move(request), absl::Now() + absl::Seconds(20));
      if (!answer.ok()) co_return std::string(answer.status().message());
      const auto bytes = co_await (*answer)->Next();
      co_return bytes.ok() && *bytes ? **bytes : "nothing";
    };
    EXPECT_NE(Await(read()), "nothing");
    Until([&] { return services_.open_streams == 0; });
  }
}

TEST_F(TranslationTest, AnthropicsClientsGetItsListOfModels) {
  services_.answers["aima.model.v1.ListRequest"] =
      R"({"items": [{"id": "m", "name": "M", "create_time": "2026-01-01T00:00:00Z"}], "total": 2, "next_after": "m"})";
  services_.answers["aima.model.v1.GetRequest"] = R"({"id": "m", "name": "M", "create_time": "2026-01-01T00:00:00Z"})";
  const http::Headers version = {{"anthropic-version", "2023-06-01"}};
  const json page = json::parse(Ask("GET", "/v1/models?limit=1&after_id=a", "", version).body);
  EXPECT_EQ(page["data"], json::parse(R"([{"type": "model", "id": "m", "display_name": "M", "created_at": "2026-01-01T00:00:00Z"}])"));
  EXPECT_EQ(page["has_more"], true);
  EXPECT_EQ(page["last_id"], "m");
  EXPECT_EQ(services_.last_request["after"], "a");
  EXPECT_EQ(services_.last_request["limit"], 1);
  EXPECT_EQ(json::parse(Ask("GET", "/v1/models/m", "", version).body)["id"], "m");
  EXPECT_EQ(Ask("GET", "/v1/models?limit=0", "", version).status, 400);
}

TEST_F(TranslationTest, TokensAreCountedByTheUnit) {
  services_.answers["aima.inference.v1.CountTokensRequest"] = R"({"tokens": 37, "model": "m"})";
  const json counted = json::parse(
      Ask("POST", "/v1/messages/count_tokens", R"({"model": "m", "messages": [{"role": "user", "content": "Hi"}]})").body);
  EXPECT_EQ(counted, json::parse(R"({"input_tokens": 37})"));
  EXPECT_EQ(json::parse(Ask("POST", "/v1/responses/input_tokens", R"({"model": "m", "input": "Hi"})").body)["input_tokens"], 37);
}

TEST_F(TranslationTest, OllamasClientsFindWhatTheyLookFor) {
  const http::Headers program = {{"user-agent", "ollama/0.17.4 (amd64 linux) Go/go1.24"}};
  EXPECT_EQ(Ask("GET", "/", "", program).body, "Ollama is running");
  EXPECT_EQ(Ask("HEAD", "/", "", program).status, 200);
  EXPECT_NE(Ask("GET", "/").body, "Ollama is running") << "others look for something else";
  EXPECT_TRUE(json::parse(Ask("GET", "/api/version").body).contains("version"));
  services_.answers["aima.model.v1.ListRequest"] = R"({"items": [{"id": "m", "name": "M"}, {"id": "e", "name": "E"}]})";
  services_.answers["aima.engine.v1.ListRequest"] =
      R"({"items": [{"name": "llamacpp", "instances": [{"model_id": "m", "status": "running", "memory_bytes": 5}, {"model_id": "e", "status": "stopped"}]}]})";
  EXPECT_EQ(json::parse(Ask("GET", "/api/tags").body)["models"].size(), 2u);
  const json running = json::parse(Ask("GET", "/api/ps").body)["models"];
  ASSERT_EQ(running.size(), 1u);
  EXPECT_EQ(running[0]["name"], "m:latest");
}

TEST_F(TranslationTest, OllamaLoadsAndUnloadsWhatIsAskedNothing) {
  services_.answers["aima.model.v1.GetRequest"] = R"({"id": "m"})";
  services_.answers["aima.engine.v1.StartRequest"] = R"({"instance_id": "m"})";
  services_.answers["aima.engine.v1.ListRequest"] = R"({"items": [{"name": "llamacpp", "instances": [
      {"model_id": "m", "instance_id": "m", "status": "running", "on_demand": true, "idle_timeout": 1800000},
      {"model_id": "m", "instance_id": "m-2", "status": "running"}]}]})";
  services_.answers["aima.inference.v1.CountTokensRequest"] = R"({"tokens": 1})";
  services_.answers["aima.engine.v1.StopRequest"] = R"({"success": true})";
  json loaded = json::parse(Ask("POST", "/api/generate", R"({"model": "m:latest"})").body);
  EXPECT_EQ(loaded["done_reason"], "load");
  EXPECT_EQ(services_.last_call.unit, "inference.count_tokens") << "a question, which makes room too";
  EXPECT_EQ(services_.last_request["model"], "m");
  loaded = json::parse(Ask("POST", "/api/generate", R"({"model": "m", "keep_alive": "5m"})").body);
  EXPECT_EQ(loaded["done_reason"], "load");
  EXPECT_EQ(services_.last_call.unit, "engine.start");
  EXPECT_EQ(services_.last_request["idle_timeout"], 300'000);
  EXPECT_EQ(services_.last_request["on_demand"], true);
  EXPECT_EQ(services_.last_request["instance_id"], "m") << "the other one was started by somebody";
  loaded = json::parse(Ask("POST", "/api/chat", R"({"model": "m", "messages": [], "keep_alive": 0})").body);
  EXPECT_EQ(loaded["done_reason"], "unload");
  EXPECT_EQ(services_.last_call.unit, "engine.stop");
}

TEST_F(TranslationTest, OllamaUnloadsEachInstanceOfTheModelAndNoOther) {
  services_.answers["aima.model.v1.GetRequest"] = R"({"id": "m"})";
  // The second one has a name of its own, and one of another model has this model's name.
  services_.answers["aima.engine.v1.ListRequest"] = R"({"items": [
      {"name": "llamacpp", "instances": [{"model_id": "m", "instance_id": "mine", "status": "running"},
                                         {"model_id": "other", "instance_id": "m", "status": "running"}]},
      {"name": "vllm", "instances": [{"model_id": "m", "instance_id": "m-2", "status": "running"}]}]})";
  const auto unload = [&] { return Ask("POST", "/api/generate", R"({"model": "m", "keep_alive": 0})"); };
  const auto stopped = [&] {
    std::vector<std::string> names;
    for (const auto& [unit, request] : services_.calls) {
      if (unit == "engine.stop") names.push_back(request["name"]);
    }
    return names;
  };
  services_.failure = Error(engine::v1::ENGINE_NOT_FOUND, "it has gone meanwhile");
  EXPECT_EQ(json::parse(unload().body)["done_reason"], "unload");
  EXPECT_THAT(stopped(), ::testing::ElementsAre("mine", "m-2"));
  services_.failure = Error(engine::v1::ENGINE_STOP_FAILED, "the kernel holds it");
  EXPECT_EQ(unload().status, 500) << "what still runs is not said to be unloaded";
}

TEST_F(TranslationTest, HowOllamasClientsWantTheirModelLoadedGoesWithTheQuestion) {
  services_.answers[kChat] = kAnswer;
  services_.answers["aima.inference.v1.EmbedRequest"] = R"({"embeddings": [[1]]})";
  services_.answers["aima.model.v1.GetRequest"] = R"({"id": "m"})";
  services_.answers["aima.inference.v1.CountTokensRequest"] = R"({"tokens": 1})";
  const auto asked = [&](const std::string& path, const std::string& rest) {
    services_.calls.clear();
    EXPECT_EQ(Ask("POST", path, R"({"model": "m", "stream": false, "options": {"num_ctx": 4096})" + rest + "}").status, 200);
    return std::pair(services_.last_call.unit, services_.last_request["load"]["context_length"]);
  };
  const auto with = [](const char* unit) { return std::pair(std::string(unit), json(4096)); };
  EXPECT_EQ(asked("/api/chat", R"(, "messages": [{"role": "user", "content": "Hi"}])"), with("inference.chat"));
  EXPECT_EQ(services_.calls.size(), 1u) << "nothing else is asked before it";
  EXPECT_EQ(asked("/api/embed", R"(, "input": "x")"), with("inference.embed"));
  EXPECT_EQ(asked("/api/generate", ""), with("inference.count_tokens")) << "it is only to be loaded";
}

TEST_F(TranslationTest, OllamaKeepsAModelForAsLongAsARequestSays) {
  services_.answers[kChat] = kAnswer;
  services_.answers["aima.engine.v1.StartRequest"] = R"({"instance_id": "m"})";
  services_.answers["aima.engine.v1.ListRequest"] = R"({"items": [{"name": "llamacpp", "instances": [
      {"model_id": "m", "instance_id": "m", "status": "running", "on_demand": true, "idle_timeout": 300000}]}]})";
  const auto ask = [&](const std::string& keep_alive) {
    const http::Response response = Ask("POST", "/api/chat", R"({"model": "m", "stream": false, "keep_alive": )" + keep_alive +
                                                                 R"(, "messages": [{"role": "user", "content": "Hi"}]})");
    EXPECT_EQ(json::parse(response.body)["message"]["content"], "Hello");
  };
  ask("\"5m\"");
  EXPECT_EQ(services_.last_call.unit, "engine.list") << "it is so already";
  ask("-1");
  EXPECT_EQ(services_.last_request["idle_timeout"], 0) << "for ever";
  ask("0");
  EXPECT_EQ(services_.last_request["idle_timeout"], 1) << "not any longer";
  services_.stream = {R"({"content": "Hello"})", kEnd};
  const auto read_one_line = [&]() -> Task<bool> {
    http::Request request = {"POST", "/api/chat", {}, R"({"model": "m", "keep_alive": 2, "messages": [{"role": "user", "content": "Hi"}]})"};
    auto answer = co_await client_.Open(endpoint_, std::move(request), absl::Now() + absl::Seconds(20));
    std::string text;
    while (answer.ok() && !absl::StrContains(text, "\"done\":true")) {
      const auto bytes = co_await (*answer)->Next();
      if (!bytes.ok() || !*bytes) co_return false;
      text += **bytes;
    }
    co_return answer.ok();
  };
  EXPECT_TRUE(Await(read_one_line()));
  EXPECT_EQ(services_.last_request["idle_timeout"], 2000) << "before the client, which may leave then, is told the end";
}

TEST_F(TranslationTest, OllamaEmbedsTextsOneOrMany) {
  services_.answers["aima.inference.v1.EmbedRequest"] = R"({"embeddings": [[0.5, 1]], "usage": {"prompt_tokens": 3}, "dimensions": 2})";
  const json many = json::parse(Ask("POST", "/api/embed", R"({"model": "e", "input": "a"})").body);
  EXPECT_EQ(many["embeddings"], json::parse("[[0.5, 1.0]]"));
  EXPECT_EQ(many["prompt_eval_count"], 3);
  EXPECT_EQ(json::parse(Ask("POST", "/api/embeddings", R"({"model": "e", "prompt": "a"})").body)["embedding"], json::parse("[0.5, 1.0]"));
  EXPECT_EQ(json::parse(Ask("POST", "/api/embed", R"({"model": "e", "input": []})").body)["embeddings"], json::array());
}

}  // namespace
}  // namespace aima::gateway
