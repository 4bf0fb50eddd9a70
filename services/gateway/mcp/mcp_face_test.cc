// MCP over real sockets, with services that answer from a table.
#include "services/gateway/mcp/mcp_face.h"

#include <absl/strings/match.h>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>

#include "libs/http/sse.h"
#include "services/gateway/face_for_test.h"
#include "services/gateway/mcp/prompts.h"
#include "services/gateway/mcp/unit_source.h"

namespace aima::gateway::mcp {
namespace {

using aima::testing::IsOk;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

namespace asio = boost::asio;

constexpr char kGetModel[] = "aima.model.v1.GetRequest";
constexpr char kListModels[] = "aima.model.v1.ListRequest";
constexpr char kStatus[] = "aima.resource.v1.StatusRequest";

// A call without an answer waits until it is cancelled.
class McpFaceTest : public FaceTest {
 protected:
  McpFaceTest() {
    config_.mutable_mcp()->set_toolsets("model,engine,inference");
    mcp_ = std::make_unique<McpFace>(loop_, config_, edge_, std::vector<Source*>{&units_, &prompts_});
    Parts parts = PartsWith(operations_);
    parts.mcp = mcp_.get();
    Serve(std::move(parts));
    services_.silent = true;
    services_.answers[kListModels] = R"({"items": [{"id": "tiny"}, {"id": "tall"}, {"id": "small"}]})";
  }
  void TearDown() override {
    FaceTest::TearDown();
    const auto stop = [this]() -> Task<bool> {
      co_await mcp_->Shutdown();
      co_return true;
    };
    Await(stop());
  }

  static std::string Body(const std::string& method, json params = json::object(), json id = 1) {
    return Dump({{"jsonrpc", "2.0"}, {"id", id}, {"method", method}, {"params", params}});
  }

  // Of the era of sessions.
  json Legacy(const std::string& method, json params = json::object(), http::Headers headers = {}) {
    if (!session_.empty()) headers.Add("Mcp-Session-Id", session_);
    const http::Response response = Ask("POST", path_, Body(method, std::move(params)), std::move(headers));
    EXPECT_EQ(response.status, 200) << response.body;
    return json::parse(response.body, nullptr, false);
  }
  void OpenSession(json capabilities = json::object()) {
    const http::Response response =
        Ask("POST", "/mcp", Body("initialize", {{"protocolVersion", "2025-11-25"}, {"capabilities", capabilities}}));
    ASSERT_EQ(response.status, 200) << response.body;
    session_ = response.headers.Get("Mcp-Session-Id");
    ASSERT_EQ(json::parse(response.body)["result"]["protocolVersion"], "2025-11-25");
  }

  // Of the era in which requests stand alone.
  static json Meta(json more = json::object()) {
    json meta = {{kVersionKey, std::string(kModernVersion)}, {kCapabilitiesKey, json::object()}};
    meta.update(more);
    return meta;
  }
  static http::Headers ModernHeaders(const std::string& method, const std::string& name = "") {
    http::Headers headers = {{"MCP-Protocol-Version", std::string(kModernVersion)}, {"Mcp-Method", method}};
    if (!name.empty()) headers.Add("Mcp-Name", name);
    return headers;
  }
  http::Response SendModern(const std::string& method, json params, const std::string& name = "", json meta = Meta()) {
    params["_meta"] = std::move(meta);
    return Ask("POST", path_, Body(method, std::move(params)), ModernHeaders(method, name));
  }
  json Modern(const std::string& method, json params = json::object(), const std::string& name = "", json meta = Meta()) {
    return json::parse(SendModern(method, std::move(params), name, std::move(meta)).body, nullptr, false);
  }

