// OpenAI's Videos API over real sockets and operations on a real PostgreSQL. What inference does, tests say.
#include "services/gateway/videos/videos_api.h"

#include <absl/strings/escaping.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <filesystem>
#include <fstream>

#include "libs/base/ids.h"
#include "libs/http/form.h"
#include "libs/testing/postgres.h"
#include "services/gateway/face_for_test.h"
#include "services/gateway/unit_calls.h"

namespace aima::gateway::videos {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr char kQueued[] = R"({"phase": "queued", "percent": 0})";
constexpr char kHalf[] = R"({"phase": "generating", "percent": 50.5})";
constexpr char kDone[] = R"({"phase": "done", "percent": 100, "result": {"video": "TVA0AA==", "format": "mp4", "duration": 4}})";
constexpr char kWaves[] = R"({"model": "wan", "prompt": "Waves.", "seconds": "4", "size": "832x480"})";

class VideosTest : public FaceTest {
 protected:
  VideosTest() {
    EXPECT_THAT(Await(db_->Migrate(AIMA_SOURCE_DIR "/libs/operations/migrations")), aima::testing::IsOk());
    boost::asio::co_spawn(loop_, library_.Run(), boost::asio::detached);
    Parts parts = PartsWith(kept_);
    parts.translations = {&videos_};
    Serve(std::move(parts));
  }
  void TearDown() override {
    FaceTest::TearDown();
    const auto stop = [this]() -> Task<bool> {
      co_await library_.Stop();
      co_return true;
    };
    Await(stop());
    if (!file_.empty()) std::filesystem::remove(file_);
  }

  json Create(const std::string& body = kWaves, http::Headers headers = {}) {
    const http::Response response = Ask("POST", "/v1/videos", body, std::move(headers));
    EXPECT_EQ(response.status, 200) << response.body;
    return json::parse(response.body);
  }
  json Show(const json& video) { return json::parse(Ask("GET", "/v1/videos/" + video["id"].get<std::string>()).body); }
  json Reach(const char* status, json video) {
    const auto is = [&](const char* other) { return video["status"] == other && video["status"] != status; };
    while (is("queued") || is("in_progress")) video = Show(video);
    EXPECT_EQ(video["status"], status) << video;
    return video;
  }
  // Of many pieces, in a file that is gone with the test. Returns the video's path.
  std::string MakeLarge() {
    if (file_.empty()) file_ = ::testing::TempDir() + "/" + NewId("video_") + ".webm";
    while (bytes_.size() < 3'000'000) bytes_ += std::to_string(bytes_.size());
    std::ofstream(file_, std::ios::binary) << bytes_;
    const json made = {{"format", "webm"}, {"path", file_}, {"size_bytes", bytes_.size()}};
    services_.stream = {kQueued, json{{"phase", "done"}, {"percent", 100}, {"result", made}}.dump()};
    return "/v1/videos/" + Reach("completed", Create())["id"].get<std::string>();
  }
  std::string MakeSmall() {
    services_.stream = {kQueued, kDone};
    bytes_ = std::string("MP4\0", 4);
    return "/v1/videos/" + Reach("completed", Create())["id"].get<std::string>();
  }
  // Asks, and does not wait for the answer.
  void Send(const http::Request& request, std::vector<http::Response>& answers) {
    boost::asio::co_spawn(loop_, client_.Send(endpoint_, request, absl::Now() + absl::Seconds(20)),
                          [&](std::exception_ptr, absl::StatusOr<http::Response> answer) {
                            EXPECT_THAT(answer, aima::testing::IsOk());
                            answers.push_back(answer.ok() ? *std::move(answer) : http::Response{.status = 0});
                          });
  }
  std::vector<std::string> List(const std::string& query = "") {
    const json page = json::parse(Ask("GET", "/v1/videos" + query).body);
    std::vector<std::string> ids;
    for (const json& video : page["data"]) ids.push_back(video["id"]);
    if (page["has_more"]) ids.push_back("more");
    return ids;
  }
  // What the error says, of an answer with this status.
  json ErrorOf(const http::Response& response, int status) {
    EXPECT_EQ(response.status, status) << response.body;
    const json body = json::parse(response.body, nullptr, false);
    return body.is_object() && body.contains("error") ? body["error"] : json::object();
  }

