// Translation of Ollama's API, as functions of JSON.
#include <absl/strings/str_split.h>
#include <absl/time/clock.h>
#include <gmock/gmock.h>

#include "aima/inference/v1/inference.pb.h"
#include "libs/errors/errors.h"
#include "libs/testing/status_matchers.h"
#include "services/gateway/json_fields.h"
#include "services/gateway/ollama/answer.h"
#include "services/gateway/ollama/names.h"
#include "services/gateway/ollama/request.h"

namespace aima::gateway::ollama {
namespace {

using aima::testing::FailsWith;
using aima::testing::IsOk;
using ::testing::HasSubstr;
using Json = nlohmann::json;

Asked Chat(const std::string& body) {
  const auto asked = ReadChat(Json::parse(body));
  EXPECT_THAT(asked, IsOk()) << body;
  return asked.ok() ? *asked : Asked{};
}

TEST(OllamaNames, TagsArePartOfTheIdExceptLatest) {
  EXPECT_EQ(ModelIdOf("smollm2"), "smollm2");
  EXPECT_EQ(ModelIdOf("smollm2:latest"), "smollm2");
  EXPECT_EQ(ModelIdOf("llama3.2:1b"), "llama3.2-1b");
  EXPECT_EQ(ModelIdOf("llama3.2:1b-instruct-q4_K_M"), "llama3.2-1b-instruct-q4_k_m");
  EXPECT_EQ(ModelIdOf("someone/tiny:1b"), "tiny-1b");
  EXPECT_EQ(ModelIdOf("registry.example.org:5000/someone/tiny"), "tiny");
  EXPECT_EQ(ModelIdOf("My Model"), "My Model") << "names of models are names here too";
}

TEST(OllamaNames, AListedNameIsTheOneThatItIsAskedBy) {
  const auto listed = [](const char* model) { return ListedName(Json::parse(model)); };
  EXPECT_EQ(listed(R"({"id": "smollm2"})"), "smollm2:latest");
  EXPECT_EQ(listed(R"({"id": "llama3.2-1b", "source": "ollama", "repo": "library/llama3.2"})"), "llama3.2:1b");
  EXPECT_EQ(listed(R"({"id": "tiny", "source": "ollama", "repo": "someone/tiny"})"), "someone/tiny:latest");
  EXPECT_EQ(listed(R"({"id": "mine", "source": "ollama", "repo": "library/llama3.2"})"), "mine:latest");
  for (const char* model : {R"({"id": "llama3.2-1b", "source": "ollama", "repo": "library/llama3.2"})", R"({"id": "tiny", "source": "ollama", "repo": "someone/tiny"})"}) {
    EXPECT_EQ(ModelIdOf(listed(model)), Json::parse(model)["id"].get<std::string>());
  }
}

TEST(OllamaNames, ANameWithANamespaceIsNoOtherModel) {
  const Json theirs = Json::parse(R"({"id": "tiny", "source": "ollama", "repo": "someone/tiny"})");
  for (const char* name : {"someone/tiny", "someone/tiny:latest", "hub.example.org:5000/someone/tiny"}) EXPECT_TRUE(IsListedAs(theirs, name)) << name;
  for (const char* name : {"nobody/tiny", "someone/tiny:1b", "library/tiny"}) EXPECT_FALSE(IsListedAs(theirs, name)) << name;
  const Json ours = Json::parse(R"({"id": "llama3.2-1b", "source": "ollama", "repo": "library/llama3.2"})");
  EXPECT_TRUE(IsListedAs(ours, "library/llama3.2:1b"));
  EXPECT_FALSE(IsListedAs(ours, "someone/llama3.2:1b"));
}

TEST(OllamaNames, PullsComeFromWhereTheNameSays) {
  EXPECT_EQ(PullInput("llama3.2:1b"), Json::parse(R"({"source": "ollama", "repo": "llama3.2", "tag": "1b"})"));
  EXPECT_EQ(PullInput("someone/tiny"), Json::parse(R"({"source": "ollama", "repo": "someone/tiny"})"));
  EXPECT_EQ(PullInput("registry.ollama.ai/library/tiny"), Json::parse(R"({"source": "ollama", "repo": "library/tiny"})"));
  EXPECT_EQ(PullInput("hub.example.org/someone/tiny:1b"),
            Json::parse(R"({"source": "ollama", "repo": "someone/tiny", "tag": "1b", "mirror": "https://hub.example.org"})"));
  EXPECT_EQ(PullInput("hf.co/acme/Tiny-GGUF:Q4_K_M"),
            Json::parse(R"({"source": "huggingface", "repo": "acme/Tiny-GGUF", "quantization": "Q4_K_M"})"));
  const Json pulled = Json::parse(R"({"id": "tiny", "source": "huggingface", "repo": "acme/Tiny-GGUF", "details": {"quantization": "Q4_K_M"}})");
  EXPECT_TRUE(IsFrom(pulled, *HubNameOf("hf.co/acme/tiny-gguf:q4_k_m")));
  EXPECT_TRUE(IsFrom(pulled, *HubNameOf("huggingface.co/acme/Tiny-GGUF")));
  EXPECT_FALSE(IsFrom(pulled, *HubNameOf("hf.co/acme/Tiny-GGUF:Q8_0")));
}

TEST(OllamaRequest, AChatIsStreamedUnlessSaidOtherwise) {
  const Asked asked = Chat(R"({"model": "m:latest", "messages": [{"role": "user", "content": "Hi"}], "unknown_field": 1})");
  EXPECT_TRUE(asked.stream);
  EXPECT_EQ(asked.model, "m:latest");
  EXPECT_EQ(asked.input, Json::parse(R"({"messages": [{"role": "user", "content": "Hi"}]})"));
  EXPECT_FALSE(Chat(R"({"model": "m", "stream": false, "messages": [{"role": "user", "content": "Hi"}]})").stream);
}

TEST(OllamaRequest, CallsWithoutEndAreRefused) {
  Json turn = {{"role", "assistant"}, {"tool_calls", Json::array()}};
  for (int i = 0; i < 1001; ++i) turn["tool_calls"].push_back({{"function", {{"name", "a"}}}});
  EXPECT_THAT(ReadChat({{"model", "m"}, {"messages", Json::array({turn})}}).status(), FailsWith(unit::v1::INVALID_INPUT, "tool_calls"));
  const Json turns(10'001, Json{{"role", "user"}, {"content", "x"}});
  EXPECT_THAT(ReadChat({{"model", "m"}, {"messages", turns}}).status(), FailsWith(unit::v1::INVALID_INPUT, "messages"));
}

TEST(OllamaRequest, OptionsFindTheirPlaces) {
  const Asked asked = Chat(R"({"model": "m", "messages": [{"role": "user", "content": "Hi"}], "format": "json", "think": "low", "options": {
      "num_predict": 9, "temperature": 0, "top_p": 0.5, "top_k": 3, "min_p": 0.1, "seed": 7, "stop": ["a", "b"], "repeat_penalty": 1.2,
      "num_ctx": 4096, "num_gpu": 1, "nonsense": {}}})");
  Json expected = Json::parse(R"({"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 9, "temperature": 0.0, "top_p": 0.5,
      "seed": 7, "stop": ["a", "b"], "response_format": {"type": "json_object"},
      "load": {"context_length": 4096, "engine_options": {"num_gpu": 1}},
      "engine_options": {"top_k": 3, "min_p": 0.1, "repeat_penalty": 1.2, "reasoning_effort": "low",
                         "chat_template_kwargs": {"enable_thinking": true}}})");
  EXPECT_EQ(asked.input, expected);
  EXPECT_FALSE(Chat(R"({"model": "m", "messages": [{"role": "user", "content": "Hi"}], "options": {"num_predict": -1}})").input.contains("max_tokens"));
  const Json schema = Chat(R"({"model": "m", "messages": [{"role": "user", "content": "Hi"}], "format": {"type": "object"}})").input["response_format"];
  EXPECT_EQ(schema["json_schema"]["schema"]["type"], "object");
}

TEST(OllamaRequest, HowAModelIsLoadedIsReadApartFromHowItIsAsked) {
  const auto load = [](const std::string& options) {
    return Chat(R"({"model": "m", "options": )" + options + "}").input.value("load", Json());
  };
  EXPECT_EQ(load(R"({"num_ctx": 8192, "num_thread": 3, "top_k": 4})"), Json::parse(R"({"context_length": 8192, "threads": 3})"));
  EXPECT_EQ(load(R"({"num_gpu": 9, "num_batch": 64, "main_gpu": 1, "use_mmap": false})")["engine_options"],
            Json::parse(R"({"num_gpu": 9, "num_batch": 64, "main_gpu": 1, "use_mmap": false})"));
  EXPECT_TRUE(load(R"({"num_ctx": 0, "top_k": 4})").is_null());
  EXPECT_EQ(load(R"({"num_ctx": 1})")["context_length"], 64) << "the least that there is";
  const absl::StatusOr<Asked> embed = ReadEmbed(Json::parse(R"({"model": "e", "input": "x", "options": {"num_ctx": 512}})"));
  EXPECT_EQ(embed->input["load"]["context_length"], 512);
}

TEST(OllamaRequest, ResultsAreMatchedToCallsThatHaveNoIds) {
  const Json messages = Chat(R"({"model": "m", "messages": [
      {"role": "user", "content": "Weather?", "images": ["iVBORw0KGgoAAAA"]},
      {"role": "assistant", "content": "", "thinking": "Look.", "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}},
                                                                               {"function": {"name": "g", "arguments": {}}}]},
      {"role": "tool", "tool_name": "g", "content": "two"},
      {"role": "tool", "content": "one"}]})").input["messages"];
  EXPECT_EQ(messages[0]["parts"][0]["image_url"]["url"], "data:image/png;base64,iVBORw0KGgoAAAA");
  EXPECT_EQ(messages[1]["reasoning_content"], "Look.");
  EXPECT_EQ(messages[1]["tool_calls"][0]["arguments"], "{\"a\":1}");
  EXPECT_EQ(messages[2]["tool_call_id"], messages[1]["tool_calls"][1]["id"]);
  EXPECT_EQ(messages[3]["tool_call_id"], messages[1]["tool_calls"][0]["id"]);
}

