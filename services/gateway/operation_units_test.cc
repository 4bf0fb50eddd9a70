// Units of operations on a real PostgreSQL, with an engine service that does what the test tells it to.
#include "services/gateway/operation_units.h"

#include <absl/strings/str_cat.h>
#include <absl/time/clock.h>
#include <gmock/gmock.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/steady_timer.hpp>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "aima/unit/v1/errors.pb.h"
#include "libs/errors/errors.h"
#include "libs/testing/postgres.h"
#include "libs/testing/status_matchers.h"
#include "libs/testing/task.h"
#include "libs/unit/json_codec.h"
#include "libs/unit/rules.h"
#include "services/gateway/unit_calls.h"

namespace aima::gateway {
namespace {

namespace asio = boost::asio;
using aima::testing::FailsWith;
using aima::testing::IsOk;
using google::protobuf::Message;
using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

// Answers calls with `answer`, and streams with `steps`; both wait until `open`.
class Engine : public rpc::Client {
 public:
  explicit Engine(Loop& loop) : gate_(loop, asio::steady_timer::time_point::max()) {}

  Task<absl::Status> CallUntyped(const CallContext& call, const Message& request, Message& response) override {
    requests.push_back(json::parse(ToJson(request)));
    calls.push_back(call);
    co_await Gate();
    if (!answer.ok()) co_return answer.status();
    co_return ParseJson(json::parse(*answer), response);
  }
  Task<absl::Status> CallDomain(const std::string&, const CallContext&, const Message&, Message&) override {
    co_return Error(unit::v1::UNAVAILABLE, "no service");
  }
  std::unique_ptr<RawReader> StreamUntyped(const CallContext& call, const Message& request) override {
    requests.push_back(json::parse(ToJson(request)));
    calls.push_back(call);
    return std::make_unique<Reader>(*this);
  }

  void Open() {
    open = true;
    gate_.cancel();
  }

  bool open = true;
  absl::StatusOr<std::string> answer = "{}";
  std::vector<std::string> steps;  // the gate is before the last one
  std::vector<json> requests;
  std::vector<CallContext> calls;

 private:
  class Reader : public RawReader {
   public:
    explicit Reader(Engine& engine) : engine_(engine) {}
    Task<absl::StatusOr<bool>> Next(Message& message) override {
      if (next_ == engine_.steps.size()) co_return false;
      if (next_ + 1 == engine_.steps.size()) co_await engine_.Gate();
      message.Clear();
      const absl::Status parsed = ParseJson(json::parse(engine_.steps[next_++]), message);
      if (!parsed.ok()) co_return parsed;
      co_return true;
    }

   private:
    Engine& engine_;
    size_t next_ = 0;
  };

  Task<void> Gate() {
    while (!open) co_await gate_.async_wait(asio::as_tuple(asio::use_awaitable));
  }
  asio::steady_timer gate_;
};


class OperationUnitsTest : public ::testing::Test {
 protected:
  OperationUnitsTest() {
    EXPECT_THAT(Do(db_->Migrate(AIMA_SOURCE_DIR "/libs/operations/migrations")), IsOk());
    asio::co_spawn(loop_, library_.Run(), asio::detached);
  }
  ~OperationUnitsTest() override { Do(Stopped()); }
  Task<bool> Stopped() {
    co_await library_.Stop();
    co_return true;
  }

  template <class T>
  T Do(Task<T> task) {
    return aima::testing::Run(loop_, std::move(task));
  }
  CallContext As(const std::string& principal) {
    CallContext call;
    call.principal = principal;
    call.trace_id = "trace";
    call.deadline = absl::Now() + absl::Seconds(60);
    return call;
  }
  template <class Request>
  static Request Parse(const std::string& text) {
    Request request;
    EXPECT_THAT(ParseJson(json::parse(text), request), IsOk());
    ApplyDefaults(request);
    return request;
  }