  const pg::Options options_ = testing::Postgres::Shared().FreshOptions("gateway");
  std::unique_ptr<pg::Database> db_ = pg::Open(loop_, options_);
  UnitCalls calls_{*catalogue_, services_};
  operations::Operations library_{loop_, *db_, calls_, {.owner = "me", .first_pause = absl::Milliseconds(5)}};
  OperationUnits kept_{{*catalogue_, runner_, keys_, &library_,
                        [this](const CallContext& call, const operations::Operation& operation) {
                          return DeleteFile(services_, call, operation);
                        }},
                       absl::Hours(1)};
  VideosApi videos_{{loop_, runner_, edge_}, kept_, absl::Hours(24)};
  std::string bytes_;  // of the video that was made last
  std::string file_;
};

TEST_F(VideosTest, AVideoIsQueuedMadeDownloadedAndDeleted) {
  services_.stream = {kQueued, "", kHalf, "", kDone};
  json video = Create();
  EXPECT_EQ(video["object"], "video");
  EXPECT_EQ(video["status"], "queued");
  EXPECT_EQ(video["model"], "wan");
  EXPECT_EQ(video["prompt"], "Waves.");
  EXPECT_EQ(video["seconds"], "4");
  EXPECT_EQ(video["size"], "832x480");
  EXPECT_EQ(video["error"], nullptr);
  EXPECT_EQ(services_.last_request["duration"], 4);
  services_.Resume();
  video = Reach("in_progress", video);
  EXPECT_EQ(video["progress"], 50);
  EXPECT_EQ(video["completed_at"], nullptr);
  const std::string path = "/v1/videos/" + video["id"].get<std::string>();
  EXPECT_THAT(ErrorOf(Ask("GET", path + "/content"), 404)["message"], HasSubstr("in_progress, 50 %"));
  services_.Resume();
  video = Reach("completed", video);
  EXPECT_EQ(video["progress"], 100);
  EXPECT_EQ(video["expires_at"].get<int64_t>() - video["completed_at"].get<int64_t>(), 24 * 60 * 60);
  const http::Response content = Ask("GET", path + "/content");
  EXPECT_EQ(content.headers.Get("content-type"), "video/mp4");
  EXPECT_EQ(content.body, std::string("MP4\0", 4));
  EXPECT_EQ(ErrorOf(Ask("GET", path + "/content?variant=thumbnail"), 400)["param"], "variant");
  EXPECT_THAT(List(), ElementsAre(video["id"]));
  EXPECT_EQ(json::parse(Ask("DELETE", path).body)["deleted"], true);
  for (const std::string& gone : {path, path + "/content"}) EXPECT_EQ(ErrorOf(Ask("GET", gone), 404)["code"], "resource_not_found");
  EXPECT_EQ(Ask("DELETE", path).status, 404);
  EXPECT_THAT(List(), IsEmpty());
}

TEST_F(VideosTest, AVideoThatNoAnswerHoldsIsReadFromItsFile) {
  const std::string target = MakeLarge() + "/content";
  const http::Response content = Ask("GET", target);
  EXPECT_EQ(content.status, 200);
  EXPECT_EQ(content.headers.Get("content-type"), "video/webm");
  EXPECT_TRUE(content.body == bytes_) << content.body.size();
  std::filesystem::remove(file_);
  EXPECT_THAT(ErrorOf(Ask("GET", target), 404)["message"], HasSubstr(file_));
  EXPECT_EQ(Ask("DELETE", target).headers.Get("allow"), "GET, HEAD");
  std::filesystem::create_directory(file_);
  EXPECT_THAT(ErrorOf(Ask("GET", target), 404)["message"], HasSubstr(file_));
}

TEST_F(VideosTest, APartOfAVideoIsThePartThatWasAskedFor) {
  const auto check = [&](const std::string& video) {
    const std::string target = video + "/content";
    const std::string& all = bytes_;
    const std::string size = std::to_string(all.size());
    const http::Response whole = Ask("GET", target);
    EXPECT_TRUE(whole.body == all) << whole.body.size();
    EXPECT_EQ(whole.headers.Get("content-length"), size);
    EXPECT_EQ(whole.headers.Get("accept-ranges"), "bytes");
    const std::string etag(whole.headers.Get("etag"));
    const auto part = [&](const char* range, const std::string& named) {
      return Ask("GET", target, "", {{"range", range}, {"if-range", named}});
    };
    const http::Response middle = part("bytes=1-2", etag);
    EXPECT_EQ(middle.status, 206);
    EXPECT_EQ(middle.body, all.substr(1, 2));
    EXPECT_EQ(middle.headers.Get("content-range"), "bytes 1-2/" + size);
    EXPECT_EQ(middle.headers.Get("content-length"), "2");
    EXPECT_TRUE(part("bytes=1-", etag).body == all.substr(1));
    EXPECT_TRUE(part("bytes=-1", etag).body == all.substr(all.size() - 1));
    EXPECT_TRUE(part("bytes=1-2", "\"other\"").body == all);
    const http::Response beyond = Ask("GET", target, "", {{"range", "bytes=" + size + "-"}});
    EXPECT_EQ(ErrorOf(beyond, 416)["param"], "Range");
    EXPECT_EQ(beyond.headers.Get("content-range"), "bytes */" + size);
    EXPECT_EQ(Ask("GET", target, "", {{"if-none-match", etag}}).status, 304);
    const http::Response head = Ask("HEAD", target, "", {{"range", "bytes=1-2"}});
    EXPECT_EQ(head.status, 200);
    EXPECT_EQ(head.headers.Get("content-length"), size);
    EXPECT_EQ(head.headers.Get("accept-ranges"), "bytes");
    EXPECT_EQ(head.body, "");
  };
  check(MakeSmall());
  check(MakeLarge());
}

TEST_F(VideosTest, AFileThatIsCutOffWhileItIsReadDoesNotLookWhole) {
  const std::string target = MakeLarge() + "/content";
  std::filesystem::resize_file(file_, 64 << 20);  // more than is ever on its way
  const auto first = [&]() -> Task<absl::Status> {
    http::Request request = {"GET", target, {}, ""};
    auto answer = co_await client_.Open(endpoint_, std::move(request), absl::Now() + absl::Seconds(20));
    if (!answer.ok()) co_return answer.status();
    std::filesystem::resize_file(file_, 10);
    while (true) {
      const auto bytes = co_await (*answer)->Next();
      if (!bytes.ok()) co_return bytes.status();
      if (!bytes->has_value()) co_return absl::OkStatus();
    }
  };
  EXPECT_EQ(Await(first()).code(), absl::StatusCode::kUnavailable);
}

TEST_F(VideosTest, WithAVideoGoesTheFileThatInferenceHasOfIt) {
  services_.answers["aima.inference.v1.DeleteVideoRequest"] = "{}";
  EXPECT_EQ(Ask("DELETE", MakeLarge()).status, 200);
  EXPECT_EQ(services_.last_request["name"], std::filesystem::path(file_).filename().string());
  const std::string as_operation = MakeLarge();
  v1::DeleteRequest request;
  request.set_operation_id(as_operation.substr(as_operation.rfind('/') + 1));
  CallContext call;
  call.deadline = absl::Now() + absl::Seconds(20);
  EXPECT_THAT(Await(kept_.Delete(call, request)), aima::testing::IsOk());
  EXPECT_EQ(services_.last_request["name"], std::filesystem::path(file_).filename().string());
}

TEST_F(VideosTest, AVideoWithoutAFileIsDeletedHere) {
  services_.answers["aima.inference.v1.DeleteVideoRequest"] = "{}";
  const std::string video = MakeSmall();
  const size_t before = services_.calls.size();
  EXPECT_EQ(Ask("DELETE", video).status, 200);
  EXPECT_EQ(services_.calls.size(), before);
}

TEST_F(VideosTest, AVideoIsDeletedWhileInferenceIsAway) {
  const std::string video = MakeLarge();
  const size_t before = services_.calls.size();
  EXPECT_EQ(Ask("DELETE", video).status, 200);
  EXPECT_EQ(services_.calls.size(), before + 1) << "it is asked, and has no answer";
  EXPECT_THAT(List(), IsEmpty());
}

TEST_F(VideosTest, AFormIsReadAsTheObjectThatItStandsFor) {
  services_.stream = {kQueued, ""};
  http::FormWriter form;
  form.Field("model", "wan");
  form.Field("prompt", "Waves.");
  form.Field("seconds", "4.5");
  form.Field("seed", "7");
  form.Field("engine_options[fps]", "24");
  form.File("input_reference", "\x89PNG", "a.png", "image/png");
  const std::string type = form.content_type();
  EXPECT_EQ(Create(std::move(form).Finish(), {{"content-type", type}})["seconds"], "4.5");
  EXPECT_EQ(services_.last_request["duration"], 4.5);
  EXPECT_EQ(services_.last_request["seed"], 7);
  EXPECT_EQ(services_.last_request["engine_options"]["fps"], "24");
  EXPECT_EQ(services_.last_request["input_reference"], absl::Base64Escape("\x89PNG"));
  Create(R"({"model": "wan", "prompt": "p", "seconds": 5, "input_reference": {"image_url": "data:image/png;base64,UE5H"}})");
  EXPECT_EQ(services_.last_request["input_reference"], absl::Base64Escape("PNG"));
  EXPECT_EQ(services_.last_request["duration"], 5);
}

TEST_F(VideosTest, WhatIsWrongWithAFormIsNamed) {
  const auto refused = [&](const std::function<void(http::FormWriter&)>& fill, const char* prompt = "p") {
    http::FormWriter form;
    form.Field("model", "wan");
    form.Field("prompt", prompt);
    fill(form);
    const std::string type = form.content_type();
    return ErrorOf(Ask("POST", "/v1/videos", std::move(form).Finish(), {{"content-type", type}}), 400)["param"];
  };
  EXPECT_EQ(refused([](http::FormWriter& form) { form.Field("model", "twice"); }), "model");
  EXPECT_EQ(refused([](http::FormWriter& form) { form.File("prompt", "x"); }), "prompt");
  EXPECT_EQ(refused([](http::FormWriter& form) { form.File("other", "x"); }), "other");
  EXPECT_EQ(refused([](http::FormWriter& form) { form.Field("a[b", "x"); }), "a[b");
  EXPECT_EQ(refused([](http::FormWriter& form) { form.Field("a[]", "x"); }), "a[]");
  EXPECT_EQ(refused([](http::FormWriter& form) { form.Field("prompt[b]", "x"); }), "prompt[b]");
  EXPECT_EQ(refused([](http::FormWriter& form) { form.Field("seconds", "long"); }), "seconds");
  EXPECT_EQ(refused([](http::FormWriter&) {}, "\xff"), "prompt");
  EXPECT_EQ(refused([](http::FormWriter& form) { form.Field("engine_options[a]", "\xff"); }), "engine_options[a]");
  EXPECT_EQ(refused([](http::FormWriter& form) { form.Field("engine_options[\xff]", "x"); }), "engine_options[\uFFFD]");
  EXPECT_EQ(refused([](http::FormWriter& form) { form.File("input_reference\xff", "x"); }), "input_reference\uFFFD");
  EXPECT_EQ(ErrorOf(Ask("POST", "/v1/videos", "--x", {{"content-type", "multipart/form-data; boundary=x"}}), 400)["param"], "body");
}

TEST_F(VideosTest, WhatIsWrongWithARequestIsNamed) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"model": null})", "model"},
      {R"({"prompt": ""})", "prompt"},
      {R"({"prompt": 5})", "prompt"},
      {R"({"seconds": "long"})", "seconds"},
      {R"({"seconds": "nan"})", "seconds"},
      {R"({"seconds": 1e9})", "seconds"},
      {R"({"seconds": []})", "seconds"},
      {R"({"size": "large"})", "size"},
      {R"({"seed": -1})", "seed"},
      {R"({"engine_options": 5})", "engine_options"},
      {R"({"input_reference": "x"})", "input_reference"},
      {R"({"input_reference": {"": "UE5H"}})", "input_reference"},
      {R"({"input_reference": {"file_id": "f"}})", "input_reference.file_id"},
      {R"({"input_reference": {"image_url": "http://example.org/a.png"}})", "input_reference.image_url"},
      {R"({"input_reference": {"image_url": "data:image/png;base64,!"}})", "input_reference"},
      {R"({"n": 2})", "n"}};
  for (const auto& [members, param] : cases) {
    json body = json::parse(kWaves);
    body.update(json::parse(members));
    const json error = ErrorOf(Ask("POST", "/v1/videos", body.dump()), 400);
    EXPECT_EQ(error["param"], param) << members;
    EXPECT_EQ(error["type"], "invalid_request_error");
  }
  for (const char* body : {"", "[]", "5", "{"}) ErrorOf(Ask("POST", "/v1/videos", body), 400);
  EXPECT_THAT(List(), IsEmpty());
}

