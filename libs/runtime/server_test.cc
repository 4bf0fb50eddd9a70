// The server and the client together, over a real socket: what a unit's author and its callers rely on.
#include "libs/runtime/server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <filesystem>

#include "aima/event/v1/event.pb.h"
#include "aima/unit/v1/errors.pb.h"
#include "libs/rpc/client.h"
#include "libs/rpc/channels.h"
#include "libs/runtime/health.h"
#include "libs/testing/status_matchers.h"
#include "libs/testing/task.h"

namespace aima::runtime {
namespace {

namespace asio = boost::asio;
using aima::testing::FailsWith;
using aima::testing::IsOk;
using event::v1::Batch;
using event::v1::CURSOR_OUT_OF_RANGE;
using event::v1::QueryRequest;
using event::v1::QueryResponse;
using event::v1::ReplayRequest;

// Stands in for a domain; what a call does is asked for through its `domain` field.
class Units {
 public:
  explicit Units(Loop& loop) : loop_(loop) {}

  Task<absl::StatusOr<QueryResponse>> Query(CallContext& call, const QueryRequest& request) {
    last_call = call;
    ++started;
    if (request.domain() == "fail") co_return Error(CURSOR_OUT_OF_RANGE, "no such cursor", {{"latest", "7"}});
    if (request.domain() == "throw") throw std::runtime_error("a defect");
    if (request.domain() == "wait") {
      struct Ended {
        int& count;
        ~Ended() { ++count; }
      } on_end{ended};
      asio::steady_timer forever(loop_, asio::steady_timer::time_point::max());
      co_await forever.async_wait(asio::use_awaitable);
    }
    QueryResponse response;
    response.set_latest(request.limit());
    co_return response;
  }

  Task<absl::Status> Replay(CallContext& call, const ReplayRequest& request, StreamWriter<Batch>& out) {
    for (int64_t i = 1;; ++i) {
      if (request.until() > 0 && i > request.until()) co_return absl::OkStatus();
      Batch batch;
      batch.set_cursor(i);
      last_write = co_await out.Write(batch);
      if (!last_write.ok()) co_return last_write;
    }
  }

  CallContext last_call;
  absl::Status last_write;
  int started = 0;
  int ended = 0;

 private:
  Loop& loop_;
};

class ServerTest : public ::testing::Test {
 protected:
  explicit ServerTest(Limits limits = {}) : server_(loop_, limits) {
    char name[] = "/tmp/aima-server-test-XXXXXX";
    dir_ = mkdtemp(name);
    ServiceBinder(server_, "aima.event.v1.EventService").Bind<&Units::Query>(units_).Bind<&Units::Replay>(units_);
    ServiceBinder(server_, "grpc.health.v1.Health").Bind<&Health::Check>(health_).Bind<&Health::Watch>(health_);
    channels_ = std::make_unique<rpc::Channels>(loop_, dir_);
    client_ = rpc::MakeClient(loop_, *channels_);
    EXPECT_THAT(server_.Start(rpc::Channels::AddressOf(dir_, "event")), IsOk());
  }

  ~ServerTest() override {
    testing::Run(loop_, server_.Shutdown(absl::Now()));
    Spin(absl::Milliseconds(50));
    std::filesystem::remove_all(dir_);
  }

  absl::StatusOr<QueryResponse> Query(std::string domain, absl::Duration timeout = absl::Seconds(10)) {
    CallContext call;
    call.deadline = absl::Now() + timeout;
    call.trace_id = "trace-1";
    call.principal = "key-1";
    QueryRequest request;
    request.set_domain(std::move(domain));
    return testing::Run(loop_, client_->Call<QueryResponse>(call, request));
  }

  void Spin(absl::Duration time) {
    loop_.restart();
    loop_.run_for(absl::ToChronoMilliseconds(time));
  }

  // Runs the loop until `condition` holds.
  template <class Condition>
  bool Await(Condition condition) {
    for (int i = 0; i < 500 && !condition(); ++i) Spin(absl::Milliseconds(10));
    return condition();
  }

