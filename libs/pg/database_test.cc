// The database interface against a real PostgreSQL.
#include "libs/pg/database_test_fixture.h"

#include <gmock/gmock.h>

namespace aima::pg {
namespace {

using ::testing::ElementsAre;

TEST_F(DatabaseTest, WritesAreReadBack) {
  EXPECT_THAT(Insert("apple", 3), IsOk());
  auto found = Do(db_->Query(call_, kFind, {"apple"}));
  ASSERT_THAT(found, IsOk());
  ASSERT_EQ(found->size(), 1);
  EXPECT_EQ((*found)[0].Get<std::string>(0), "apple");
  EXPECT_EQ((*found)[0].Get<int>(1), 3);
  EXPECT_TRUE(Do(db_->Query(call_, kFind, {"pear"}))->empty());
}

TEST_F(DatabaseTest, EveryTypeSurvivesTheRoundTrip) {
  const absl::Time time = absl::FromUnixMicros(1763719999123456);
  const std::string odd = "quote\" back\\slash, {brace} \n NULL é";
  const std::string binary("\0\x01\xff\x7f", 4);
  constexpr Statement kEcho{"echo",
                            "SELECT $1::bool, $2::int, $3::bigint, $4::float8, $5::text, $6::bytea, $7::timestamptz, "
                            "$8::text[], $9::bigint[], $10::text, $11::bytea[], $12::timestamptz"};
  auto result = Do(db_->Query(call_, kEcho,
                                      {true, -5, int64_t{1} << 60, 0.1, odd, Bytes{binary}, time,
                                       std::vector<std::string>{odd, "", "plain"}, std::vector<int64_t>{1, -2},
                                       nullptr, std::vector<Bytes>{{binary}, {""}}, absl::InfiniteFuture()}));
  ASSERT_THAT(result, IsOk());
  const Row row = (*result)[0];
  EXPECT_TRUE(row.Get<bool>(0));
  EXPECT_EQ(row.Get<int>(1), -5);
  EXPECT_EQ(row.Get<int64_t>(2), int64_t{1} << 60);
  EXPECT_EQ(row.Get<double>(3), 0.1);
  EXPECT_EQ(row.Get<std::string>(4), odd);
  EXPECT_EQ(row.Get<Bytes>(5).data, binary);
  EXPECT_EQ(row.Get<absl::Time>(6), time);
  EXPECT_THAT(row.Get<std::vector<std::string>>(7), ElementsAre(odd, "", "plain"));
  EXPECT_THAT(row.Get<std::vector<std::string>>(8), ElementsAre("1", "-2"));
  EXPECT_EQ(row.Get<std::optional<std::string>>(9), std::nullopt);
  EXPECT_THAT(row.Get<std::vector<std::string>>(10), ElementsAre("\\x0001ff7f", "\\x"));
  EXPECT_EQ(row.Get<absl::Time>(11), absl::InfiniteFuture());
  EXPECT_EQ(row.Get<std::optional<int>>(1), -5);
}

TEST_F(DatabaseTest, TextWithANulIsRefusedRatherThanCutOff) {
  EXPECT_THAT(Insert(std::string("a\0b", 3), 1), FailsWith(unit::v1::INVALID_INPUT, "U+0000"));
  EXPECT_EQ(Count(), 0);
}

TEST_F(DatabaseTest, AThousandConcurrentQueriesAllGetTheirOwnAnswer) {
  Sql("INSERT INTO item SELECT 'n' || i, i FROM generate_series(1, 1000) i");
  int right = 0;
  for (int i = 1; i <= 1000; ++i) {
    Spawn<absl::StatusOr<Result>>(db_->Query(call_, kFind, {absl::StrCat("n", i)}), [&, i](auto result) {
      right += result.ok() && result->size() == 1 && (*result)[0].template Get<int>(1) == i;
    });
  }
  RunAll();
  EXPECT_EQ(right, 1000);
}

TEST_F(DatabaseTest, AQueryThatFailsDoesNotDisturbThoseBesideIt) {
  constexpr Statement kDivide{"divide", "SELECT 100 / $1::int"};
  int right = 0, refused = 0;
  for (int i = 0; i < 200; ++i) {
    Spawn<absl::StatusOr<Result>>(db_->Query(call_, kDivide, {i % 10}), [&, i](auto result) {
      if (i % 10 == 0) {
        refused += SqlState(result.status()) == "22012";
      } else {
        right += result.ok() && (*result)[0].template Get<int>(0) == 100 / (i % 10);
      }
    });
  }
  RunAll();
  EXPECT_EQ(right, 180);
  EXPECT_EQ(refused, 20);
}

TEST_F(DatabaseTest, QueryRefusesToWrite) {
  auto result = Do(db_->Query(call_, kInsert, {"apple", 1}));
  EXPECT_EQ(SqlState(result.status()), "25006");
  EXPECT_EQ(Count(), 0);
}

TEST_F(DatabaseTest, AStatementThatDoesNotParseFailsAloneAndAgain) {
  constexpr Statement kWrong{"wrong", "SELEKT 1"};
  for (int i = 0; i < 2; ++i) EXPECT_EQ(SqlState(Do(db_->Query(call_, kWrong, {})).status()), "42601");
  EXPECT_EQ(Count(), 0);
}

TEST_F(DatabaseTest, WritesOfManyCallersShareCommits) {
  const int64_t before = std::stoll(Sql("SELECT pg_current_xact_id()::text"));
  int stored = 0;
  for (int i = 0; i < 1000; ++i) {
    Spawn<absl::StatusOr<std::vector<Result>>>(db_->Write(call_, {{kInsert, {absl::StrCat("n", i), i}}}),
                                               [&](auto result) { stored += result.ok(); });
  }
  RunAll();
  EXPECT_EQ(stored, 1000);
  EXPECT_EQ(Count(), 1000);
  EXPECT_LT(std::stoll(Sql("SELECT pg_current_xact_id()::text")) - before, 50);
}

TEST_F(DatabaseTest, AFailingWriteDoesNotDisturbTheOthersOfItsBatch) {
  ASSERT_THAT(Insert("taken", 0), IsOk());
  int stored = 0, refused = 0;
  for (int i = 0; i < 300; ++i) {
    const bool bad = i % 30 == 7;
    // The first operation of a refused write must be undone too.
    std::vector<Operation> operations = {{kInsert, {absl::StrCat("n", i), i}}};
    if (bad) operations.push_back({kInsert, {"taken", 1}});
    Spawn<absl::StatusOr<std::vector<Result>>>(db_->Write(call_, std::move(operations)), [&, bad](auto result) {
      bad ? refused += SqlState(result.status()) == kUniqueViolation : stored += result.ok();
    });
  }
  RunAll();
  EXPECT_EQ(stored, 290);
  EXPECT_EQ(refused, 10);
  EXPECT_EQ(Count(), 291);
}

TEST_F(DatabaseTest, OfTwoConflictingWritesInABatchExactlyOneWins) {
  int stored = 0, refused = 0;
  for (int i = 0; i < 2; ++i) {
    Spawn<absl::StatusOr<std::vector<Result>>>(db_->Write(call_, {{kInsert, {"same", i}}}), [&](auto result) {
      stored += result.ok();
      refused += SqlState(result.status()) == kUniqueViolation;
    });
  }
  RunAll();
  EXPECT_EQ(stored, 1);
  EXPECT_EQ(refused, 1);
}

TEST_F(DatabaseTest, ADeferredConstraintFailsOnlyItsOwnWrite) {
  Sql("CREATE TABLE parent (id int PRIMARY KEY)");
  Sql("CREATE TABLE child (id int REFERENCES parent DEFERRABLE INITIALLY DEFERRED)");
  constexpr Statement kChild{"child", "INSERT INTO child VALUES ($1)"};
  int stored = 0;
  absl::Status orphan;
  for (int i = 0; i < 10; ++i) {
    Spawn<absl::StatusOr<std::vector<Result>>>(db_->Write(call_, {{kInsert, {absl::StrCat("n", i), i}}}),
                                               [&](auto result) { stored += result.ok(); });
  }
  Spawn<absl::StatusOr<std::vector<Result>>>(db_->Write(call_, {{kChild, {1}}}),
                                             [&](auto result) { orphan = result.status(); });
  RunAll();
  EXPECT_EQ(stored, 10);
  EXPECT_EQ(SqlState(orphan), "23503");
  EXPECT_EQ(Count(), 10);
}

TEST_F(DatabaseTest, CommitHooksRunOnceAndOnlyAfterACommit) {
  int committed = 0;
  auto hook = [&] { ++committed; };
  EXPECT_THAT(Do(db_->Write(call_, {{kInsert, {"a", 1}, hook}, {{nullptr, nullptr}}})), IsOk());
  EXPECT_EQ(committed, 1);
  EXPECT_FALSE(Do(db_->Write(call_, {{kInsert, {"a", 1}, hook}})).ok());
  EXPECT_EQ(committed, 1);
  EXPECT_THAT(Do(db_->Transact(call_, [&](Transaction& tx) -> Task<absl::Status> {
    auto result = co_await tx.Query(Operation{kInsert, {"b", 1}, hook});
    EXPECT_EQ(committed, 1);
    co_return result.status();
  })), IsOk());
  EXPECT_EQ(committed, 2);
}

TEST_F(DatabaseTest, ADeadlineIsKeptAndTheConnectionGoesOn) {
  options_.statement_timeout = absl::Seconds(1);
  db_ = Open(loop_, options_);
  EXPECT_EQ(Count(), 0);
  CallContext hurried = call_;
  hurried.deadline = absl::Now() + absl::Milliseconds(50);
  EXPECT_THAT(Do(db_->Query(hurried, kSleep, {1000.0})), FailsWith(unit::v1::DEADLINE_EXCEEDED, "deadline"));
  EXPECT_EQ(Count(), 0) << "who comes next waits for the statement, but not for longer than it may take";
  EXPECT_THAT(Do(db_->Query(hurried, kCount, {})), FailsWith(unit::v1::DEADLINE_EXCEEDED, "deadline"));
}

TEST_F(DatabaseTest, AWriteThatWasSentAndNotAnsweredInTimeHasAnUnknownOutcome) {
  constexpr Statement kHold{"hold", "LOCK TABLE item IN EXCLUSIVE MODE"};
  asio::steady_timer held_for(loop_, std::chrono::hours(1));
  bool held = false;
  const auto hold = [&](Transaction& tx) -> Task<absl::Status> {
    CO_RETURN_IF_ERROR((co_await tx.Query(kHold, {})).status());
    held = true;
    co_await held_for.async_wait(asio::as_tuple(asio::use_awaitable));
    co_return absl::OkStatus();
  };
  Spawn<absl::Status>(db_->Transact(call_, hold), [](absl::Status status) { EXPECT_THAT(status, IsOk()); });
  loop_.restart();
  while (!held) loop_.run_one();
  // How soon a write is sent depends on the machine: it is given more time until it has been.
  absl::Status late;
  for (absl::Duration limit = absl::Milliseconds(50); limit < absl::Minutes(1); limit *= 2) {
    CallContext hurried = call_;
    hurried.deadline = absl::Now() + limit;
    late = Do(db_->Write(hurried, {{kInsert, {"late", 1}}})).status();
    if (!HasReason(late, unit::v1::DEADLINE_EXCEEDED)) break;
  }
  EXPECT_THAT(late, FailsWith(unit::v1::OUTCOME_UNKNOWN, "deadline"));
  held_for.cancel();
  RunAll();
  EXPECT_THAT(Insert("next", 1), IsOk());
  EXPECT_EQ(Count(), 2);
}

TEST_F(DatabaseTest, ACallerThatLeavesDisturbsNobody) {
  asio::cancellation_signal leave;
  bool ended = false;
  asio::co_spawn(loop_, db_->Query(call_, kSleep, {0.1}),
                 asio::bind_cancellation_slot(leave.slot(), [&](std::exception_ptr, auto) { ended = true; }));
  int counted = 0;
  for (int i = 0; i < 10; ++i) {
    Spawn<absl::StatusOr<Result>>(db_->Query(call_, kCount, {}), [&](auto result) { counted += result.ok(); });
  }
  loop_.restart();
  loop_.poll();
  leave.emit(asio::cancellation_type::terminal);
  RunAll();
  EXPECT_TRUE(ended);
  EXPECT_EQ(counted, 10);
}

TEST_F(DatabaseTest, ACallerMayLeaveWhenTheDatabaseHasGone) {
  asio::cancellation_signal leave;
  bool ended = false;
  const auto sleep = [](Transaction& tx) -> Task<absl::Status> { co_return (co_await tx.Query(kSleep, {1000.0})).status(); };
  asio::co_spawn(loop_, db_->Transact(call_, sleep),
                 asio::bind_cancellation_slot(leave.slot(), [&](std::exception_ptr, absl::Status) { ended = true; }));
  loop_.restart();
  loop_.poll();
  db_.reset();
  leave.emit(asio::cancellation_type::terminal);
  while (!ended && loop_.run_one() > 0) {
  }
  EXPECT_TRUE(ended);
}

TEST_F(DatabaseTest, ATransactionIsAllOrNothing) {
  auto body = [&](bool fail) {
    return [&, fail](Transaction& tx) -> Task<absl::Status> {
      CO_RETURN_IF_ERROR((co_await tx.Query(kInsert, {fail ? "x" : "y", 1})).status());
      CO_RETURN_IF_ERROR((co_await tx.Query(kAdd, {fail ? "x" : "y", 1})).status());
      co_return fail ? InvalidInput("name", "no") : absl::OkStatus();
    };
  };
  auto failing = body(true);
  EXPECT_THAT(Do(db_->Transact(call_, failing)), FailsWith(unit::v1::INVALID_INPUT, "no"));
  EXPECT_EQ(Count(), 0);
  auto working = body(false);
  EXPECT_THAT(Do(db_->Transact(call_, working)), IsOk());
  EXPECT_EQ(Sql("SELECT amount FROM item"), "2");
}

TEST_F(DatabaseTest, ATransactionThatSwallowsAnErrorIsNotReportedAsCommitted) {
  EXPECT_EQ(SqlState(Do(db_->Transact(call_, [&](Transaction& tx) -> Task<absl::Status> {
              (void)co_await tx.Query(kInsert, {"a", 1});
              (void)co_await tx.Query(kInsert, {"a", 1});
              co_return absl::OkStatus();
            }))),
            kUniqueViolation);
  EXPECT_EQ(Count(), 0);
}

TEST_F(DatabaseTest, DeadlocksAreResolvedByRunningAgain) {
  ASSERT_THAT(Insert("a", 0), IsOk());
  ASSERT_THAT(Insert("b", 0), IsOk());
  int done = 0;
  for (int i = 0; i < 20; ++i) {
    const char* first = i % 2 ? "a" : "b";
    const char* second = i % 2 ? "b" : "a";
    Spawn<absl::Status>(db_->Transact(call_, [first, second](Transaction& tx) -> Task<absl::Status> {
      CO_RETURN_IF_ERROR((co_await tx.Query(kAdd, {first, 1})).status());
      co_return (co_await tx.Query(kAdd, {second, 1})).status();
    }), [&](absl::Status status) { done += status.ok(); });
  }
  RunAll();
  EXPECT_EQ(done, 20);
  EXPECT_EQ(Sql("SELECT sum(amount) FROM item"), "40");
}

}  // namespace
}  // namespace aima::pg