TEST_F(VideosTest, WhatCannotBeMadeAtAllIsTheAnswerAndNoVideo) {
  services_.stream_end = Error(inference::v1::INFERENCE_NO_ENGINE, "install SGLang Diffusion");
  const json error = ErrorOf(Ask("POST", "/v1/videos", kWaves), HttpStatusOf(services_.stream_end));
  EXPECT_EQ(error["code"], "inference_no_engine");
  EXPECT_EQ(error["message"], "install SGLang Diffusion");
  EXPECT_THAT(List(), IsEmpty());
  ErrorOf(Ask("POST", "/v1/videos", kWaves, {{"idempotency-key", "k"}}), HttpStatusOf(services_.stream_end));
  EXPECT_THAT(List(), IsEmpty()) << "the same key may try again";
}

TEST_F(VideosTest, WhatFailsLaterIsAVideoThatSaysWhy) {
  services_.stream = {kQueued, ""};
  services_.stream_end = Error(inference::v1::INFERENCE_ENGINE_FAILED, "out of memory");
  const json video = Create();
  services_.Resume();
  const json failed = Reach("failed", video);
  EXPECT_EQ(failed["error"], json::parse(R"({"code": "inference_engine_failed", "message": "out of memory"})"));
  EXPECT_EQ(failed["completed_at"], nullptr);
}