TEST(OllamaRequest, GenerateIsAChatOrRaw) {
  const auto chat = ReadGenerate(Json::parse(R"({"model": "m", "prompt": "Hi", "system": "Be brief."})"));
  ASSERT_THAT(chat, IsOk());
  EXPECT_EQ(chat->input["messages"], Json::parse(R"([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}])"));
  const auto raw = ReadGenerate(Json::parse(R"({"model": "m", "prompt": "One, two,", "raw": true})"));
  ASSERT_THAT(raw, IsOk());
  EXPECT_TRUE(raw->raw);
  EXPECT_EQ(raw->input, Json::parse(R"({"prompt": "One, two,"})"));
}

TEST(OllamaRequest, NothingAskedLoadsOrUnloads) {
  EXPECT_TRUE(Chat(R"({"model": "m", "messages": []})").empty);
  EXPECT_EQ(Chat(R"({"model": "m", "keep_alive": 0})").keep_alive, absl::ZeroDuration());
  EXPECT_EQ(Chat(R"({"model": "m", "keep_alive": "0"})").keep_alive, absl::ZeroDuration());
  EXPECT_EQ(Chat(R"({"model": "m", "keep_alive": "0s"})").keep_alive, absl::ZeroDuration());
  EXPECT_EQ(Chat(R"({"model": "m", "keep_alive": "5m"})").keep_alive, absl::Minutes(5));
  EXPECT_EQ(Chat(R"({"model": "m", "keep_alive": "90"})").keep_alive, absl::Seconds(90));
  EXPECT_EQ(Chat(R"({"model": "m", "keep_alive": 0.5})").keep_alive, absl::Milliseconds(500));
  EXPECT_EQ(Chat(R"({"model": "m", "keep_alive": -1})").keep_alive, absl::InfiniteDuration());
  EXPECT_EQ(Chat(R"({"model": "m", "keep_alive": "-1m"})").keep_alive, absl::InfiniteDuration());
  EXPECT_EQ(Chat(R"({"model": "m"})").keep_alive, std::nullopt);
  EXPECT_TRUE(ReadGenerate(Json::parse(R"({"model": "m"})"))->empty);
}

