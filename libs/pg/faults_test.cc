// What becomes of calls when connections break and servers end.
#include "libs/pg/database_test_fixture.h"

namespace aima::pg {
namespace {

TEST_F(DatabaseTest, KilledBackendsComeBackAndNoAcknowledgedWriteIsLost) {
  int64_t stored = 0, unknown = 0, unavailable = 0;
  for (int round = 0; round < 5; ++round) {
    for (int i = 0; i < 100; ++i) {
      Spawn<absl::StatusOr<std::vector<Result>>>(
          db_->Write(call_, {{kInsert, {absl::StrCat("n", round, "_", i), i}}}), [&](auto result) {
            stored += result.ok();
            unknown += HasReason(result.status(), unit::v1::OUTCOME_UNKNOWN);
            unavailable += HasReason(result.status(), unit::v1::UNAVAILABLE);
          });
    }
    Spawn<absl::StatusOr<Result>>(db_->Query(call_, kKillOthers, {}), [](auto) {});
    RunAll();
    EXPECT_THAT(Eventually([&] { return Insert(absl::StrCat("again", round), 1); }), IsOk());
  }
  EXPECT_EQ(stored + unknown + unavailable, 500);
  const int64_t count = Count();
  EXPECT_GE(count, stored + 5);
  EXPECT_LE(count, stored + unknown + 5);
}

TEST_F(DatabaseTest, ATransactionDoesNotContinueOnANewConnection) {
  auto body = [&](Transaction& tx) -> Task<absl::Status> {
    CO_RETURN_IF_ERROR((co_await tx.Query(kInsert, {"half", 1})).status());
    CO_RETURN_IF_ERROR((co_await db_->Query(call_, kKillOthers, {})).status());
    asio::steady_timer timer(loop_);
    timer.expires_after(std::chrono::milliseconds(100));
    co_await timer.async_wait(asio::use_awaitable);
    co_return (co_await tx.Query(kInsert, {"other half", 1})).status();
  };
  EXPECT_THAT(Do(db_->Transact(call_, body)), FailsWith(unit::v1::UNAVAILABLE, "transaction"));
  EXPECT_THAT(Eventually([&] { return Insert("whole", 1); }), IsOk());
  EXPECT_EQ(Sql("SELECT string_agg(name, ',') FROM item"), "whole");
}

// With a server of its own, which it may stop.
class OutageTest : public DatabaseTest {
 protected:
  OutageTest() : DatabaseTest(Own()) {}
  static Postgres& Own() {
    static Postgres own;
    return own;
  }
};

TEST_F(OutageTest, CallsFailAtOnceWhileTheServerIsDownAndRecoverByThemselves) {
  ASSERT_THAT(Insert("before", 1), IsOk());
  server_.Stop();
  (void)Do(db_->Query(call_, kCount, {}));
  (void)Insert("lost", 1);
  for (int i = 0; i < 10; ++i) {
    const absl::Time start = absl::Now();
    EXPECT_THAT(Do(db_->Query(call_, kCount, {})), FailsWith(unit::v1::UNAVAILABLE, "cannot be reached"));
    EXPECT_THAT(Insert("down", 1), FailsWith(unit::v1::UNAVAILABLE, "cannot be reached"));
    EXPECT_THAT(Do(db_->Transact(call_, [](Transaction& tx) -> Task<absl::Status> {
      co_return (co_await tx.Query(kCount, {})).status();
    })), FailsWith(unit::v1::UNAVAILABLE, "cannot be reached"));
    EXPECT_LT(absl::Now() - start, absl::Milliseconds(500));
  }
  EXPECT_FALSE(db_->Connected());
  server_.Start();
  EXPECT_THAT(Eventually([&] { return Insert("after", 1); }), IsOk());
  EXPECT_EQ(Sql("SELECT string_agg(name, ',' ORDER BY name) FROM item WHERE name <> 'lost'"), "after,before");
  EXPECT_THAT(Eventually([&] { return db_->Connected() ? absl::OkStatus() : absl::UnknownError("no"); }), IsOk());
}

}  // namespace
}  // namespace aima::pg