TEST_F(VideosTest, WhatIsDeletedWhileItIsMadeIsEnded) {
  services_.stream = {kQueued, ""};
  const json video = Create();
  EXPECT_EQ(services_.open_streams, 1);
  EXPECT_EQ(Ask("DELETE", "/v1/videos/" + video["id"].get<std::string>()).status, 200);
  EXPECT_EQ(services_.open_streams, 0);
  EXPECT_THAT(List(), IsEmpty());
}

TEST_F(VideosTest, ARepeatedKeyIsTheSameVideo) {
  services_.stream = {kQueued, ""};
  const json first = Create(kWaves, {{"idempotency-key", "k"}});
  EXPECT_EQ(Create(kWaves, {{"idempotency-key", "k"}})["id"], first["id"]);
  EXPECT_NE(Create()["id"], first["id"]);
}

TEST_F(VideosTest, ARepeatedKeyShowsWhatHasFailedAndForgetsNothing) {
  services_.stream = {kQueued, ""};
  services_.stream_end = Error(inference::v1::INFERENCE_ENGINE_FAILED, "out of memory");
  const json first = Create(kWaves, {{"idempotency-key", "k"}});
  services_.Resume();
  Reach("failed", first);
  const json again = Create(kWaves, {{"idempotency-key", "k"}});
  EXPECT_EQ(again["id"], first["id"]);
  EXPECT_EQ(again["status"], "failed");
  EXPECT_THAT(List(), ElementsAre(first["id"]));
}