TEST(OllamaRequest, VectorsAreOfOneTextOrMany) {
  EXPECT_EQ(ReadEmbed(Json::parse(R"({"model": "m", "input": "a", "dimensions": 3})"))->input, Json::parse(R"({"input": ["a"], "dimensions": 3})"));
  EXPECT_EQ(ReadEmbed(Json::parse(R"({"model": "m", "prompt": "a"})"))->input["input"][0], "a");
  EXPECT_TRUE(ReadEmbed(Json::parse(R"({"model": "m", "input": []})"))->empty);
}

TEST(OllamaRequest, WhatIsWrongIsNamed) {
  const std::pair<const char*, const char*> chats[] = {
      {R"({"messages": []})", "model: is required"},
      {R"({"model": 5})", "model: must be a string"},
      {R"({"model": "m", "messages": "x"})", "messages: must be a list"},
      {R"({"model": "m", "messages": [1]})", "messages.0: must be an object"},
      {R"({"model": "m", "messages": [{"role": "robot"}]})", "messages.0.role"},
      {R"({"model": "m", "messages": [{"role": "user", "content": 1}]})", "messages.0.content: must be a string"},
      {R"({"model": "m", "messages": [{"role": "user", "images": ["zzz"]}]})", "messages.0.images.0"},
      {R"({"model": "m", "messages": [{"role": "assistant", "tool_calls": [{}]}]})", "messages.0.tool_calls.0.function"},
      {R"({"model": "m", "messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}]})",
       "function.arguments: must be an object"},
      {R"({"model": "m", "stream": 1})", "stream: must be true or false"},
      {R"({"model": "m", "options": []})", "options: must be an object"},
      {R"({"model": "m", "options": {"temperature": "hot"}})", "options.temperature: must be a number"},
      {R"({"model": "m", "options": {"stop": [1]}})", "options.stop"},
      {R"({"model": "m", "options": {"seed": 1.5}})", "options.seed: must be an integer"},
      {R"({"model": "m", "keep_alive": "soon"})", "keep_alive"},
      {R"({"model": "m", "format": "xml"})", "format: must be"},
      {R"({"model": "m", "think": "hard"})", "think: must be"},
      {R"({"model": "m", "logprobs": true})", "logprobs"},
      {R"({"model": "m", "tools": [{}]})", "tools.0.function"},
  };
  for (const auto& [body, expected] : chats) {
    EXPECT_THAT(MessageOf(ReadChat(Json::parse(body)).status()), HasSubstr(expected)) << body;
  }
  for (const auto& [body, expected] : {std::pair{R"({"model": "m", "prompt": 5})", "prompt"}, {R"({"model": "m", "suffix": "x"})", "suffix"},
                                       {R"({"model": "m", "template": "x"})", "template"}, {R"({"model": "m", "context": [1]})", "context"}}) {
    EXPECT_THAT(MessageOf(ReadGenerate(Json::parse(body)).status()), HasSubstr(expected)) << body;
  }
  for (const char* body : {R"({"model": "m"})", R"({"model": "m", "input": 5})", R"({"model": "m", "input": [5]})"}) {
    EXPECT_THAT(MessageOf(ReadEmbed(Json::parse(body)).status()), HasSubstr("input")) << body;
  }
}

