#include "libs/runtime/unit_middleware.h"

#include <gmock/gmock.h>
#include <google/protobuf/struct.pb.h>
#include <gtest/gtest.h>

#include "aima/event/v1/event.pb.h"
#include "aima/unit/v1/errors.pb.h"
#include "libs/testing/postgres.h"
#include "libs/testing/status_matchers.h"
#include "libs/testing/task.h"
#include "libs/unit/catalogue.h"

namespace aima::runtime {
namespace {

namespace asio = boost::asio;
using aima::testing::FailsWith;
using aima::testing::IsOk;
using event::v1::PublishRequest;
using event::v1::PublishResponse;

class UnitMiddlewareTest : public ::testing::Test {
 protected:
  UnitMiddlewareTest() {
    method_.descriptor = PublishRequest::descriptor()->file()->FindServiceByName("EventService")->FindMethodByName("Publish");
    method_.options = UnitOptions(*method_.descriptor);
    method_.unit = "event.publish";
  }

  // Runs a command whose handler counts and answers with its count.
  absl::StatusOr<int64_t> Run(std::string key, std::string id, absl::Status outcome = absl::OkStatus()) {
    CallContext call;
    call.unit = method_.unit;
    call.principal = principal_;
    call.idempotency_key = std::move(key);
    PublishRequest request;
    request.add_events()->set_id(std::move(id));
    PublishResponse response;
    const absl::Status status =
        testing::Run(loop_, middleware_(call, method_, request, &response, [&]() -> Task<absl::Status> {
          ++applied_;
          response.add_sequences(applied_);
          co_return outcome;
        }));
    if (!status.ok()) return status;
    return response.sequences(0);
  }

  Loop loop_;
  prometheus::Registry registry_;
  std::unique_ptr<pg::Database> db_ = testing::Postgres::Shared().Open(loop_, "event");
  UnitMiddleware middleware_{loop_, registry_, *db_};
  Method method_;
  std::string principal_;
  int64_t applied_ = 0;
};

TEST_F(UnitMiddlewareTest, ACommandWithoutAKeyIsAppliedEachTime) {
  EXPECT_EQ(*Run("", "a"), 1);
  EXPECT_EQ(*Run("", "a"), 2);
}

TEST_F(UnitMiddlewareTest, ARepeatedCommandGetsTheFirstReply) {
  EXPECT_EQ(*Run("key", "a"), 1);
  EXPECT_EQ(*Run("key", "a"), 1);
  EXPECT_EQ(applied_, 1);
}

TEST_F(UnitMiddlewareTest, AKeyBelongsToOneCommand) {
  EXPECT_THAT(Run("key", "a"), IsOk());
  EXPECT_THAT(Run("key", "b"), FailsWith(unit::v1::IDEMPOTENCY_KEY_REUSED, "'key' was used for another event.publish"));
  EXPECT_EQ(applied_, 1);
}

TEST_F(UnitMiddlewareTest, AKeyOfOneCallerIsNotThatOfAnother) {
  EXPECT_EQ(*Run("key", "a"), 1);
  principal_ = "alice";
  EXPECT_EQ(*Run("key", "a"), 2);
  principal_ = "bob";
  EXPECT_EQ(*Run("key", "b"), 3);
  principal_ = "alice";
  EXPECT_EQ(*Run("key", "a"), 2);
}

TEST_F(UnitMiddlewareTest, ACommandWithAMapIsTheSameCommandInWhateverOrderItCame) {
  const auto run = [&](int from, int to, int step) {
    CallContext call;
    call.unit = method_.unit;
    call.idempotency_key = "key";
    google::protobuf::Struct request;
    for (int i = from; i != to; i += step) (*request.mutable_fields())["field" + std::to_string(i)].set_number_value(i);
    PublishResponse response;
    return testing::Run(loop_, middleware_(call, method_, request, &response, [&]() -> Task<absl::Status> {
      ++applied_;
      co_return absl::OkStatus();
    }));
  };
  EXPECT_THAT(run(0, 50, 1), IsOk());
  EXPECT_THAT(run(49, -1, -1), IsOk());
  EXPECT_EQ(applied_, 1);
}

TEST_F(UnitMiddlewareTest, AFailedCommandMayBeRepeated) {
  EXPECT_THAT(Run("key", "a", Error(unit::v1::OVERLOADED, "busy")), FailsWith(unit::v1::OVERLOADED, "busy"));
  EXPECT_EQ(*Run("key", "a"), 2);
}

TEST_F(UnitMiddlewareTest, TheSameCommandTwiceAtOnceIsAppliedOnce) {
  CallContext call;
  call.unit = method_.unit;
  call.idempotency_key = "both";
  PublishRequest request;
  request.add_events()->set_id("a");
  CallContext calls[2] = {call, call};
  PublishResponse responses[2];
  int done = 0;
  for (int i = 0; i < 2; ++i) {
    asio::co_spawn(loop_,
                   middleware_(calls[i], method_, request, &responses[i],
                               [&, i]() -> Task<absl::Status> {
                                 responses[i].add_sequences(++applied_);
                                 asio::steady_timer pause(loop_, std::chrono::milliseconds(50));
                                 co_await pause.async_wait(asio::use_awaitable);
                                 co_return absl::OkStatus();
                               }),
                   [&](std::exception_ptr, absl::Status status) {
                     EXPECT_THAT(status, IsOk());
                     ++done;
                   });
  }
  loop_.restart();
  while (done < 2) loop_.run_one();
  EXPECT_EQ(applied_, 1);
  EXPECT_EQ(responses[0].sequences(0), responses[1].sequences(0));
}

TEST_F(UnitMiddlewareTest, EveryCallIsCounted) {
  Run("", "a").IgnoreError();
  Run("", "a", Error(unit::v1::OVERLOADED, "busy")).IgnoreError();
  const std::string text = MetricsText(registry_);
  EXPECT_THAT(text, ::testing::HasSubstr(R"(aima_calls_total{code="OK",unit="event.publish"} 1)"));
  EXPECT_THAT(text, ::testing::HasSubstr(R"(aima_calls_total{code="OVERLOADED",unit="event.publish"} 1)"));
}

}  // namespace
}  // namespace aima::runtime