  absl::StatusOr<v1::Operation> Start(const std::string& who, const std::string& text) {
    const auto request = Parse<v1::StartRequest>(text);
    CallContext call = As(who);
    return Do(units_.Start(call, request));
  }
  absl::StatusOr<v1::Operation> Get(const std::string& who, const std::string& id) {
    CallContext call = As(who);
    v1::GetRequest request;
    request.set_operation_id(id);
    return Do(units_.Get(call, request));
  }
  absl::StatusOr<v1::Operation> Wait(const std::string& who, const std::string& id, int64_t timeout = 30'000) {
    CallContext call = As(who);
    v1::WaitRequest request;
    request.set_operation_id(id);
    request.set_timeout(timeout);
    return Do(units_.Wait(call, request));
  }
  absl::StatusOr<v1::Operation> Cancel(const std::string& who, const std::string& id) {
    CallContext call = As(who);
    v1::CancelRequest request;
    request.set_operation_id(id);
    return Do(units_.Cancel(call, request));
  }
  absl::StatusOr<v1::DeleteResponse> Delete(const std::string& who, const std::string& id) {
    CallContext call = As(who);
    v1::DeleteRequest request;
    request.set_operation_id(id);
    return Do(units_.Delete(call, request));
  }
  std::vector<std::string> List(const std::string& who, const std::string& text = "{}") {
    CallContext call = As(who);
    const absl::StatusOr<v1::ListResponse> page = Do(units_.List(call, Parse<v1::ListRequest>(text)));
    EXPECT_THAT(page, IsOk());
    std::vector<std::string> ids;
    for (const v1::Operation& operation : page->operations()) ids.push_back(operation.id());
    if (!page->next_page_token().empty()) ids.push_back("more");
    return ids;
  }
  static std::string KeyFile() {
    const std::string path = absl::StrCat(::testing::TempDir(), "/aima_operation_keys_", getpid());
    const std::string sha(64, '0');
    std::ofstream(path) << R"([{"id":"alice","role":"operate","sha256":")" << sha << R"("},{"id":"rita","role":"read","sha256":")"
                        << sha << R"("},{"id":"root","role":"admin","sha256":")" << sha << R"("}])";
    return path;
  }

  Loop loop_;
  std::unique_ptr<Catalogue> catalogue_ = Catalogue::Load(AIMA_BINARY_DIR "/share/aima/units.binpb").value();
  Engine engine_{loop_};
  KeyRing keys_{KeyFile(), ""};
  UnitRunner runner_{*catalogue_, engine_};
  UnitCalls calls_{*catalogue_, engine_};
  std::unique_ptr<pg::Database> db_ = testing::Postgres::Shared().Open(loop_, "gateway");
  operations::Operations library_{loop_, *db_, calls_, {.owner = "me", .first_pause = absl::Milliseconds(5)}};
  OperationUnits units_{{*catalogue_, runner_, keys_, &library_}, absl::Hours(1)};
};

TEST_F(OperationUnitsTest, AUnitIsCalledAndItsOutputKeptAsItsOwnType) {
  engine_.answer = R"({"valid": true, "digest": "abc"})";
  const v1::Operation started = Start("alice", R"({"unit": "model.verify", "input": {"model_id": "m"}})").value();
  EXPECT_EQ(started.status(), v1::OPERATION_STATUS_RUNNING);
  const v1::Operation ended = Wait("alice", started.id()).value();
  EXPECT_EQ(ended.status(), v1::OPERATION_STATUS_SUCCEEDED);
  EXPECT_EQ(ended.result().type_url(), "type.googleapis.com/aima.model.v1.VerifyResponse");
  EXPECT_EQ(ended.principal(), "alice");
  EXPECT_EQ(ended.trace_id(), "trace");
  EXPECT_TRUE(ended.has_finish_time());
  ASSERT_THAT(engine_.requests, SizeIs(1));
  EXPECT_EQ(engine_.requests[0]["model_id"], "m");
  EXPECT_EQ(engine_.requests[0]["idempotency_key"], started.id());
  EXPECT_EQ(engine_.calls[0].trace_id, "trace");
}

TEST_F(OperationUnitsTest, AFailureSaysWhatTheUnitSaid) {
  engine_.answer = Error(unit::v1::TOO_LARGE, "too much", {{"size", "9"}});
  const v1::Operation started = Start("alice", R"({"unit": "model.verify", "input": {"model_id": "m"}})").value();
  const v1::Operation ended = Wait("alice", started.id()).value();
  EXPECT_EQ(ended.status(), v1::OPERATION_STATUS_FAILED);
  EXPECT_EQ(ended.error().code(), "TOO_LARGE");
  EXPECT_EQ(ended.error().message(), "too much");
  EXPECT_EQ(ended.error().details().fields().at("size").string_value(), "9");
  EXPECT_FALSE(ended.has_result());
}