constexpr char kLast[] = R"({"content": "", "finish_reason": "tool_calls", "tool_calls": [{"id": "c1", "name": "f", "arguments": "{\"a\": 1}"}],
    "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
    "metrics": {"time_to_first_token_ms": 20.0, "tokens_per_second": 100.0, "duration_ms": 80.0, "queue_ms": 10.0}})";

std::vector<Json> Lines(const std::string& text) {
  std::vector<Json> lines;
  for (const auto line : absl::StrSplit(text, '\n', absl::SkipEmpty())) lines.push_back(Json::parse(line.begin(), line.end()));
  return lines;
}

TEST(OllamaAnswer, TheEndTellsWhyItEndedAndWhatItTook) {
  Json answer = Json::parse(kLast);
  answer["content"] = "Hello";
  answer["reasoning_content"] = "Hm.";
  const Json whole = WholeAnswer(Kind::kChat, answer, "m:latest");
  EXPECT_EQ(whole["model"], "m:latest");
  EXPECT_EQ(whole["message"]["content"], "Hello");
  EXPECT_EQ(whole["message"]["thinking"], "Hm.");
  EXPECT_EQ(whole["message"]["tool_calls"][0]["function"]["arguments"], Json::parse(R"({"a": 1})"));
  EXPECT_EQ(whole["done"], true);
  EXPECT_EQ(whole["done_reason"], "stop");
  EXPECT_EQ(whole["prompt_eval_count"], 10);
  EXPECT_EQ(whole["eval_count"], 5);
  EXPECT_EQ(whole["total_duration"], 80'000'000);
  EXPECT_EQ(whole["load_duration"], 10'000'000);
  EXPECT_EQ(whole["prompt_eval_duration"], 20'000'000);
  EXPECT_EQ(whole["eval_duration"], 40'000'000);
  EXPECT_EQ(WholeAnswer(Kind::kGenerate, Json::parse(R"({"text": "three", "finish_reason": "length"})"), "m")["response"], "three");
  EXPECT_EQ(WholeAnswer(Kind::kGenerate, Json::parse(R"({"content": "x", "finish_reason": "length"})"), "m")["done_reason"], "length");
}