TEST_F(VideosTest, OfTwoRequestsWithOneKeyEachLearnsThatTheVideoCannotBeMade) {
  services_.stream_end = Error(inference::v1::INFERENCE_NO_ENGINE, "install SGLang Diffusion");
  // The second comes at each moment of the first.
  bool after = false;
  for (int turns = 0; !after; ++turns) {
    const http::Request request = {
        "POST", "/v1/videos", {{"content-type", "application/json"}, {"idempotency-key", std::to_string(turns)}}, kWaves};
    std::vector<http::Response> answers;
    Send(request, answers);
    for (int turn = 0; turn < turns && answers.empty(); ++turn) {
      loop_.restart();
      loop_.run_one();
    }
    after = !answers.empty();
    Send(request, answers);
    Until([&] { return answers.size() == 2; });
    for (const http::Response& answer : answers) {
      EXPECT_EQ(ErrorOf(answer, HttpStatusOf(services_.stream_end))["code"], "inference_no_engine") << turns << answer.body;
    }
  }
  EXPECT_THAT(List(), IsEmpty());
}

TEST_F(VideosTest, ARepeatedKeyForgetsNoOperationThatAnotherFaceHasBegun) {
  services_.stream_end = Error(inference::v1::INFERENCE_NO_ENGINE, "install SGLang Diffusion");
  const json input = {{"model", "wan"}, {"prompt", "Waves."}, {"duration", 4}, {"size", "832x480"}};
  const json order = {{"unit", kUnit}, {"input", input}, {"options", {{"async", true}, {"idempotency_key", "k"}}}};
  const json begun = json::parse(Ask("POST", "/api/v2/execute", order.dump()).body)["data"];
  Reach("failed", Show(begun));
  ErrorOf(Ask("POST", "/v1/videos", kWaves, {{"idempotency-key", "k"}}), HttpStatusOf(services_.stream_end));
  EXPECT_THAT(List(), ElementsAre(begun["id"]));
}