TEST_F(OperationUnitsTest, ProgressComesFromTheStreamingForm) {
  engine_.open = false;
  engine_.steps = {R"({"phase": "downloading", "message": "half of it", "percent": 50})",
                   R"({"phase": "done", "percent": 100, "result": {"success": true, "path": "/here"}})"};
  const v1::Operation started = Start("alice", R"({"unit": "engine.install", "input": {"name": "llamacpp"}})").value();
  v1::Operation seen = Get("alice", started.id()).value();
  while (!seen.has_progress()) seen = Get("alice", started.id()).value();
  EXPECT_EQ(seen.progress().percent(), 50);
  EXPECT_EQ(seen.progress().phase(), "downloading");
  EXPECT_EQ(seen.progress().message(), "half of it");
  engine_.Open();
  const v1::Operation ended = Wait("alice", started.id()).value();
  EXPECT_EQ(ended.status(), v1::OPERATION_STATUS_SUCCEEDED);
  EXPECT_EQ(ended.result().type_url(), "type.googleapis.com/aima.engine.v1.InstallResponse");
  EXPECT_THAT(ended.result().value(), HasSubstr("/here"));
}

TEST_F(OperationUnitsTest, WhatLeavesNoStateTellsItsProgressToo) {
  engine_.steps = {R"({"phase": "queued"})", R"({"phase": "done", "percent": 100, "result": {"format": "mp4"}})"};
  const std::string video = R"({"unit": "inference.generate_video", "input": {"model": "m", "prompt": "p"}})";
  EXPECT_EQ(Wait("alice", Start("alice", video)->id())->progress().phase(), "done");
}