TEST(OllamaAnswer, PiecesAreLines) {
  TextLines form(Kind::kChat, "m");
  std::string out;
  form.Add(Json::parse(R"({"content": "Hel"})"), out);
  form.Add(Json::parse(R"({"content": "lo", "reasoning_content": "Hm."})"), out);
  form.Add(Json::parse(R"({"content": "", "tool_call_deltas": [{"index": 0}]})"), out);
  form.Add(Json::parse(kLast), out);
  form.End(out);
  const std::vector<Json> lines = Lines(out);
  ASSERT_EQ(lines.size(), 4u) << out;
  EXPECT_EQ(lines[0]["message"]["content"], "Hel");
  EXPECT_EQ(lines[0]["done"], false);
  EXPECT_EQ(lines[1]["message"]["thinking"], "Hm.");
  EXPECT_EQ(lines[2]["message"]["tool_calls"][0]["function"]["name"], "f");
  EXPECT_EQ(lines[3]["done"], true);
  EXPECT_EQ(lines[3]["eval_count"], 5);
}

TEST(OllamaAnswer, AFailureIsALineWithAnError) {
  TextLines form(Kind::kGenerate, "m");
  std::string out;
  form.Add(Json::parse(R"({"content": "Hel"})"), out);
  form.Fail(Error(inference::v1::INFERENCE_ENGINE_LOST, "the engine went away"), out);
  EXPECT_EQ(Lines(out)[0]["response"], "Hel");
  EXPECT_EQ(Lines(out)[1], Json::parse(R"({"error": "the engine went away"})"));
  std::string early;
  TextLines(Kind::kChat, "m").End(early);
  EXPECT_TRUE(Lines(early)[0].contains("error")) << "a stream that just ends";
}

