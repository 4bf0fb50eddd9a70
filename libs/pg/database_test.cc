// The database interface against a real PostgreSQL.
#include "libs/pg/database.h"

#include <absl/strings/str_cat.h>
#include <absl/time/clock.h>
#include <gtest/gtest.h>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <filesystem>
#include <fstream>

#include "libs/base/status_macros.h"
#include "libs/testing/postgres.h"
#include "libs/testing/status_matchers.h"
#include "libs/testing/task.h"

namespace aima::pg {
namespace {

namespace asio = boost::asio;
using aima::testing::FailsWith;
using aima::testing::IsOk;
using aima::testing::Postgres;
using ::testing::ElementsAre;

constexpr Statement kCount{"count", "SELECT count(*) FROM item"};
constexpr Statement kFind{"find", "SELECT name, amount FROM item WHERE name = $1"};
constexpr Statement kInsert{"insert", "INSERT INTO item (name, amount) VALUES ($1, $2)"};
constexpr Statement kAdd{"add", "UPDATE item SET amount = amount + $2 WHERE name = $1"};
constexpr Statement kSleep{"sleep", "SELECT pg_sleep($1)"};
constexpr Statement kKillOthers{"kill_others",
                                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE "
                                "datname = current_database() AND pid <> pg_backend_pid()"};

class DatabaseTest : public ::testing::Test {
 protected:
  explicit DatabaseTest(Postgres& server = Postgres::Shared()) : server_(server) {
    options_ = server_.FreshOptions("store");
    Migrations({{"0001_item.sql", "CREATE TABLE item (name text PRIMARY KEY, amount bigint NOT NULL CHECK (amount >= 0))"}});
    db_ = Open(loop_, options_);
    EXPECT_THAT(testing::Run(loop_, db_->Migrate(directory_)), IsOk());
    call_.deadline = absl::Now() + absl::Seconds(20);
  }



  // Makes a directory of migrations.
  void Migrations(const std::map<std::string, std::string>& files) {
    directory_ = ::testing::TempDir() + "aima_pg_test_" + std::to_string(getpid());
    std::filesystem::remove_all(directory_);
    std::filesystem::create_directories(directory_);
    for (auto& [name, sql] : files) std::ofstream(directory_ + "/" + name) << sql;
  }

  absl::Status Insert(const std::string& name, int64_t amount) {
    return testing::Run(loop_, db_->Write(call_, {{kInsert, {name, amount}}})).status();
  }
  int64_t Count() {
    auto result = testing::Run(loop_, db_->Query(call_, kCount, {}));
    return result.ok() ? (*result)[0].Get<int64_t>(0) : -1;
  }
  std::string Sql(const std::string& sql) { return server_.Execute(options_.url, "SET search_path = store; " + sql); }

  // Starts a task and counts it.
  template <class T>
  void Spawn(Task<T> task, std::function<void(T)> then) {
    ++running_;
    asio::co_spawn(loop_, std::move(task), [this, then](std::exception_ptr, T value) {
      --running_;
      then(std::move(value));
    });
  }
  void RunAll() {
    loop_.restart();
    while (running_ > 0 && loop_.run_one() > 0) {
    }
  }
  // Tries until it succeeds: for what recovers by itself.
  absl::Status Eventually(std::function<absl::Status()> attempt) {
    absl::Status status;
    for (int i = 0; i < 200; ++i) {
      status = attempt();
      if (status.ok()) break;
      asio::steady_timer timer(loop_);
      timer.expires_after(std::chrono::milliseconds(20));
      bool fired = false;
      timer.async_wait([&](auto) { fired = true; });
      loop_.restart();
      while (!fired && loop_.run_one() > 0) {
      }
    }
    return status;
  }