TEST_F(OperationUnitsTest, AStreamOfWaitingTellsEachChange) {
  struct Collector : StreamWriter<v1::Operation> {
    Task<absl::Status> Write(const v1::Operation& message) override {
      seen.push_back(v1::OperationStatus_Name(message.status()));
      if (on_first) std::exchange(on_first, nullptr)();
      co_return absl::OkStatus();
    }
    std::vector<std::string> seen;
    std::function<void()> on_first;
  } out;
  engine_.open = false;
  const v1::Operation started = Start("alice", R"({"unit": "model.verify", "input": {"model_id": "m"}})").value();
  out.on_first = [&] { engine_.Open(); };
  CallContext call = As("alice");
  v1::WaitRequest request;
  request.set_operation_id(started.id());
  request.set_timeout(30'000);
  EXPECT_THAT(Do(units_.WaitStream(call, request, out)), IsOk());
  EXPECT_THAT(out.seen, ElementsAre("OPERATION_STATUS_RUNNING", "OPERATION_STATUS_SUCCEEDED"));
}

TEST_F(OperationUnitsTest, AWaitThatIsOverTellsHowFarItIs) {
  engine_.open = false;
  const v1::Operation started = Start("alice", R"({"unit": "model.verify", "input": {"model_id": "m"}})").value();
  EXPECT_EQ(Wait("alice", started.id(), 1)->status(), v1::OPERATION_STATUS_RUNNING);
  engine_.Open();
}

TEST_F(OperationUnitsTest, EverybodySeesTheirOwnAndAnAdminAll) {
  const std::string input = R"({"unit": "model.verify", "input": {"model_id": "m"}})";
  const std::string mine = Start("alice", input)->id();
  const std::string local = Start("", input)->id();
  for (const auto& [who, id] : {std::pair("", mine), {"rita", mine}, {"alice", local}, {"gone", mine}}) {
    EXPECT_THAT(Get(who, id), FailsWith(v1::OPERATION_NOT_FOUND, id));
    EXPECT_THAT(Wait(who, id), FailsWith(v1::OPERATION_NOT_FOUND, id));
    EXPECT_THAT(Cancel(who, id), FailsWith(v1::OPERATION_NOT_FOUND, id));
    EXPECT_THAT(Delete(who, id), FailsWith(v1::OPERATION_NOT_FOUND, id));
  }
  EXPECT_THAT(List("alice"), ElementsAre(mine));
  EXPECT_THAT(List(""), ElementsAre(local));
  EXPECT_THAT(List("root"), ElementsAre(std::max(mine, local), std::min(mine, local)));
  EXPECT_THAT(Get("root", mine), IsOk());
}

TEST_F(OperationUnitsTest, WhatIsDeletedIsForgottenAndEndedBefore) {
  const std::string input = R"({"unit": "model.verify", "input": {"model_id": "m"}})";
  const std::string ended = Start("alice", input)->id();
  EXPECT_THAT(Wait("alice", ended), IsOk());
  engine_.open = false;
  const std::string running = Start("alice", input)->id();
  for (const std::string& id : {ended, running}) {
    EXPECT_THAT(Delete("alice", id), IsOk());
    EXPECT_THAT(Get("alice", id), FailsWith(v1::OPERATION_NOT_FOUND, id));
    EXPECT_THAT(Delete("alice", id), FailsWith(v1::OPERATION_NOT_FOUND, id));
  }
  EXPECT_EQ(library_.running(), 0);
  EXPECT_THAT(List("alice"), SizeIs(0));
}

TEST_F(OperationUnitsTest, AStartNeedsTheRoleOfItsUnit) {
  EXPECT_THAT(Start("rita", R"({"unit": "model.verify", "input": {"model_id": "m"}})"),
              FailsWith(unit::v1::PERMISSION_DENIED, "operate"));
  EXPECT_THAT(Start("gone", R"({"unit": "model.list"})"), FailsWith(unit::v1::PERMISSION_DENIED, "read"));
  EXPECT_THAT(Start("rita", R"({"unit": "model.list"})"), IsOk());
  EXPECT_THAT(Start("root", R"({"unit": "event.publish"})"), FailsWith(unit::v1::UNIT_NOT_FOUND, "event.publish"));
}

TEST_F(OperationUnitsTest, BadInputIsRefusedBeforeAnythingIsRecorded) {
  EXPECT_THAT(Start("alice", R"({"unit": "model.verify"})"), FailsWith(unit::v1::INVALID_INPUT, "model_id"));
  EXPECT_THAT(Start("alice", R"({"unit": "model.verify", "input": {"model": "m"}})"),
              FailsWith(unit::v1::INVALID_INPUT, "model"));
  EXPECT_THAT(Start("alice", R"({"unit": "event.subscribe"})"), FailsWith(unit::v1::INVALID_INPUT, "streams"));
  EXPECT_THAT(Start("alice", R"({"unit": "operation.list"})"), FailsWith(unit::v1::INVALID_INPUT, "operation.list"));
  EXPECT_THAT(List("root"), SizeIs(0));
}

TEST_F(OperationUnitsTest, PagesFollowEachOther) {
  std::vector<std::string> ids;
  for (int i = 0; i < 3; ++i) {
    ids.push_back(Start("alice", R"({"unit": "model.list"})")->id());
    EXPECT_THAT(Wait("alice", ids.back()), IsOk());
  }
  std::sort(ids.begin(), ids.end(), std::greater<>());
  EXPECT_THAT(List("alice", R"({"limit": 2})"), ElementsAre(ids[0], ids[1], "more"));
  EXPECT_THAT(List("alice", absl::StrCat(R"({"limit": 2, "page_token": ")", ids[1], "\"}")), ElementsAre(ids[2]));
  EXPECT_THAT(List("alice", R"({"status": "failed"})"), SizeIs(0));
  EXPECT_THAT(List("alice", R"({"status": "succeeded", "unit": "model.list"})"), SizeIs(3));
}

TEST_F(OperationUnitsTest, ADeadlineIsTheCallersOrTheLongerOfTheUnitsAndTheConfigured) {
  const auto allowed = [&](const std::string& text) {
    const v1::Operation started = Start("alice", text).value();
    return absl::Seconds(started.deadline().seconds() - started.create_time().seconds());
  };
  EXPECT_LE(allowed(R"({"unit": "model.list", "timeout": "10s"})"), absl::Seconds(11));
  EXPECT_GE(allowed(R"({"unit": "model.list"})"), absl::Minutes(59));
}

TEST_F(OperationUnitsTest, WithoutADatabaseTheyAreUnavailable) {
  OperationUnits none({*catalogue_, runner_, keys_, nullptr}, absl::Hours(1));
  CallContext call = As("alice");
  EXPECT_THAT(Do(none.Start(call, Parse<v1::StartRequest>(R"({"unit": "model.list"})"))),
              FailsWith(unit::v1::UNAVAILABLE, "database.url"));
  EXPECT_THAT(Do(none.List(call, v1::ListRequest())), FailsWith(unit::v1::UNAVAILABLE, "database.url"));
}

}  // namespace
}  // namespace aima::gateway
