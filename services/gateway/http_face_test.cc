// The HTTP face over real sockets, with services that answer from a table.
#include "services/gateway/http_face.h"

#include <absl/strings/match.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>

#include "libs/http/sse.h"
#include "libs/testing/postgres.h"
#include "services/gateway/face_for_test.h"
#include "services/gateway/unit_calls.h"

namespace aima::gateway {
namespace {

using aima::testing::IsOk;
using google::protobuf::Message;
using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class HttpFaceTest : public FaceTest {
 protected:
  HttpFaceTest() { Serve(operations_); }
  void Serve(OperationUnits& operations) {
    Parts parts = PartsWith(operations);
    parts.documents = &documents_;
    parts.web = &web_;
    FaceTest::Serve(std::move(parts));
  }

  // An error with this status and code, whose message contains `text`.
  void ExpectError(const http::Response& response, int status, const std::string& code, const std::string& text) {
    EXPECT_EQ(response.status, status) << response.body;
    const json body = json::parse(response.body, nullptr, false);
    ASSERT_TRUE(body.is_object()) << response.body;
    EXPECT_EQ(response.headers.Get("content-type"), "application/problem+json");
    EXPECT_EQ(body.value("type", ""), "/docs#error-" + code);
    EXPECT_EQ(body.value("status", 0), status);
    EXPECT_THAT(body.value("detail", ""), HasSubstr(text));
    EXPECT_FALSE(body.value("title", "").empty());
    EXPECT_EQ(body.value("success", true), false);
    EXPECT_EQ(body["error"]["code"], code) << response.body;
    EXPECT_THAT(body["error"]["message"].get<std::string>(), HasSubstr(text));
    EXPECT_TRUE(body["meta"].contains("request_id"));
  }

  openapi::Documents documents_{*catalogue_};
  const WebFiles web_{AIMA_SOURCE_DIR "/services/gateway/web"};
};

constexpr char kQuery[] = "aima.event.v1.QueryRequest";
constexpr char kAnswer[] = R"({"items": [], "next_after": 7, "earliest": 1, "latest": 9007199254740993})";

TEST_F(HttpFaceTest, ExecuteGivesTheEnvelope) {
  services_.answers[kQuery] = kAnswer;
  const auto response = Ask("POST", "/api/v2/execute",
                            R"({"type":"query","unit":"event.query","input":{"limit":3},"options":{"trace_id":"t1","timeout":"2s"}})");
  ASSERT_EQ(response.status, 200) << response.body;
  const json body = json::parse(response.body);
  EXPECT_EQ(body["success"], true);
  EXPECT_EQ(body["data"]["latest"], 9007199254740993) << "int64 are numbers";
  EXPECT_EQ(body["meta"]["trace_id"], "t1");
  EXPECT_EQ(body["meta"]["request_id"], response.headers.Get("x-request-id"));
  EXPECT_EQ(services_.last_request["limit"], 3);
  EXPECT_EQ(services_.last_call.trace_id, "t1");
  EXPECT_LE(services_.last_call.TimeLeft(), absl::Seconds(2));
}

TEST_F(HttpFaceTest, QueriesTakeTheirInputFromTheAddressToo) {
  services_.answers[kQuery] = kAnswer;
  const auto response = Ask("GET", "/api/v2/query/event.query?type=model.created&limit=5&after=0");
  ASSERT_EQ(response.status, 200) << response.body;
  EXPECT_EQ(services_.last_request["type"], "model.created");
  EXPECT_EQ(services_.last_request["limit"], 5);
  ExpectError(Ask("GET", "/api/v2/query/event.query?limit=many"), 400, "INVALID_INPUT", "limit");
  ExpectError(Ask("GET", "/api/v2/query/event.query?nosuch=1"), 400, "INVALID_INPUT", "nosuch");
  ExpectError(Ask("GET", "/api/v2/query/event.query?a=%zz"), 400, "INVALID_INPUT", "encoded");
}

TEST_F(HttpFaceTest, BadInputIsAClearError) {
  ExpectError(Ask("POST", "/api/v2/query/event.qery", "{}"), 404, "UNIT_NOT_FOUND", "event.query");
  ExpectError(Ask("POST", "/api/v2/command/event.query", "{}"), 400, "INVALID_INPUT", "event.query is a query");
  ExpectError(Ask("POST", "/api/v2/query/event.query", "{\"limit\": }"), 400, "INVALID_INPUT", "byte");
  ExpectError(Ask("POST", "/api/v2/query/event.query", "[]"), 400, "INVALID_INPUT", "object");
  ExpectError(Ask("POST", "/api/v2/query/event.query", R"({"limit":"x","type":5})"), 400, "INVALID_INPUT", "limit");
  ExpectError(Ask("POST", "/api/v2/query/event.query", std::string(200, '[') + std::string(200, ']')), 400,
              "INVALID_INPUT", "64");
  ExpectError(Ask("POST", "/api/v2/execute", R"({"unit":"event.query","options":{"asink":true}})"), 400, "INVALID_INPUT",
              "options.asink");
  ExpectError(Ask("POST", "/api/v2/execute", "{}"), 400, "INVALID_INPUT", "unit");
  ExpectError(Ask("POST", "/api/v2/execute", "{}", {{"content-type", "text/plain"}}), 400, "INVALID_INPUT", "Content-Type");
  ExpectError(Ask("GET", "/api/v2/resource/asms%3A%2F%2Fno%2Fsuch%2Fthing"), 404, "RESOURCE_NOT_FOUND", "no/such/thing");
  ExpectError(Ask("GET", "/api/v2/nowhere"), 404, "RESOURCE_NOT_FOUND", "nowhere");
  ExpectError(Ask("GET", "/%00"), 400, "INVALID_INPUT", "encoded");
}

TEST_F(HttpFaceTest, AFailureOfAServiceHasItsStatus) {
  ExpectError(Ask("POST", "/api/v2/query/event.query", "{}"), 503, "UNAVAILABLE", "cannot be reached");
}

TEST_F(HttpFaceTest, InternalUnitsDoNotExist) {
  const http::Headers admin = {{"authorization", "Bearer the-admin-key"}};
  ExpectError(Ask("POST", "/api/v2/command/event.publish", "{}", admin), 404, "UNIT_NOT_FOUND", "event.publish");
  EXPECT_EQ(Ask("GET", "/api/v2/units/event.publish").status, 404);
  EXPECT_THAT(Ask("GET", "/api/v2/units").body, ::testing::Not(HasSubstr("\"event.publish\"")));
}

TEST_F(HttpFaceTest, ChecksHostOriginAndKeyBeforeAnythingElse) {
  ExpectError(Ask("GET", "/api/v2/units", "", {{"host", "evil.example"}}), 421, "PERMISSION_DENIED", "evil.example");
  ExpectError(Ask("GET", "/api/v2/units", "", {{"origin", "http://evil.example"}}), 403, "PERMISSION_DENIED", "evil.example");
  const auto wrong = Ask("GET", "/api/v2/units", "", {{"x-api-key", "wrong"}});
  ExpectError(wrong, 401, "UNAUTHENTICATED", "not valid");
  EXPECT_EQ(wrong.headers.Get("www-authenticate"), "Bearer");
  ExpectError(Ask("GET", "/api/v2/units", "", {{"authorization", "Basic eDp5"}}), 401, "UNAUTHENTICATED", "not valid");
  EXPECT_EQ(Ask("GET", "/api/v2/units", "", {{"x-api-key", "the-admin-key"}}).status, 200);
}

TEST_F(HttpFaceTest, TellsEveryUnitWithItsSchema) {
  const json unit = json::parse(Ask("GET", "/api/v2/units/event.query").body)["data"];
  EXPECT_EQ(unit["kind"], "query");
  EXPECT_EQ(unit["input_schema"]["properties"]["limit"]["maximum"], 1000);
}

TEST_F(HttpFaceTest, StreamsMessagesAsEventsAndSaysHowItEnded) {
  services_.stream = {R"({"events": [], "cursor": 4})", R"({"events": [], "cursor": 5})"};
  const auto events = [this] {
    http::SseParser parser;
    parser.Push(Ask("POST", "/api/v2/stream", R"({"unit":"event.subscribe"})").body);
    std::vector<std::string> seen;
    while (auto event = parser.Next()) seen.push_back(event->event + " " + event->data);
    return seen;
  };
  EXPECT_THAT(events(), ElementsAre(R"(data {"events":[],"cursor":4})", R"(data {"events":[],"cursor":5})", "done {}"));
  services_.stream_end = Error(unit::v1::UNAVAILABLE, "the log went away");
  EXPECT_THAT(events(), ElementsAre(::testing::_, ::testing::_, HasSubstr("the log went away")));
  services_.stream.clear();
  ExpectError(Ask("POST", "/api/v2/stream", R"({"unit":"event.subscribe"})"), 503, "UNAVAILABLE", "the log went away");
  ExpectError(Ask("POST", "/api/v2/stream", R"({"unit":"event.query"})"), 400, "INVALID_INPUT", "does not stream");
}

TEST_F(HttpFaceTest, WithoutADatabaseOnlyAsynchronousCallsAreRefused) {
  services_.answers[kQuery] = kAnswer;
  ExpectError(Ask("POST", "/api/v2/execute", R"({"unit":"event.query","options":{"async":true}})"), 503, "UNAVAILABLE",
              "database.url");
  EXPECT_EQ(Ask("POST", "/api/v2/execute", R"({"unit":"event.query"})").status, 200);
}

TEST_F(HttpFaceTest, AddressesOfOperationsAreUnits) {
  services_.answers["aima.gateway.v1.GetRequest"] = R"({"id": "op_1", "status": "running"})";
  services_.answers["aima.gateway.v1.CancelRequest"] = R"({"id": "op_1", "status": "cancelled"})";
  services_.answers["aima.gateway.v1.WaitRequest"] = R"({"id": "op_1", "status": "failed"})";
  services_.answers["aima.gateway.v1.ListRequest"] = R"({"operations": [{"id": "op_1"}], "next_page_token": "op_1"})";
  EXPECT_EQ(json::parse(Ask("GET", "/api/v2/operations/op_1").body)["data"]["status"], "running");
  EXPECT_EQ(services_.last_request["operation_id"], "op_1");
  EXPECT_EQ(json::parse(Ask("POST", "/api/v2/operations/op_1/cancel").body)["data"]["status"], "cancelled");
  EXPECT_EQ(services_.last_request["operation_id"], "op_1");
  EXPECT_EQ(json::parse(Ask("GET", "/api/v2/operations/op_1/wait?timeout=5s").body)["data"]["status"], "failed");
  EXPECT_EQ(services_.last_request["timeout"], 5000);
  const json page = json::parse(Ask("GET", "/api/v2/operations?status=running&unit=a.b&limit=1").body);
  EXPECT_EQ(page["data"]["operations"][0]["id"], "op_1");
  EXPECT_EQ(page["meta"]["pagination"]["next_page_token"], "op_1");
  EXPECT_EQ(services_.last_request["status"], "running");
  services_.stream = {R"({"id": "op_1", "status": "running"})", R"({"id": "op_1", "status": "succeeded"})"};
  EXPECT_THAT(Ask("GET", "/api/v2/operations/op_1/events").body, HasSubstr("event: done"));
  ExpectError(Ask("GET", "/api/v2/operations?status=asleep"), 400, "INVALID_INPUT", "status");
  ExpectError(Ask("GET", "/api/v2/operations/op_1/wait?timeout=soon"), 400, "INVALID_INPUT", "timeout");
  services_.answers["aima.gateway.v1.DeleteRequest"] = R"({"id": "op_1"})";
  EXPECT_EQ(json::parse(Ask("DELETE", "/api/v2/operations/op_1").body)["data"]["id"], "op_1");
  EXPECT_EQ(services_.last_call.unit, "operation.delete");
  ExpectError(Ask("GET", "/api/v2/operations/op_1/nothing"), 404, "RESOURCE_NOT_FOUND", "nothing");
}

TEST_F(HttpFaceTest, ProblemsKeepWhatTheReasonSays) {
  const json problem = json::parse(Ask("POST", "/api/v2/execute", R"({"unit":"event.query","input":{"limit":"x"},"options":{"trace_id":"t"}})").body);
  EXPECT_EQ(problem["title"], "Invalid input");
  EXPECT_EQ(problem["error"]["details"]["fields"][0]["field"], "limit");
  EXPECT_EQ(problem["error"]["details"]["retryable"], false);
  EXPECT_EQ(problem["meta"]["trace_id"], "t");
}

TEST_F(HttpFaceTest, WhatIsReadTwiceAndIsStillSoIsNotSentAgain) {
  services_.answers[kQuery] = kAnswer;
  const http::Response first = Ask("GET", "/api/v2/query/event.query?limit=5");
  const std::string tag(first.headers.Get("etag"));
  EXPECT_THAT(tag, ::testing::StartsWith("W/\""));
  EXPECT_EQ(first.headers.Get("cache-control"), "private, no-cache");
  const http::Response again = Ask("GET", "/api/v2/query/event.query?limit=5", "", {{"if-none-match", tag}});
  EXPECT_EQ(again.status, 304);
  EXPECT_EQ(again.body, "");
  EXPECT_EQ(again.headers.Get("etag"), tag);
  services_.answers[kQuery] = R"({"items": [], "next_after": 8, "earliest": 1, "latest": 9})";
  const http::Response changed = Ask("GET", "/api/v2/query/event.query?limit=5", "", {{"if-none-match", tag}});
  EXPECT_EQ(changed.status, 200);
  EXPECT_EQ(json::parse(changed.body)["data"]["latest"], 9);
  // A command, and a query that is posted, is asked for each time.
  EXPECT_EQ(Ask("POST", "/api/v2/query/event.query", "{}", {{"if-none-match", "*"}}).status, 200);
  services_.answers["aima.device.v1.InfoRequest"] = "{}";
  const std::string resource(Ask("GET", "/api/v2/resource/device/cpu/info").headers.Get("etag"));
  EXPECT_EQ(Ask("GET", "/api/v2/resource/device/cpu/info", "", {{"if-none-match", resource}}).status, 304);
}

TEST_F(HttpFaceTest, LargeAnswersAreCompressedForThoseWhoWantIt) {
  const http::Headers gzip = {{"accept-encoding", "gzip"}};
  const http::Response plain = Ask("GET", "/api/v2/units");
  EXPECT_EQ(plain.headers.Find("content-encoding"), nullptr);
  const http::Response packed = Ask("GET", "/api/v2/units", "", gzip);
  EXPECT_EQ(packed.headers.Get("content-encoding"), "gzip");
  EXPECT_LT(packed.body.size() * 4, plain.body.size());
  EXPECT_EQ(packed.body.substr(0, 2), "\x1f\x8b");
  services_.answers[kQuery] = kAnswer;
  EXPECT_EQ(Ask("GET", "/api/v2/query/event.query", "", gzip).headers.Find("content-encoding"), nullptr) << "small";
  EXPECT_EQ(Ask("POST", "/api/v2/query/event.qery", "{}", gzip).headers.Find("content-encoding"), nullptr) << "an error";
  services_.stream = {R"({"events": [], "cursor": 4})"};
  EXPECT_EQ(Ask("POST", "/api/v2/stream", R"({"unit":"event.subscribe"})", gzip).headers.Find("content-encoding"), nullptr);
  const http::Response foreign = Ask("GET", "/api/v2/units", "", {{"accept-encoding", "gzip"}, {"sec-fetch-site", "cross-site"}});
  EXPECT_EQ(foreign.headers.Find("content-encoding"), nullptr) << "another site may be guessing";
}

TEST(HoldsSecrets, LooksIntoEveryMessage) {
  EXPECT_TRUE(HoldsSecrets(*config::v1::Database::descriptor()));
  EXPECT_TRUE(HoldsSecrets(*config::v1::Config::descriptor()));
  EXPECT_FALSE(HoldsSecrets(*config::v1::Logging::descriptor()));
}

TEST_F(HttpFaceTest, TheSchemaOfAUnitIsADocumentOfItsOwn) {
  const http::Response response = Ask("GET", "/api/v2/schema/event.query");
  EXPECT_EQ(response.headers.Get("content-type"), "application/schema+json");
  const json schema = json::parse(response.body);
  EXPECT_EQ(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
  EXPECT_EQ(schema["$defs"]["input"]["properties"]["limit"]["maximum"], 1000);
  EXPECT_TRUE(schema["$defs"]["output"]["properties"].contains("latest"));
  const http::Headers held = {{"if-none-match", std::string(response.headers.Get("etag"))}};
  EXPECT_EQ(Ask("GET", "/api/v2/schema/event.query", "", held).status, 304);
  ExpectError(Ask("GET", "/api/v2/schema/event.qery"), 404, "UNIT_NOT_FOUND", "event.query");
  ExpectError(Ask("GET", "/api/v2/schema/event.publish"), 404, "UNIT_NOT_FOUND", "event.publish");
  ExpectError(Ask("GET", "/api/v2/schema/device.set_power_limit"), 401, "UNAUTHENTICATED", "admin");
}

TEST_F(HttpFaceTest, AUnitStreamsAtItsOwnPath) {
  services_.stream = {R"({"events": [], "cursor": 4})"};
  // One that only streams, always; as events or as lines.
  EXPECT_THAT(Ask("POST", "/api/v2/query/event.subscribe", "{}").body, HasSubstr("event: done"));
  EXPECT_THAT(Ask("GET", "/api/v2/query/event.subscribe?after=3").headers.Get("content-type"), "text/event-stream");
  const http::Headers lines = {{"accept", "application/json;q=0.5, application/x-ndjson"}};
  const http::Response response = Ask("POST", "/api/v2/query/event.subscribe", "{}", lines);
  EXPECT_EQ(response.headers.Get("content-type"), "application/x-ndjson");
  EXPECT_EQ(response.body, "{\"data\":{\"events\":[],\"cursor\":4}}\n{\"done\":{}}\n");
  services_.stream_end = Error(unit::v1::UNAVAILABLE, "the log went away");
  EXPECT_THAT(Ask("POST", "/api/v2/stream", R"({"unit":"event.subscribe"})", lines).body,
              HasSubstr("\n{\"error\":{\"code\":\"UNAVAILABLE\""));
  services_.stream_end = absl::OkStatus();
  // One that can do both, if it is asked to.
  services_.answers["aima.gateway.v1.WaitRequest"] = R"({"id": "op_1", "status": "failed"})";
  EXPECT_EQ(json::parse(Ask("POST", "/api/v2/query/operation.wait", R"({"operation_id":"op_1"})").body)["data"]["status"], "failed");
  services_.stream = {R"({"id": "op_1", "status": "running"})"};
  const http::Headers events = {{"accept", "text/event-stream"}};
  EXPECT_THAT(Ask("POST", "/api/v2/query/operation.wait", R"({"operation_id":"op_1"})", events).body, HasSubstr("event: data"));
}

TEST_F(HttpFaceTest, TheDocumentAndThePageAreForWhomTheyAreFor) {
  const http::Response document = Ask("GET", "/openapi.json");
  EXPECT_EQ(json::parse(document.body)["x-aima-role"], "operate") << "a program on this machine";
  EXPECT_EQ(json::parse(Ask("GET", "/openapi.json", "", {{"x-api-key", "the-admin-key"}}).body)["x-aima-role"], "admin");
  EXPECT_EQ(Ask("GET", "/openapi.json", "", {{"if-none-match", std::string(document.headers.Get("etag"))}}).status, 304);
  const http::Response page = Ask("GET", "/docs");
  EXPECT_THAT(page.body, HasSubstr("<!doctype html>"));
  EXPECT_THAT(page.headers.Get("content-security-policy"), HasSubstr("default-src 'none'"));
  EXPECT_EQ(Ask("GET", "/").headers.Get("location"), "/docs");
  EXPECT_EQ(Ask("HEAD", "/docs/reference.js").status, 200);
  ExpectError(Ask("GET", "/docs/../http_face.cc"), 404, "RESOURCE_NOT_FOUND", "no such file");
}

TEST_F(HttpFaceTest, AWrongMethodIsToldTheRightOnes) {
  const std::tuple<const char*, const char*, const char*> cases[] = {
      {"GET", "/api/v2/execute", "POST"},
      {"GET", "/api/v2/command/model.delete", "POST"},
      {"DELETE", "/api/v2/query/event.query", "GET, HEAD, POST"},
      {"POST", "/api/v2/resource/asms%3A%2F%2Fmodels%2Fregistry", "GET, HEAD"},
      {"POST", "/api/v2/units", "GET, HEAD"},
      {"PUT", "/api/v2/operations/op_1", "GET, HEAD, DELETE"},
      {"DELETE", "/api/v2/operations", "GET, HEAD"},
      {"GET", "/api/v2/operations/op_1/cancel", "POST"},
      {"POST", "/docs", "GET, HEAD"},
      {"DELETE", "/health", "GET, HEAD"},
  };
  for (const auto& [method, target, allow] : cases) {
    const http::Response answer = Ask(method, target, "{}");
    ExpectError(answer, 405, "INVALID_INPUT", method);
    EXPECT_EQ(answer.headers.Get("allow"), allow) << target;
  }
}

// With operations that are kept.
class HttpOperationsTest : public HttpFaceTest {
 protected:
  HttpOperationsTest() {
    EXPECT_THAT(Await(db_->Migrate(AIMA_SOURCE_DIR "/libs/operations/migrations")), IsOk());
    boost::asio::co_spawn(loop_, library_.Run(), boost::asio::detached);
    services_.gateway = [this](const CallContext& call, const Message& request, Message& response) -> Task<absl::Status> {
      v1::GetRequest typed;
      typed.ParseFromString(request.SerializeAsString());
      CallContext copy = call;
      const absl::StatusOr<v1::Operation> operation = co_await kept_.Get(copy, typed);
      if (!operation.ok()) co_return operation.status();
      response.ParseFromString(operation->SerializeAsString());
      co_return absl::OkStatus();
    };
    HttpFaceTest::TearDown();
    Serve(kept_);
  }
  void TearDown() override {
    HttpFaceTest::TearDown();
    Await(StopLibrary());
  }
  Task<bool> StopLibrary() {
    co_await library_.Stop();
    co_return true;
  }

  std::unique_ptr<pg::Database> db_ = testing::Postgres::Shared().Open(loop_, "gateway");
  UnitCalls calls_{*catalogue_, services_};
  operations::Operations library_{loop_, *db_, calls_, {.owner = "me"}};
  OperationUnits kept_{{*catalogue_, runner_, keys_, &library_}, absl::Hours(1)};
};

TEST_F(HttpOperationsTest, AnAsynchronousCallIsAnOperation) {
  services_.answers[kQuery] = kAnswer;
  constexpr char kAsync[] = R"({"unit":"event.query","options":{"async":true,"idempotency_key":"k","trace_id":"t"}})";
  const http::Response accepted = Ask("POST", "/api/v2/execute", kAsync);
  ASSERT_EQ(accepted.status, 202) << accepted.body;
  EXPECT_EQ(json::parse(accepted.body)["data"]["status"], "running");
  const std::string location(accepted.headers.Get("location"));
  json operation = json::parse(Ask("GET", location).body)["data"];
  while (operation["status"] == "running") operation = json::parse(Ask("GET", location).body)["data"];
  EXPECT_EQ(operation["status"], "succeeded");
  EXPECT_EQ(operation["unit"], "event.query");
  EXPECT_EQ(operation["result"]["latest"], 9007199254740993) << "exactly as the unit answered";
  EXPECT_EQ(operation["trace_id"], "t");
  const json again = json::parse(Ask("POST", "/api/v2/execute", kAsync).body)["data"];
  EXPECT_EQ(again["id"], operation["id"]);
  EXPECT_EQ(again["result"]["latest"], 9007199254740993);
  const http::Response preferred = Ask("POST", "/api/v2/query/event.query", "{}", {{"prefer", "respond-async, wait=10"}});
  EXPECT_EQ(preferred.status, 202) << preferred.body;
  EXPECT_EQ(preferred.headers.Get("preference-applied"), "respond-async");
  ExpectError(Ask("GET", "/api/v2/operations/op_none"), 404, "OPERATION_NOT_FOUND", "op_none");
  ExpectError(Ask("POST", "/api/v2/execute", R"({"unit":"event.query","input":{"limit":0},"options":{"async":true}})"), 400,
              "INVALID_INPUT", "limit");
}

TEST_F(HttpFaceTest, ForwardsTheOpenAiSurfaceByteByByte) {
  services_.stream = {R"({"status": 418, "headers": [{"name": "content-type", "value": "text/x"}], "body": "eyJhIjo="})",
                      R"({"body": "AQJ9"})"};
  const auto response = Ask("POST", "/v1/chat/completions?x=1", "{ \"model\" : 1e2 }", {{"authorization", "Bearer the-admin-key"}});
  EXPECT_EQ(response.status, 418);
  EXPECT_EQ(response.headers.Get("content-type"), "text/x");
  EXPECT_EQ(response.body, "{\"a\":\x01\x02}");
  EXPECT_EQ(services_.forwarded.path(), "/v1/chat/completions?x=1");
  EXPECT_EQ(services_.forwarded.body(), "{ \"model\" : 1e2 }");
  for (const auto& header : services_.forwarded.headers()) {
    EXPECT_FALSE(absl::StrContains(header.value(), "the-admin-key")) << "the key stays here";
  }
}

TEST_F(HttpFaceTest, RefusalsBeforeTheOpenAiSurfaceHaveItsShapeToo) {
  const std::pair<http::Headers, int> refused[] = {{{{"authorization", "Bearer aima_nobody_0"}}, 401},
                                                   {{{"origin", "http://evil.example"}}, 403}};
  for (const auto& [headers, status] : refused) {
    const auto response = Ask("POST", "/v1/chat/completions", "{}", headers);
    EXPECT_EQ(response.status, status);
    const json error = json::parse(response.body)["error"];
    EXPECT_TRUE(error["message"].is_string() && error["type"].is_string() && error.contains("param")) << response.body;
  }
  // What the server refuses before anybody looks at it.
  const http::Response large = face_->ErrorAnswer({.target = "/v1/embeddings"}, "/v1/embeddings", Error(unit::v1::TOO_LARGE, "x"), {}, 413);
  EXPECT_EQ(large.status, 413);
  EXPECT_EQ(json::parse(large.body)["error"]["type"], "invalid_request_error");
}

TEST_F(HttpFaceTest, ErrorsOfTheOpenAiSurfaceHaveItsShape) {
  services_.stream_end = Error(unit::v1::UNAVAILABLE, "nobody is there");
  const auto response = Ask("POST", "/v1/chat/completions", "{}");
  EXPECT_EQ(response.status, 503);
  EXPECT_EQ(response.headers.Get("content-type"), "application/json");
  const json error = json::parse(response.body)["error"];
  EXPECT_EQ(error["message"], "nobody is there");
  EXPECT_EQ(error["type"], "server_error");
}

}  // namespace
}  // namespace aima::gateway