  // A request whose answer is read as it comes.
  std::unique_ptr<http::ResponseStream> Open(const std::string& method, const std::string& body, http::Headers headers) {
    http::Request request = {method, "/mcp", std::move(headers), body};
    request.headers.Add("accept", "application/json, text/event-stream");
    if (!body.empty()) request.headers.Add("content-type", "application/json");
    auto opened = Await(client_.Open(endpoint_, std::move(request), absl::Now() + absl::Seconds(20)));
    EXPECT_THAT(opened, IsOk());
    return *std::move(opened);
  }
  json NextEvent(http::ResponseStream& stream, http::SseParser& parser) {
    for (;;) {
      if (auto event = parser.Next()) {
        if (!event->data.empty()) return json::parse(event->data, nullptr, false);
        continue;
      }
      auto bytes = Await(stream.Next());
      EXPECT_THAT(bytes, IsOk());
      if (!bytes.ok() || !*bytes) return nullptr;
      parser.Push(**bytes);
    }
  }

  static std::vector<std::string> NamesOf(const json& answer) {
    std::vector<std::string> names;
    for (const json& tool : answer["result"]["tools"]) names.push_back(tool["name"]);
    return names;
  }

  UnitSource units_{*catalogue_, runner_, watch_};
  PromptSource prompts_{AIMA_SOURCE_DIR "/configs/prompts", *catalogue_, runner_};
  std::unique_ptr<McpFace> mcp_;
  std::string path_ = "/mcp";
  std::string session_;
};

// Tools.

TEST_F(McpFaceTest, AToolGivesItsUnitsOutputAsTextAndAsStructure) {
  const json result = Legacy("tools/call", {{"name", "model_list"}, {"arguments", {{"limit", 2}}}})["result"];
  EXPECT_EQ(services_.last_request["limit"], 2);
  EXPECT_EQ(result["structuredContent"]["items"][0]["id"], "tiny");
  EXPECT_EQ(json::parse(result["content"][0]["text"].get<std::string>()), result["structuredContent"]);
  EXPECT_FALSE(result.contains("isError"));
}

TEST_F(McpFaceTest, UnitNamesAndPrefixedNamesAreUnderstoodToo) {
  for (const char* name : {"model.list", "aima_model_list"}) {
    EXPECT_EQ(Legacy("tools/call", {{"name", name}})["result"]["structuredContent"]["items"].size(), 3u) << name;
  }
}

TEST_F(McpFaceTest, AWrongArgumentIsAnErrorThatTheModelCanRead) {
  const json result = Legacy("tools/call", {{"name", "model_get"}, {"arguments", {{"model", "x"}}}})["result"];
  EXPECT_EQ(result["isError"], true);
  EXPECT_THAT(result["content"][0]["text"].get<std::string>(), HasSubstr("model: is not a field; there are model_id"));
  EXPECT_EQ(result["_meta"]["aima/error"]["code"], "INVALID_INPUT");
  EXPECT_FALSE(result.contains("structuredContent"));
}

TEST_F(McpFaceTest, RemediesAndDescriptionsNameToolsAndNotUnits) {
  services_.silent = false;
  services_.failure = Error(unit::v1::DEADLINE_EXCEEDED, "too late");
  const json result = Legacy("tools/call", {{"name", "model_get"}, {"arguments", {{"model_id", "x"}}}})["result"];
  EXPECT_THAT(result["content"][0]["text"].get<std::string>(), HasSubstr("or start it with `operation_start`"));
  path_ = "/mcp/x/all";
  const std::string tools = Legacy("tools/list").dump();
  EXPECT_THAT(tools, HasSubstr("as `inference_models` shows them"));
  for (const UnitInfo& unit : catalogue_->units()) EXPECT_THAT(tools, Not(HasSubstr(absl::StrCat("`", unit.name, "`"))));
}

TEST_F(McpFaceTest, WhatIsReferredToIsThere) {
  path_ = "/mcp/x/all";
  const std::vector<std::string> all = NamesOf(Legacy("tools/list", json::object(), {{"authorization", "Bearer the-admin-key"}}));
  path_ = "/mcp";
  const json opened = json::parse(Ask("POST", "/mcp", Body("initialize", {{"protocolVersion", "2025-11-25"}, {"capabilities", json::object()}})).body);
  const std::string instructions = opened["result"]["instructions"];
  for (const char* name : {"model_list", "engine_list", "device_info", "resource_allocations"}) {
    EXPECT_THAT(instructions, HasSubstr(name));
    EXPECT_THAT(all, ::testing::Contains(name));
  }
  // Tools that take long name those that wait for them, and these are among those that a client sees without asking.
  const auto* field = config::v1::Mcp::descriptor()->FindFieldByName("toolsets");
  path_ = "/mcp/x/" + json::parse(RulesOf(*field).default_()).get<std::string>();
  const json tools = Legacy("tools/list");
  EXPECT_THAT(NamesOf(tools), ::testing::IsSupersetOf({"operation_start", "operation_wait", "device_info"}));
  int long_ones = 0;
  for (const json& tool : tools["result"]["tools"]) {
    if (tool["description"].get<std::string>().find("`operation_start` calls it without waiting") != std::string::npos) ++long_ones;
  }
  EXPECT_GE(long_ones, 4);
}

TEST_F(McpFaceTest, APromptHasNoLineAboutWhatWasNotGiven) {
  const auto text = [&](const std::string& name, json arguments) {
    return Legacy("prompts/get", {{"name", name}, {"arguments", std::move(arguments)}})["result"]["messages"][0]["content"]["text"].get<std::string>();
  };
  EXPECT_THAT(text("whats_wrong", {{"symptom", "it is slow"}}), HasSubstr("only look.\n\nWhat I have seen: it is slow\n\n1."));
  EXPECT_THAT(text("whats_wrong", json::object()), HasSubstr("only look.\n\n1."));
  EXPECT_THAT(text("run_a_model", {{"model", "tiny"}}), Not(HasSubstr("My question")));
}

TEST_F(McpFaceTest, AnUnknownToolOrArgumentsThatAreNoObjectAreErrorsOfTheProtocol) {
  EXPECT_EQ(Legacy("tools/call", {{"name", "model_lst"}})["error"]["code"], kInvalidParams);
  EXPECT_EQ(Legacy("tools/call", {{"name", "model_list"}, {"arguments", {1}}})["error"]["code"], kInvalidParams);
  EXPECT_EQ(Legacy("tools/call")["error"]["code"], kInvalidParams);
  EXPECT_EQ(Legacy("no/such")["error"]["code"], kMethodNotFound);
}

TEST_F(McpFaceTest, NobodySeesOrCallsWhatTheirKeyDoesNotAllow) {
  path_ = "/mcp/x/all";
  const json operate = Legacy("tools/list");
  EXPECT_THAT(NamesOf(operate), Not(::testing::Contains("device_set_power_limit")));
  EXPECT_THAT(Legacy("tools/call", {{"name", "device_set_power_limit"}})["error"]["message"].get<std::string>(),
              HasSubstr("needs a key with the role admin"));
  const json admin = Legacy("tools/list", json::object(), {{"authorization", "Bearer the-admin-key"}});
  EXPECT_THAT(NamesOf(admin), ::testing::Contains("device_set_power_limit"));
  EXPECT_THAT(NamesOf(admin), Not(::testing::Contains("event_publish"))) << "internal units are nobody's";
}

TEST_F(McpFaceTest, ToolsetsComeFromTheConfigurationThePathAndHeaders) {
  const std::vector<std::string> configured = NamesOf(Legacy("tools/list"));
  EXPECT_THAT(configured, ::testing::Contains("engine_start"));
  EXPECT_THAT(configured, Not(::testing::Contains("resource_status")));
  EXPECT_THAT(Legacy("tools/call", {{"name", "resource_status"}})["error"]["message"].get<std::string>(), HasSubstr("/mcp/x/all"));
  EXPECT_THAT(NamesOf(Legacy("tools/list", json::object(), {{"X-MCP-Toolsets", "resource.status"}})), ElementsAre("resource_status"));
  path_ = "/mcp/x/resource.status,model.list";
  EXPECT_THAT(NamesOf(Legacy("tools/list")), ElementsAre("model_list", "resource_status"));
  path_ = "/mcp/readonly";
  const json readonly = Legacy("tools/list");
  for (const json& tool : readonly["result"]["tools"]) EXPECT_EQ(tool["annotations"]["readOnlyHint"], true);
  path_ = "/mcp/x/nonsense";
  const http::Response wrong = Ask("POST", path_, Body("tools/list"));
  EXPECT_EQ(wrong.status, 400);
  EXPECT_THAT(wrong.body, HasSubstr("'nonsense' is no toolset"));
}

TEST_F(McpFaceTest, AStreamingUnitTellsItsProgressAndThenItsResult) {
  services_.stream = {R"({"phase": "loading", "message": "reads", "percent": 10})",
                      R"({"phase": "ready", "message": "runs", "percent": 100, "result": {"instance_id": "i1"}})"};
  const json params = {{"name", "engine_start"}, {"arguments", {{"name", "x"}}}, {"_meta", {{"progressToken", "p"}}}};
  const auto stream = Open("POST", Body("tools/call", params), {});
  http::SseParser parser;
  double progress = -1;
  json event = NextEvent(*stream, parser);
  for (; event["method"] == "notifications/progress"; event = NextEvent(*stream, parser)) {
    EXPECT_EQ(event["params"]["progressToken"], "p");
    EXPECT_GT(event["params"]["progress"].get<double>(), progress);
    progress = event["params"]["progress"];
  }
  EXPECT_EQ(progress, 100);
  EXPECT_EQ(event["result"]["structuredContent"]["instance_id"], "i1") << event.dump();
}

TEST_F(McpFaceTest, AUnitThatOnlyStreamsIsGathered) {
  services_.stream = {R"({"events": [], "cursor": 4})", R"({"events": [], "cursor": 5})"};
  path_ = "/mcp/x/event";
  const json result = Legacy("tools/call", {{"name", "event_subscribe"}})["result"];
  EXPECT_EQ(result["structuredContent"]["messages"][1]["cursor"], 5) << result.dump();
  EXPECT_EQ(result["structuredContent"]["ended"], true);
}

// Resources.

TEST_F(McpFaceTest, ResourcesAreReadAndNothingIsSaidByItsNumberInEachEra) {
  services_.answers[kStatus] = "{}";
  const json read = Legacy("resources/read", {{"uri", "asms://resource/status"}})["result"];
  EXPECT_EQ(read["contents"][0]["mimeType"], "application/json");
  EXPECT_TRUE(json::parse(read["contents"][0]["text"].get<std::string>()).is_object());
  EXPECT_EQ(Legacy("resources/read", {{"uri", "asms://no/such/thing"}})["error"]["code"], kResourceNotFound);
  const json modern = Modern("resources/read", {{"uri", "file:///etc/passwd"}}, "file:///etc/passwd");
  EXPECT_EQ(modern["error"]["code"], kInvalidParams);
  EXPECT_EQ(modern["error"]["data"]["uri"], "file:///etc/passwd");
}

TEST_F(McpFaceTest, DirectResourcesAndTemplatesAreListedApart) {
  const json listed = Legacy("resources/list");
  for (const json& entry : listed["result"]["resources"]) {
    EXPECT_THAT(entry["uri"].get<std::string>(), Not(HasSubstr("{")));
  }
  const json templates = Legacy("resources/templates/list")["result"]["resourceTemplates"];
  ASSERT_FALSE(templates.empty());
  for (const json& entry : templates) EXPECT_THAT(entry["uriTemplate"].get<std::string>(), HasSubstr("{"));
}

TEST_F(McpFaceTest, IdsOfATemplateAreCompletedFromTheList) {
  const json completion = Legacy("completion/complete", {{"ref", {{"type", "ref/resource"}, {"uri", "asms://model/{model_id}"}}},
                                                         {"argument", {{"name", "model_id"}, {"value", "t"}}}});
  EXPECT_EQ(completion["result"]["completion"]["values"], json({"tall", "tiny"})) << completion.dump();
  EXPECT_EQ(completion["result"]["completion"]["hasMore"], false);
}

TEST_F(McpFaceTest, AWatchedResourceIsToldOfWhenItHasChanged) {
  OpenSession();
  services_.answers[kGetModel] = R"({"id": "tiny", "name": "a"})";
  EXPECT_EQ(Legacy("resources/subscribe", {{"uri", "asms://model/tiny"}})["result"], json::object());
  EXPECT_EQ(Legacy("resources/subscribe", {{"uri", "asms://no/such/thing"}})["error"]["code"], kResourceNotFound);
  const auto stream = Open("GET", "", {{"Mcp-Session-Id", session_}});
  services_.answers[kGetModel] = R"({"id": "tiny", "name": "b"})";
  event::v1::Event event;
  event.set_type("model.verified");
  Await([&]() -> Task<bool> {
    co_await events_.on_event(event);
    co_return true;
  }());
  http::SseParser parser;
  const json told = NextEvent(*stream, parser);
  EXPECT_EQ(told["method"], "notifications/resources/updated");
  EXPECT_EQ(told["params"]["uri"], "asms://model/tiny");
}

TEST_F(McpFaceTest, AListenerHearsWhatItAskedForOnItsOwnStream) {
  services_.answers[kGetModel] = R"({"id": "tiny", "name": "a"})";
  const json params = {{"notifications", {{"toolsListChanged", true}, {"resourceSubscriptions", {"asms://model/tiny", "asms://none"}}}},
                       {"_meta", Meta()}};
  const auto stream = Open("POST", Body("subscriptions/listen", params, "s1"), ModernHeaders("subscriptions/listen"));
  http::SseParser parser;
  const json acknowledged = NextEvent(*stream, parser);
  EXPECT_EQ(acknowledged["method"], "notifications/subscriptions/acknowledged");
  EXPECT_EQ(acknowledged["params"]["notifications"], json({{"resourceSubscriptions", {"asms://model/tiny"}}}));
  EXPECT_EQ(acknowledged["params"]["_meta"][kSubscriptionKey], "s1");
  services_.answers[kGetModel] = R"({"id": "tiny", "name": "b"})";
  event::v1::Event event;
  event.set_type("model.verified");
  Await([&]() -> Task<bool> {
    co_await events_.on_event(event);
    co_return true;
  }());
  const json told = NextEvent(*stream, parser);
  EXPECT_EQ(told["method"], "notifications/resources/updated");
  EXPECT_EQ(told["params"]["_meta"][kSubscriptionKey], "s1");
}

// Sessions.

TEST_F(McpFaceTest, ASessionLastsUntilItIsDeleted) {
  OpenSession();
  EXPECT_EQ(Legacy("ping")["result"], json::object());
  EXPECT_EQ(Ask("DELETE", "/mcp", "", {{"Mcp-Session-Id", session_}}).status, 200);
  EXPECT_EQ(Ask("POST", "/mcp", Body("ping"), {{"Mcp-Session-Id", session_}}).status, 404);
  EXPECT_EQ(Ask("GET", "/mcp").status, 405);
}

TEST_F(McpFaceTest, ASessionIsNobodyElses) {
  OpenSession();
  EXPECT_EQ(Ask("POST", "/mcp", Body("ping"), {{"Mcp-Session-Id", session_}, {"authorization", "Bearer the-admin-key"}}).status, 404);
}

// Cancellation.

TEST_F(McpFaceTest, ANotificationCancelsACallOfASession) {
  OpenSession();
  std::optional<http::Response> response;
  http::Request request = {"POST", "/mcp", {{"content-type", "application/json"}, {"Mcp-Session-Id", session_}},
                           Body("tools/call", {{"name", "model_get"}, {"arguments", {{"model_id", "x"}}}}, 7)};
  asio::co_spawn(loop_, client_.Send(endpoint_, std::move(request), absl::Now() + absl::Seconds(20)),
                 [&](std::exception_ptr, absl::StatusOr<http::Response> got) { response = got.value(); });
  Until([&] { return services_.running == 1; });
  const std::string cancelled =
      Dump({{"jsonrpc", "2.0"}, {"method", "notifications/cancelled"}, {"params", {{"requestId", 7}}}});
  EXPECT_EQ(Ask("POST", "/mcp", cancelled, {{"Mcp-Session-Id", session_}}).status, 202);
  Until([&] { return services_.running == 0 && response; });
  EXPECT_EQ(response->body, "") << "a call that was cancelled has no answer";
}

TEST_F(McpFaceTest, AClientThatLeavesHasCancelledUnlessItHasASession) {
  const auto leave = [&](http::Headers headers, json params) {
    http::Request request = {"POST", "/mcp", std::move(headers), Body("tools/call", std::move(params))};
    request.headers.Add("content-type", "application/json");
    const auto gone = std::make_shared<asio::cancellation_signal>();
    asio::co_spawn(loop_, client_.Open(endpoint_, std::move(request), absl::Now() + absl::Seconds(20)),
                   asio::bind_cancellation_slot(gone->slot(), [gone](std::exception_ptr, auto) {}));
    Until([&] { return services_.running == 1; });
    gone->emit(asio::cancellation_type::terminal);
  };
  const json params = {{"name", "model_get"}, {"arguments", {{"model_id", "x"}}}};
  json modern = params;
  modern["_meta"] = Meta();
  leave(ModernHeaders("tools/call", "model_get"), modern);
  Until([&] { return services_.running == 0; });
  OpenSession();
  leave({{"Mcp-Session-Id", session_}}, params);
  // That the connection is gone is seen before a request that comes after it is answered.
  Until([&] { return server_->connections() <= 1; });
  EXPECT_EQ(services_.running, 1) << "the client may come back for the answer";
}

TEST_F(McpFaceTest, ASessionKeepsOnlySoMuchOfWhatItsClientSays) {
  const auto open = [&](size_t bytes) {
    return Ask("POST", "/mcp", Body("initialize", {{"protocolVersion", "2025-11-25"}, {"capabilities", {{"x", std::string(bytes, 'x')}}}}));
  };
  EXPECT_EQ(open(1000).status, 200);
  const http::Response refused = open(100'000);
  EXPECT_EQ(refused.status, 400);
  EXPECT_FALSE(refused.headers.Find("Mcp-Session-Id"));
  EXPECT_THAT(json::parse(refused.body)["error"]["message"].get<std::string>(), HasSubstr("params.capabilities has more than 65536 bytes"));
}

// The era in which requests stand alone.

TEST_F(McpFaceTest, EveryModernRequestSaysItsVersionAndRepeatsItInHeaders) {
  EXPECT_EQ(Modern("tools/list")["result"]["resultType"], "complete");
  const auto refused = [&](json params, http::Headers headers, int code) {
    const http::Response response = Ask("POST", "/mcp", Body("tools/list", std::move(params)), std::move(headers));
    EXPECT_EQ(response.status, 400);
    EXPECT_EQ(json::parse(response.body)["error"]["code"], code) << response.body;
    EXPECT_EQ(json::parse(response.body)["id"], 1);
  };
  refused(json::object(), ModernHeaders("tools/list"), kInvalidParams);
  refused({{"_meta", Meta()}}, {{"Mcp-Method", "tools/list"}}, kHeaderMismatch);
  refused({{"_meta", Meta()}}, ModernHeaders("tools/call"), kHeaderMismatch);
  refused({{"_meta", Meta({{kVersionKey, "2099-01-01"}})}},
          {{"MCP-Protocol-Version", "2099-01-01"}, {"Mcp-Method", "tools/list"}}, kUnsupportedVersion);
  EXPECT_EQ(SendModern("initialize", json::object()).status, 404);
}

TEST_F(McpFaceTest, DiscoveryTellsWhatThereIsAndWhoAnswers) {
  const json result = Modern("server/discover")["result"];
  EXPECT_EQ(result["supportedVersions"], json({"2026-07-28"}));
  EXPECT_TRUE(result["capabilities"]["extensions"].contains(kTasksExtension));
  EXPECT_EQ(result["_meta"][kServerInfoKey]["name"], "aima");
  EXPECT_EQ(result["cacheScope"], "public");
}

TEST_F(McpFaceTest, ACallThatTakesLongBecomesATaskThatCanBeCancelled) {
  const json meta = Meta({{kCapabilitiesKey, {{"extensions", {{kTasksExtension, json::object()}}}}}});
  const json created = Modern("tools/call", {{"name", "model_verify"}, {"arguments", {{"model_id", "x"}}}}, "model_verify", meta)["result"];
  ASSERT_EQ(created["resultType"], "task") << created.dump();
  const std::string id = created["taskId"];
  EXPECT_EQ(Modern("tasks/get", {{"taskId", id}}, id, meta)["result"]["status"], "working");
  EXPECT_EQ(services_.running, 1);
  EXPECT_EQ(Modern("tasks/get", {{"taskId", id}}, id)["error"]["code"], kMissingCapability) << "not declared";
  Modern("tasks/cancel", {{"taskId", id}}, id, meta);
  EXPECT_EQ(Modern("tasks/get", {{"taskId", id}}, id, meta)["result"]["status"], "cancelled");
  Until([&] { return services_.running == 0; });
}

// What is no request.

TEST_F(McpFaceTest, MalformedMessagesGetTheProtocolsOwnErrors) {
  const auto refused = [&](const std::string& body, int code) {
    const http::Response response = Ask("POST", "/mcp", body, {{"content-type", "application/json"}});
    EXPECT_EQ(response.status, 400) << body.substr(0, 100);
    EXPECT_EQ(json::parse(response.body)["error"]["code"], code) << response.body;
  };
  refused("{", kParseError);
  refused("\xff", kParseError);
  refused("", kParseError);
  refused(std::string(1000, '['), kParseError);
  refused(R"({"jsonrpc":"2.0","jsonrpc":"2.0"})", kParseError);
  refused("[]", kInvalidRequest);
  refused("7", kInvalidRequest);
  refused(R"({"jsonrpc":"1.0","id":1,"method":"ping"})", kInvalidRequest);
  refused(R"({"jsonrpc":"2.0","id":1.5,"method":"ping"})", kInvalidRequest);
  refused(R"({"jsonrpc":"2.0","id":null,"method":"ping"})", kInvalidRequest);
  refused(R"({"jsonrpc":"2.0","id":1,"method":7})", kInvalidRequest);
  refused(R"({"jsonrpc":"2.0","id":1,"method":"ping","params":[]})", kInvalidRequest);
  refused(R"({"jsonrpc":"2.0","id":1})", kInvalidRequest);
  refused(R"({"jsonrpc":"2.0"})", kInvalidRequest);
  EXPECT_EQ(Ask("POST", "/mcp", Body("ping"), {{"content-type", "text/plain"}}).status, 415);
  EXPECT_EQ(Ask("PUT", "/mcp", Body("ping")).status, 405);
}

TEST_F(McpFaceTest, TheEdgeRefusesInTheProtocolsOwnForm) {
  const http::Response origin = Ask("POST", "/mcp", Body("ping"), {{"origin", "http://evil.example"}});
  EXPECT_EQ(origin.status, 403);
  EXPECT_EQ(json::parse(origin.body)["jsonrpc"], "2.0");
  EXPECT_EQ(Ask("POST", "/mcp", Body("ping"), {{"host", "evil.example"}}).status, 421);
  const http::Response key = Ask("POST", "/mcp", Body("ping"), {{"authorization", "Bearer wrong"}});
  EXPECT_EQ(key.status, 401);
  EXPECT_THAT(std::string(key.headers.Get("www-authenticate")), HasSubstr("resource_metadata=\"http://127.0.0.1"));
  const http::Response metadata = Ask("GET", "/.well-known/oauth-protected-resource/mcp");
  EXPECT_THAT(json::parse(metadata.body)["resource"].get<std::string>(), ::testing::EndsWith("/mcp"));
}

}  // namespace
}  // namespace aima::gateway::mcp