  Loop loop_;
  std::string dir_;
  Units units_{loop_};
  Health health_{loop_};
  Server server_;
  std::unique_ptr<rpc::Channels> channels_;
  std::unique_ptr<rpc::Client> client_;
};

TEST_F(ServerTest, ACallReachesItsUnitWithDefaultsAndContext) {
  absl::StatusOr<QueryResponse> response = Query("");
  ASSERT_THAT(response, IsOk());
  EXPECT_EQ(response->latest(), 100) << "limit has the default 100";
  EXPECT_EQ(units_.last_call.unit, "event.query");
  EXPECT_EQ(units_.last_call.trace_id, "trace-1");
  EXPECT_EQ(units_.last_call.principal, "key-1");
  EXPECT_LT(units_.last_call.TimeLeft(), absl::Seconds(11));
}

TEST_F(ServerTest, WhoIsAdmittedCannotNameItselfSomebodyElse) {
  server_.SetAdmission([](const rpc::Stream&, CallContext&) { return absl::OkStatus(); });
  ASSERT_THAT(Query(""), IsOk());
  EXPECT_EQ(units_.last_call.principal, "");
  server_.SetAdmission([](const rpc::Stream&, CallContext& call) {
    call.principal = "key-2";
    return absl::OkStatus();
  });
  ASSERT_THAT(Query(""), IsOk());
  EXPECT_EQ(units_.last_call.principal, "key-2");
}

TEST_F(ServerTest, ABrokenRuleIsRefusedBeforeTheHandlerRuns) {
  EXPECT_THAT(Query(std::string(65, 'x')), FailsWith(unit::v1::INVALID_INPUT, "domain: has 65 bytes"));
  EXPECT_EQ(units_.started, 0);
}

TEST_F(ServerTest, ADeclaredErrorArrivesWithItsReasonAndMetadata) {
  const absl::Status status = Query("fail").status();
  EXPECT_THAT(status, FailsWith(CURSOR_OUT_OF_RANGE, "no such cursor"));
  EXPECT_EQ(DetailsOf(status).metadata.at("latest"), "7");
}

TEST_F(ServerTest, AnExceptionIsADefectOfOneCallOnly) {
  EXPECT_THAT(Query("throw"), FailsWith(unit::v1::INTERNAL_ERROR, "event.query failed unexpectedly"));
  EXPECT_THAT(Query(""), IsOk());
}

TEST_F(ServerTest, ACallThatMissesItsDeadlineIsCancelled) {
  EXPECT_THAT(Query("wait", absl::Milliseconds(100)), FailsWith(unit::v1::DEADLINE_EXCEEDED, ""));
  EXPECT_TRUE(Await([&] { return units_.ended == 1; })) << "the handler went on";
}

TEST_F(ServerTest, ACallerThatLeavesCancelsItsHandler) {
  asio::cancellation_signal leave;
  CallContext call;
  QueryRequest request;
  request.set_domain("wait");
  bool gone = false;
  asio::co_spawn(loop_, client_->Call<QueryResponse>(call, request),
                 asio::bind_cancellation_slot(leave.slot(), [&](std::exception_ptr, absl::StatusOr<QueryResponse>) { gone = true; }));
  ASSERT_TRUE(Await([&] { return units_.started == 1; }));
  leave.emit(asio::cancellation_type::terminal);
  EXPECT_TRUE(Await([&] { return gone && units_.ended == 1; }));
}

TEST_F(ServerTest, AStreamArrivesInOrderAndEnds) {
  CallContext call;
  ReplayRequest request;
  request.set_until(100);
  auto reader = client_->Stream<Batch>(call, request);
  for (int64_t i = 1; i <= 100; ++i) {
    absl::StatusOr<std::optional<Batch>> batch = testing::Run(loop_, reader->Next());
    ASSERT_THAT(batch, IsOk());
    ASSERT_TRUE(batch->has_value());
    EXPECT_EQ((*batch)->cursor(), i);
  }
  absl::StatusOr<std::optional<Batch>> end = testing::Run(loop_, reader->Next());
  ASSERT_THAT(end, IsOk());
  EXPECT_FALSE(end->has_value());
}

TEST_F(ServerTest, AReaderThatLeavesEndsTheStream) {
  CallContext call;
  auto reader = client_->Stream<Batch>(call, ReplayRequest());
  ASSERT_THAT(testing::Run(loop_, reader->Next()), IsOk());
  reader.reset();
  EXPECT_TRUE(Await([&] { return !units_.last_write.ok(); })) << "the unit still writes";
}

TEST_F(ServerTest, AServiceThatIsNotThereIsNamed) {
  rpc::Channels nowhere(loop_, "/tmp/aima-no-such-dir");
  const auto client = rpc::MakeClient(loop_, nowhere);
  CallContext call;
  call.deadline = absl::Now() + absl::Seconds(5);
  EXPECT_THAT(testing::Run(loop_, client->Call<QueryResponse>(call, QueryRequest())),
              FailsWith(unit::v1::UNAVAILABLE, "the event service cannot be reached"));
}

TEST_F(ServerTest, HealthFollowsTheProcess) {
  health_.SetServices({"aima.event.v1.EventService"});
  grpc::health::v1::HealthCheckResponse response;
  CallContext call;
  const auto check = [&] {
    return testing::Run(loop_, client_->CallDomain("event", call, grpc::health::v1::HealthCheckRequest(), response));
  };
  ASSERT_THAT(check(), IsOk());
  EXPECT_EQ(response.status(), grpc::health::v1::HealthCheckResponse::NOT_SERVING);
  health_.SetServing(true);
  ASSERT_THAT(check(), IsOk());
  EXPECT_EQ(response.status(), grpc::health::v1::HealthCheckResponse::SERVING);
}

TEST_F(ServerTest, HealthTellsThatTheDatabaseCannotBeReached) {
  bool reached = false;
  health_.SetServing(true);
  CallContext call;
  const auto check = [&](const char* service) {
    grpc::health::v1::HealthCheckRequest request;
    request.set_service(service);
    grpc::health::v1::HealthCheckResponse response;
    const absl::Status status = testing::Run(loop_, client_->CallDomain("event", call, request, response));
    return status.ok() ? response.status() : grpc::health::v1::HealthCheckResponse::SERVICE_UNKNOWN;
  };
  EXPECT_EQ(check("database"), grpc::health::v1::HealthCheckResponse::SERVICE_UNKNOWN) << "there is none";
  health_.SetDatabase([&] { return reached; });
  EXPECT_EQ(check(""), grpc::health::v1::HealthCheckResponse::NOT_SERVING);
  EXPECT_EQ(check("database"), grpc::health::v1::HealthCheckResponse::NOT_SERVING);
  reached = true;
  EXPECT_EQ(check(""), grpc::health::v1::HealthCheckResponse::SERVING);
  EXPECT_EQ(check("database"), grpc::health::v1::HealthCheckResponse::SERVING);
}

TEST_F(ServerTest, AnRpcThatIsNotBoundIsUnimplemented) {
  CallContext call;
  event::v1::PublishRequest request;
  request.add_events();
  EXPECT_EQ(testing::Run(loop_, client_->Call<event::v1::PublishResponse>(call, request)).status().code(),
            absl::StatusCode::kUnimplemented);
}

TEST_F(ServerTest, CallersWhoAreGoneBeforeTheyAreServedLeaveNothing) {
  for (int i = 0; i < 50; ++i) {
    asio::local::stream_protocol::socket socket(loop_);
    socket.connect(asio::local::stream_protocol::endpoint(dir_ + "/event.sock"));
  }
  EXPECT_THAT(Query(""), IsOk());
  channels_.reset();
  Spin(absl::Milliseconds(50));
  const absl::Time start = absl::Now();
  testing::Run(loop_, server_.Shutdown(absl::Now() + absl::Minutes(5)));
  EXPECT_LT(absl::Now() - start, absl::Minutes(4)) << "it waits for connections that are no more";
}

// What a process owns is destroyed after Shutdown, and handlers use it until they have ended.
TEST_F(ServerTest, ShutdownReturnsWhenHandlersHaveEnded) {
  const CallContext call;
  asio::cancellation_signal leave[2];
  int left = 0;
  QueryRequest wait;
  wait.set_domain("wait");
  for (auto& signal : leave) {
    asio::co_spawn(loop_, client_->Call<QueryResponse>(call, wait),
                   asio::bind_cancellation_slot(signal.slot(), [&left](std::exception_ptr, absl::StatusOr<QueryResponse>) { ++left; }));
  }
  ASSERT_TRUE(Await([&] { return units_.started == 2; }));
  testing::Run(loop_, server_.Shutdown(absl::Now()));
  EXPECT_EQ(units_.ended, 2);
  EXPECT_TRUE(Await([&] { return left == 2; }));
}

class SmallServerTest : public ServerTest {
 protected:
  SmallServerTest() : ServerTest({.unary = 2, .streams = 2}) {}
};

TEST_F(SmallServerTest, MoreCallsThanTheLimitAreRefusedAtOnce) {
  CallContext call;
  QueryRequest wait;
  wait.set_domain("wait");
  asio::cancellation_signal leave[2];
  for (auto& signal : leave) {
    asio::co_spawn(loop_, client_->Call<QueryResponse>(call, wait),
                   asio::bind_cancellation_slot(signal.slot(), [](std::exception_ptr, absl::StatusOr<QueryResponse>) {}));
  }
  ASSERT_TRUE(Await([&] { return units_.started == 2; }));
  EXPECT_THAT(Query(""), FailsWith(unit::v1::OVERLOADED, "already serving 2 calls"));
  for (auto& signal : leave) signal.emit(asio::cancellation_type::terminal);
  ASSERT_TRUE(Await([&] { return units_.ended == 2; }));
  EXPECT_THAT(Query(""), IsOk());
}

}  // namespace
}  // namespace aima::runtime
