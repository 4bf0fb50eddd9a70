#include "services/gateway/ollama/ollama_api.h"

#include <absl/strings/match.h>
#include <absl/strings/str_cat.h>
#include <absl/time/clock.h>

#include <algorithm>

#include "aima/unit/v1/errors.pb.h"
#include "libs/base/status_macros.h"
#include "libs/errors/errors.h"
#include "services/gateway/envelope.h"
#include "services/gateway/json_fields.h"
#include "services/gateway/ollama/names.h"
#include "services/gateway/wrong_method.h"

namespace aima::gateway::ollama {
namespace {

using nlohmann::json;

// The version of Ollama whose API this is.
constexpr char kVersion[] = "0.17.4";

constexpr int64_t kLongestStay = 31'536'000'000;  // milliseconds: a year

constexpr std::string_view kPaths[] = {"chat", "generate", "embed", "embeddings", "pull", "tags",   "ps",
                                       "show", "delete",   "copy",  "create",     "push", "version"};

bool IsRead(const http::Request& request) { return request.method == "GET" || request.method == "HEAD"; }

}  // namespace

bool OllamaApi::Owns(const http::Request& request, std::string_view path) const {
  if (path == "/") {
    // Its own programs ask whether it is there; nobody else is told that this is Ollama.
    return IsRead(request) && request.headers.Get("User-Agent").substr(0, 6) == "ollama";
  }
  constexpr std::string_view kApi = "/api/";
  if (path.substr(0, kApi.size()) != kApi) return false;
  const std::string_view rest = path.substr(kApi.size());
  return std::find(std::begin(kPaths), std::end(kPaths), rest) != std::end(kPaths) || rest.substr(0, 6) == "blobs/";
}

http::Response OllamaApi::ErrorAnswer(const absl::Status& status, const std::string& request_id,
                                      int http_status) const {
  http::Response response = ErrorResponse(status, {request_id, "", absl::Now()});
  if (http_status != 0) response.status = http_status;
  response.headers.Set("Content-Type", "application/json");
  response.body = DumpJson(ErrorBody(status));
  return response;
}

Task<absl::Status> OllamaApi::Serve(TranslatedVisit& visit) {
  const std::string path = visit.path.size() > 5 ? visit.path.substr(5) : "";
  if (path.empty()) {
    http::Response response;
    response.headers.Add("Content-Type", "text/plain; charset=utf-8");
    response.body = "Ollama is running";
    co_return co_await Send(visit, std::move(response));
  }
  if (IsRead(visit.request)) {
    if (path == "tags") co_return co_await Tags(visit);
    if (path == "ps") co_return co_await Running(visit);
    const json version = {{"version", kVersion}};
    if (path == "version") co_return co_await Answer(visit, version);
  }
  if (visit.request.method == "POST") {
    if (path == "chat") co_return co_await Text(visit, Kind::kChat);
    if (path == "generate") co_return co_await Text(visit, Kind::kGenerate);
    if (path == "embed") co_return co_await Embed(visit, /*one=*/false);
    if (path == "embeddings") co_return co_await Embed(visit, /*one=*/true);
    if (path == "pull") co_return co_await Pull(visit);
    if (path == "show") co_return co_await Show(visit);
  }
  if (visit.request.method == "DELETE" && path == "delete") co_return co_await Delete(visit);
  for (const std::string_view read : {"tags", "ps", "version"}) {
    if (path == read) co_return WrongMethod(visit.request, visit.path, "GET, HEAD");
  }
  for (const std::string_view asked : {"chat", "generate", "embed", "embeddings", "pull", "show"}) {
    if (path == asked) co_return WrongMethod(visit.request, visit.path, "POST");
  }
  if (path == "delete") co_return WrongMethod(visit.request, visit.path, "DELETE");
  co_return Error(unit::v1::RESOURCE_NOT_FOUND,
                  absl::StrCat("there is no ", visit.request.method, " ", visit.path.substr(0, 200),
                               " here; `aima units` lists what there is instead"));
}

Task<absl::StatusOr<json>> OllamaApi::Models(TranslatedVisit& visit) {
  json all = json::array();
  std::string after;
  do {
    json input = {{"status", "ready"}, {"limit", 1000}, {"after", after}};
    CO_ASSIGN_OR_RETURN(const json page, co_await Run(visit, "model.list", std::move(input)));
    for (const json& model : page.value("items", json::array())) all.push_back(model);
    after = page.value("next_after", "");
  } while (!after.empty());
  co_return all;
}

Task<absl::StatusOr<std::string>> OllamaApi::Find(TranslatedVisit& visit, std::string name) {
  const std::optional<HubName> hub = HubNameOf(name);
  if (!hub && !absl::StrContains(name, "/")) co_return ModelIdOf(name);
  CO_ASSIGN_OR_RETURN(const json models, co_await Models(visit));
  for (const json& model : models) {
    if (hub ? IsFrom(model, *hub) : IsListedAs(model, name)) co_return model.value("id", "");
  }
  co_return name;
}

Task<absl::Status> OllamaApi::Text(TranslatedVisit& visit, Kind kind) {
  CO_ASSIGN_OR_RETURN(const json body, Body(visit));
  CO_ASSIGN_OR_RETURN(Asked asked, kind == Kind::kChat ? ReadChat(body) : ReadGenerate(body));
  if (asked.empty) co_return co_await Load(visit, kind, asked);
  CO_ASSIGN_OR_RETURN(const std::string id, co_await Find(visit, asked.model));
  asked.input["model"] = id;
  const char* unit = asked.raw ? "inference.complete" : "inference.chat";
  if (asked.stream) {
    TextLines form(kind, asked.model);
    const auto keep = [&]() -> Task<void> {
      if (asked.keep_alive) co_await Keep(visit, id, *asked.keep_alive);
    };
    co_return co_await Stream(visit, unit, std::move(asked.input), form, keep);
  }
  CO_ASSIGN_OR_RETURN(const json answer, co_await Run(visit, unit, std::move(asked.input)));
  if (asked.keep_alive) co_await Keep(visit, id, *asked.keep_alive);
  co_return co_await Answer(visit, WholeAnswer(kind, answer, asked.model));
}

Task<absl::Status> OllamaApi::Load(TranslatedVisit& visit, Kind kind, const Asked& asked) {
  CO_ASSIGN_OR_RETURN(const std::string id, co_await Find(visit, asked.model));
  json model_input = {{"model_id", id}};
  CO_ASSIGN_OR_RETURN(const json model, co_await Run(visit, "model.get", std::move(model_input)));
  if (asked.keep_alive == absl::ZeroDuration()) {
    CO_ASSIGN_OR_RETURN(const json engines, co_await Run(visit, "engine.list", json::object()));
    for (const json& engine : engines.value("items", json::array())) {
      for (const json& instance : engine.value("instances", json::array())) {
        if (instance.value("model_id", "") != id) continue;
        json input = {{"name", instance.value("instance_id", "")}};
        const absl::StatusOr<json> stopped = co_await Run(visit, "engine.stop", std::move(input));
        // It has gone meanwhile.
        if (!stopped.ok() && DetailsOf(stopped.status()).reason != "ENGINE_NOT_FOUND") co_return stopped.status();
      }
    }
    co_return co_await Answer(visit, EmptyAnswer(kind, asked.model, "unload"));
  }
  // Any question loads it, and makes room for it; this one takes the least.
  const bool embeds = model.value("type", "") == "embedding";
  json input = {{"model", id}};
  if (asked.input.contains("load")) input["load"] = asked.input["load"];
  if (embeds) {
    input["input"] = json::array({"x"});
  } else {
    input["messages"].push_back({{"role", "user"}, {"content", "x"}});
  }
  const char* question = embeds ? "inference.embed" : "inference.count_tokens";
  CO_RETURN_IF_ERROR((co_await Run(visit, question, std::move(input))).status());
  if (asked.keep_alive) co_await Keep(visit, id, *asked.keep_alive);
  co_return co_await Answer(visit, EmptyAnswer(kind, asked.model, "load"));
}

Task<void> OllamaApi::Keep(TranslatedVisit& visit, const std::string& id, absl::Duration keep_alive) {
  const std::string unit = visit.unit;
  const int64_t wanted = keep_alive == absl::InfiniteDuration()
                             ? 0
                             : std::clamp<int64_t>(absl::ToInt64Milliseconds(keep_alive), 1, kLongestStay);
  // What was asked for is done: a failure here does not undo it.
  const absl::StatusOr<json> engines = co_await Run(visit, "engine.list", json::object());
  for (const json& engine : engines.ok() ? engines->value("items", json::array()) : json::array()) {
    for (const json& instance : engine.value("instances", json::array())) {
      if (instance.value("model_id", "") != id || instance.value("status", "") != "running") continue;
      if (!instance.value("on_demand", false) || instance.value("idle_timeout", int64_t{0}) == wanted) continue;
      json input = {{"name", engine.value("name", "")},
                    {"model_id", id},
                    {"instance_id", instance.value("instance_id", "")},
                    {"on_demand", true},
                    {"idle_timeout", wanted}};
      (co_await Run(visit, "engine.start", std::move(input))).status().IgnoreError();
    }
  }
  visit.unit = unit;
}

Task<absl::Status> OllamaApi::Embed(TranslatedVisit& visit, bool one) {
  const absl::Time begin = absl::Now();
  CO_ASSIGN_OR_RETURN(const json body, Body(visit));
  CO_ASSIGN_OR_RETURN(Asked asked, ReadEmbed(body));
  json vectors = json::array();
  json usage = json::object();
  CO_ASSIGN_OR_RETURN(const std::string id, co_await Find(visit, asked.model));
  if (!asked.empty) {
    asked.input["model"] = id;
    CO_ASSIGN_OR_RETURN(json answer, co_await Run(visit, "inference.embed", std::move(asked.input)));
    vectors = std::move(answer["embeddings"]);
    usage = answer.value("usage", json::object());
  }
  if (asked.keep_alive) co_await Keep(visit, id, *asked.keep_alive);
  if (one) {
    const json single = {{"embedding", vectors.empty() ? json::array() : vectors[0]}};
    co_return co_await Answer(visit, single);
  }
  const json whole = {{"model", asked.model},
                      {"embeddings", std::move(vectors)},
                      {"total_duration", absl::ToInt64Nanoseconds(absl::Now() - begin)},
                      {"load_duration", 0},
                      {"prompt_eval_count", usage.value("prompt_tokens", 0)}};
  co_return co_await Answer(visit, whole);
}

Task<absl::Status> OllamaApi::Pull(TranslatedVisit& visit) {
  CO_ASSIGN_OR_RETURN(const json body, Body(visit));
  CO_ASSIGN_OR_RETURN(const std::string name, ReadModel(body));
  absl::Status error;
  const bool stream = JsonFields(body, "", error).Bool("stream", true);
  CO_RETURN_IF_ERROR(error);
  if (stream) {
    PullLines form;
    co_return co_await Stream(visit, "model.pull", PullInput(name), form);
  }
  CO_RETURN_IF_ERROR((co_await Run(visit, "model.pull", PullInput(name))).status());
  const json success = {{"status", "success"}};
  co_return co_await Answer(visit, success);
}

Task<absl::Status> OllamaApi::Tags(TranslatedVisit& visit) {
  CO_ASSIGN_OR_RETURN(const json models, co_await Models(visit));
  json list = {{"models", json::array()}};
  for (const json& model : models) list["models"].push_back(ListedModel(model));
  // Models that come with engines or that they keep, such as those of an Ollama server.
  const absl::StatusOr<json> asked = co_await Run(visit, "inference.models", json::object());
  for (const json& model : asked.ok() ? asked->value("models", json::array()) : json::array()) {
    const auto same = [&](const json& one) { return one.value("id", "") == model.value("id", ""); };
    if (model.value("running", false) && std::none_of(models.begin(), models.end(), same)) {
      list["models"].push_back(ListedModel(model));
    }
  }
  co_return co_await Answer(visit, list);
}

Task<absl::Status> OllamaApi::Running(TranslatedVisit& visit) {
  CO_ASSIGN_OR_RETURN(const json models, co_await Models(visit));
  CO_ASSIGN_OR_RETURN(const json engines, co_await Run(visit, "engine.list", json::object()));
  json list = {{"models", json::array()}};
  for (const json& engine : engines.value("items", json::array())) {
    for (const json& instance : engine.value("instances", json::array())) {
      if (instance.value("status", "") != "running") continue;
      for (const json& model : models) {
        if (model.value("id", "") != instance.value("model_id", "")) continue;
        list["models"].push_back(RunningModel(model, instance));
      }
    }
  }
  co_return co_await Answer(visit, list);
}

Task<absl::Status> OllamaApi::Show(TranslatedVisit& visit) {
  CO_ASSIGN_OR_RETURN(const json body, Body(visit));
  CO_ASSIGN_OR_RETURN(const std::string name, ReadModel(body));
  json input = json::object();
  CO_ASSIGN_OR_RETURN(input["model_id"], co_await Find(visit, name));
  CO_ASSIGN_OR_RETURN(const json model, co_await Run(visit, "model.get", std::move(input)));
  co_return co_await Answer(visit, ShownModel(model));
}

Task<absl::Status> OllamaApi::Delete(TranslatedVisit& visit) {
  CO_ASSIGN_OR_RETURN(const json body, Body(visit));
  CO_ASSIGN_OR_RETURN(const std::string name, ReadModel(body));
  json input = json::object();
  CO_ASSIGN_OR_RETURN(input["model_id"], co_await Find(visit, name));
  CO_RETURN_IF_ERROR((co_await Run(visit, "model.delete", std::move(input))).status());
  co_return co_await Send(visit, {});
}

}  // namespace aima::gateway::ollama