TEST(OllamaAnswer, AnUnknownModelHasTheWordsThatClientsLookFor) {
  EXPECT_THAT(ErrorBody(Error(inference::v1::INFERENCE_MODEL_NOT_FOUND, "there is no model 'x'"))["error"].get<std::string>(),
              HasSubstr("not found"));
}

TEST(OllamaAnswer, APullTellsEachFileAsItArrives) {
  PullLines form;
  std::string out;
  form.Begin(out);
  const std::string digest(64, 'a');
  const auto progress = [&](const std::string& phase, int done, const std::string& more = "") {
    form.Add(Json::parse(R"({"phase": ")" + phase + R"(", "items": [{"name": "model.gguf", "size": 100, "done": )" + std::to_string(done) +
                         R"(, "digest": ")" + digest + R"("}, {"name": "x.json", "size": 5, "done": 5}])" + more + "}"), out);
  };
  progress("downloading", 0);
  progress("downloading", 0);
  progress("downloading", 60);
  progress("verifying", 100);
  progress("verifying", 100);
  progress("ready", 100, R"(, "result": {"model_id": "tiny"})");
  form.End(out);
  std::vector<std::string> statuses;
  for (const Json& line : Lines(out)) {
    statuses.push_back(line["status"].get<std::string>() + (line.contains("completed") ? " " + line["completed"].dump() : ""));
  }
  EXPECT_THAT(statuses, ::testing::ElementsAre("pulling manifest", "pulling aaaaaaaaaaaa 0", "pulling x.json 5", "pulling aaaaaaaaaaaa 60",
                                               "pulling aaaaaaaaaaaa 100", "verifying sha256 digest", "writing manifest", "success"));
  EXPECT_EQ(Lines(out)[1]["digest"], "sha256:" + digest);
  EXPECT_EQ(Lines(out)[1]["total"], 100);
}

TEST(OllamaAnswer, ModelsAreShownInItsWords) {
  const Json model = Json::parse(R"({"id": "smollm2", "name": "SmolLM2", "type": "llm", "format": "gguf", "size": 93, "digest": "abc",
      "update_time": "2026-01-01T00:00:00Z", "path": "/m.gguf",
      "details": {"architecture": "llama", "parameters": 134515008, "quantization": "Q4_1", "context_length": 8192, "chat_template": true}})");
  EXPECT_EQ(ListedModel(model), Json::parse(R"({"name": "smollm2:latest", "model": "smollm2:latest", "modified_at": "2026-01-01T00:00:00Z",
      "size": 93, "digest": "abc", "details": {"parent_model": "", "format": "gguf", "family": "llama", "families": ["llama"],
      "parameter_size": "134.52M", "quantization_level": "Q4_1"}})"));
  const Json shown = ShownModel(model);
  EXPECT_EQ(shown["model_info"]["llama.context_length"], 8192);
  EXPECT_EQ(shown["model_info"]["general.parameter_count"], 134515008);
  EXPECT_EQ(shown["capabilities"], Json::parse(R"(["completion", "tools"])"));
  const Json running = RunningModel(model, Json::parse(R"({"memory_bytes": 500, "config": {"context_length": 2048}})"));
  EXPECT_EQ(running["size"], 500);
  EXPECT_EQ(running["context_length"], 2048);
  EXPECT_EQ(running["expires_at"], "9999-12-31T23:59:59Z") << "it stays";
  const Json leaving = RunningModel(model, Json::parse(R"({"on_demand": true, "idle_timeout": 60000})"));
  absl::Time expires;
  ASSERT_TRUE(absl::ParseTime(absl::RFC3339_full, leaving["expires_at"].get<std::string>(), &expires, nullptr));
  EXPECT_LE(expires, absl::Now() + absl::Minutes(1));
  EXPECT_GT(expires, absl::Now());
}

}  // namespace
}  // namespace aima::gateway::ollama