TEST_F(VideosTest, WhatTheEngineHasTakenAndThenFailsIsAVideoHoweverFast) {
  services_.stream = {kQueued};
  services_.stream_end = Error(inference::v1::INFERENCE_ENGINE_FAILED, "out of memory");
  const json video = Create(kWaves, {{"idempotency-key", "k"}});
  EXPECT_EQ(Reach("failed", video)["id"], video["id"]);
  EXPECT_EQ(Create(kWaves, {{"idempotency-key", "k"}})["id"], video["id"]);
}

TEST_F(VideosTest, AListThatCannotBeReadIsNotAShorterOne) {
  services_.stream = {kQueued, ""};
  const json video = Create();
  const auto sql = [&](const char* text) {
    testing::Postgres::Shared().Execute(options_.url, std::string("SET search_path = gateway; ") + text);
  };
  sql("ALTER TABLE operation RENAME input TO elsewhere");  // lists do without it
  ErrorOf(Ask("GET", "/v1/videos"), 500);
  sql("ALTER TABLE operation RENAME elsewhere TO input");
  EXPECT_THAT(List(), ElementsAre(video["id"]));
}

TEST_F(VideosTest, ListsHavePagesInEitherOrder) {
  services_.stream = {kQueued, ""};
  std::vector<std::string> ids;
  for (int i = 0; i < 3; ++i) ids.push_back(Create()["id"]);
  std::sort(ids.begin(), ids.end());
  EXPECT_THAT(List("?limit=2"), ElementsAre(ids[2], ids[1], "more"));
  EXPECT_THAT(List("?limit=2&after=" + ids[1]), ElementsAre(ids[0]));
  EXPECT_THAT(List("?limit=1&order=asc&after=" + ids[0]), ElementsAre(ids[1], "more"));
  const json page = json::parse(Ask("GET", "/v1/videos?order=asc").body);
  EXPECT_EQ(page["object"], "list");
  EXPECT_EQ(page["first_id"], ids[0]);
  EXPECT_EQ(page["last_id"], ids[2]);
  EXPECT_EQ(page["data"][0]["model"], "wan");
  for (const char* query : {"?limit=0", "?limit=x", "?order=up", "?page=2"}) EXPECT_EQ(Ask("GET", std::string("/v1/videos") + query).status, 400) << query;
}

TEST_F(VideosTest, OnlyOnesOwnVideosAreThereAndNoOtherOperations) {
  services_.stream = {kQueued, ""};
  const http::Headers admin = {{"authorization", "Bearer the-admin-key"}};
  const std::string admins = "/v1/videos/" + Create(kWaves, admin)["id"].get<std::string>();
  EXPECT_EQ(Ask("GET", admins, "", admin).status, 200);
  for (const char* method : {"GET", "DELETE"}) EXPECT_EQ(Ask(method, admins).status, 404);
  EXPECT_THAT(List(), IsEmpty());
  services_.answers["aima.model.v1.ListRequest"] = "{}";
  const json other = json::parse(Ask("POST", "/api/v2/execute", R"({"unit": "model.list", "options": {"async": true}})").body)["data"];
  EXPECT_EQ(ErrorOf(Ask("GET", "/v1/videos/" + other["id"].get<std::string>()), 404)["code"], "resource_not_found");
  EXPECT_EQ(Ask("DELETE", "/v1/videos/" + other["id"].get<std::string>()).status, 404);
  EXPECT_THAT(List(), IsEmpty());
}

TEST_F(VideosTest, WhatIsNotThereIsSaidInItsForm) {
  for (const char* path : {"/v1/videos/v_1/remix", "/v1/videos/edits", "/v1/videos/"}) {
    EXPECT_THAT(ErrorOf(Ask("POST", path, "{}"), 404)["message"], HasSubstr(path)) << path;
  }
  EXPECT_EQ(ErrorOf(Ask("POST", "/v1/videos", kWaves, {{"authorization", "Bearer wrong"}}), 401)["type"], "authentication_error");
}

class VideosWithoutADatabaseTest : public FaceTest {
 protected:
  VideosApi videos_{{loop_, runner_, edge_}, operations_, absl::Hours(24)};
};

TEST_F(VideosWithoutADatabaseTest, TheyAreUnavailable) {
  Parts parts = PartsWith(operations_);
  parts.translations = {&videos_};
  Serve(std::move(parts));
  for (const http::Response& response : {Ask("POST", "/v1/videos", kWaves), Ask("GET", "/v1/videos"), Ask("GET", "/v1/videos/op_1")}) {
    EXPECT_EQ(response.status, 503);
    EXPECT_THAT(json::parse(response.body)["error"]["message"], HasSubstr("database.url"));
  }
}

}  // namespace
}  // namespace aima::gateway::videos