  Postgres& server_;
  Loop loop_;
  Options options_;
  std::string directory_;
  std::unique_ptr<Database> db_;
  CallContext call_;
  int running_ = 0;
};

TEST_F(DatabaseTest, WritesAreReadBack) {
  EXPECT_THAT(Insert("apple", 3), IsOk());
  auto found = testing::Run(loop_, db_->Query(call_, kFind, {"apple"}));
  ASSERT_THAT(found, IsOk());
  ASSERT_EQ(found->size(), 1);
  EXPECT_EQ((*found)[0].Get<std::string>(0), "apple");
  EXPECT_EQ((*found)[0].Get<int>(1), 3);
  EXPECT_TRUE(testing::Run(loop_, db_->Query(call_, kFind, {"pear"}))->empty());
}

TEST_F(DatabaseTest, EveryTypeSurvivesTheRoundTrip) {
  const absl::Time time = absl::FromUnixMicros(1763719999123456);
  const std::string odd = "quote\" back\\slash, {brace} \n NULL é";
  const std::string binary("\0\x01\xff\x7f", 4);
  constexpr Statement kEcho{"echo",
                            "SELECT $1::bool, $2::int, $3::bigint, $4::float8, $5::text, $6::bytea, $7::timestamptz, "
                            "$8::text[], $9::bigint[], $10::text, $11::bytea[], $12::timestamptz"};
  auto result = testing::Run(loop_, db_->Query(call_, kEcho,
                                      {true, -5, int64_t{1} << 60, 0.1, odd, Bytes{binary}, time,
                                       std::vector<std::string>{odd, "", "plain"}, std::vector<int64_t>{1, -2}, nullptr,
                                       std::vector<Bytes>{{binary}, {""}}, absl::InfiniteFuture()}));
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
  ASSERT_THAT(testing::Run(loop_, db_->Write(call_, {{{"fill", "INSERT INTO item SELECT 'n' || i, i FROM generate_series(1, 1000) i"}}})), IsOk());
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
  auto result = testing::Run(loop_, db_->Query(call_, kInsert, {"apple", 1}));
  EXPECT_EQ(SqlState(result.status()), "25006");
  EXPECT_EQ(Count(), 0);
}

TEST_F(DatabaseTest, AStatementThatDoesNotParseFailsAloneAndAgain) {
  constexpr Statement kWrong{"wrong", "SELEKT 1"};
  for (int i = 0; i < 2; ++i) EXPECT_EQ(SqlState(testing::Run(loop_, db_->Query(call_, kWrong, {})).status()), "42601");
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
  Sql("CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child (id int REFERENCES parent DEFERRABLE INITIALLY DEFERRED)");
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
  EXPECT_THAT(testing::Run(loop_, db_->Write(call_, {{kInsert, {"a", 1}, hook}, {{nullptr, nullptr}}})), IsOk());
  EXPECT_EQ(committed, 1);
  EXPECT_FALSE(testing::Run(loop_, db_->Write(call_, {{kInsert, {"a", 1}, hook}})).ok());
  EXPECT_EQ(committed, 1);
  EXPECT_THAT(testing::Run(loop_, db_->Transact(call_, [&](Transaction& tx) -> Task<absl::Status> {
    auto result = co_await tx.Query(Operation{kInsert, {"b", 1}, hook});
    EXPECT_EQ(committed, 1);
    co_return result.status();
  })), IsOk());
  EXPECT_EQ(committed, 2);
}

TEST_F(DatabaseTest, ADeadlineIsKeptAndTheConnectionGoesOn) {
  CallContext hurried = call_;
  hurried.deadline = absl::Now() + absl::Milliseconds(50);
  const absl::Time start = absl::Now();
  EXPECT_THAT(testing::Run(loop_, db_->Query(hurried, kSleep, {0.5})), FailsWith(unit::v1::DEADLINE_EXCEEDED, "deadline"));
  EXPECT_LT(absl::Now() - start, absl::Milliseconds(400));
  EXPECT_EQ(Count(), 0);
  EXPECT_THAT(testing::Run(loop_, db_->Query(hurried, kCount, {})), FailsWith(unit::v1::DEADLINE_EXCEEDED, "deadline"));
}

TEST_F(DatabaseTest, AWriteThatWasSentAndNotAnsweredInTimeHasAnUnknownOutcome) {
  CallContext hurried = call_;
  hurried.deadline = absl::Now() + absl::Milliseconds(50);
  EXPECT_THAT(testing::Run(loop_, db_->Write(hurried, {{kSleep, {0.3}}, {kInsert, {"late", 1}}})),
              FailsWith(unit::v1::OUTCOME_UNKNOWN, "deadline"));
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

TEST_F(DatabaseTest, ATransactionIsAllOrNothing) {
  auto body = [&](bool fail) {
    return [&, fail](Transaction& tx) -> Task<absl::Status> {
      CO_RETURN_IF_ERROR((co_await tx.Query(kInsert, {fail ? "x" : "y", 1})).status());
      CO_RETURN_IF_ERROR((co_await tx.Query(kAdd, {fail ? "x" : "y", 1})).status());
      co_return fail ? InvalidInput("name", "no") : absl::OkStatus();
    };
  };
  auto failing = body(true);
  EXPECT_THAT(testing::Run(loop_, db_->Transact(call_, failing)), FailsWith(unit::v1::INVALID_INPUT, "no"));
  EXPECT_EQ(Count(), 0);
  auto working = body(false);
  EXPECT_THAT(testing::Run(loop_, db_->Transact(call_, working)), IsOk());
  EXPECT_EQ(Sql("SELECT amount FROM item"), "2");
}

TEST_F(DatabaseTest, ATransactionThatSwallowsAnErrorIsNotReportedAsCommitted) {
  EXPECT_EQ(SqlState(testing::Run(loop_, db_->Transact(call_, [&](Transaction& tx) -> Task<absl::Status> {
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
  EXPECT_THAT(testing::Run(loop_, db_->Transact(call_, body)), FailsWith(unit::v1::UNAVAILABLE, "transaction"));
  EXPECT_THAT(Eventually([&] { return Insert("whole", 1); }), IsOk());
  EXPECT_EQ(Sql("SELECT string_agg(name, ',') FROM item"), "whole");
}

class MigrateTest : public DatabaseTest {};

TEST_F(MigrateTest, AppliesWhatIsNewAndOnlyThat) {
  std::ofstream(directory_ + "/0002_more.sql") << "ALTER TABLE item ADD COLUMN more text; CREATE TABLE other (id int);";
  EXPECT_THAT(testing::Run(loop_, db_->Migrate(directory_)), IsOk());
  EXPECT_THAT(testing::Run(loop_, db_->Migrate(directory_)), IsOk());
  EXPECT_EQ(Sql("SELECT string_agg(file, ',' ORDER BY file) FROM migrations"), "0001_item.sql,0002_more.sql");
}

TEST_F(MigrateTest, AFailingFileLeavesNothingBehind) {
  std::ofstream(directory_ + "/0002_wrong.sql") << "CREATE TABLE half (id int); SELECT nonsense;";
  EXPECT_THAT(testing::Run(loop_, db_->Migrate(directory_)), FailsWith(unit::v1::INTERNAL_ERROR, "0002_wrong.sql"));
  EXPECT_EQ(Sql("SELECT to_regclass('half') IS NULL"), "t");
}

TEST_F(MigrateTest, AChangedFileIsAnError) {
  std::ofstream(directory_ + "/0001_item.sql") << "CREATE TABLE item (name text)";
  EXPECT_THAT(testing::Run(loop_, db_->Migrate(directory_)), FailsWith(unit::v1::INTERNAL_ERROR, "was changed"));
}

TEST_F(MigrateTest, SetsDoNotDisturbEachOther) {
  const std::string other = directory_ + "_other/migrations";
  std::filesystem::create_directories(other);
  std::ofstream(other + "/0001_other.sql") << "CREATE TABLE other (id int)";
  EXPECT_THAT(testing::Run(loop_, db_->Migrate(other)), IsOk());
  EXPECT_EQ(Sql("SELECT count(DISTINCT set) FROM migrations"), "2");
  std::filesystem::remove_all(directory_ + "_other");
}

TEST_F(MigrateTest, ManyAtOnceApplyEachFileOnce) {
  Options options = options_;
  options.schema = "fresh";
  auto db = Open(loop_, options);
  int done = 0;
  for (int i = 0; i < 5; ++i) {
    Spawn<absl::Status>(db->Migrate(directory_), [&](absl::Status status) {
      EXPECT_THAT(status, IsOk());
      ++done;
    });
  }
  RunAll();
  EXPECT_EQ(done, 5);
}

TEST_F(MigrateTest, AServerThatIsNotDurableIsRefused) {
  Options options = options_;
  options.allow_unsafe_server = false;
  auto db = Open(loop_, options);
  EXPECT_THAT(testing::Run(loop_, db->Migrate(directory_)), FailsWith(unit::v1::UNAVAILABLE, "fsync is off"));
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
  (void)testing::Run(loop_, db_->Query(call_, kCount, {}));
  (void)Insert("lost", 1);
  for (int i = 0; i < 10; ++i) {
    const absl::Time start = absl::Now();
    EXPECT_THAT(testing::Run(loop_, db_->Query(call_, kCount, {})), FailsWith(unit::v1::UNAVAILABLE, "cannot be reached"));
    EXPECT_THAT(Insert("down", 1), FailsWith(unit::v1::UNAVAILABLE, "cannot be reached"));
    EXPECT_THAT(testing::Run(loop_, db_->Transact(call_, [](Transaction& tx) -> Task<absl::Status> {
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
