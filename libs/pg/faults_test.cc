// What becomes of calls when connections break and servers end.
#include <signal.h>

#include <sstream>

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
  constexpr Statement kNow{"now", "SELECT clock_timestamp()"};
  constexpr Statement kSince{
      "since", "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_start > $1"};
  auto body = [&](Transaction& tx) -> Task<absl::Status> {
    CO_RETURN_IF_ERROR((co_await tx.Query(kInsert, {"half", 1})).status());
    CO_ASSIGN_OR_RETURN(const Result now, co_await db_->Query(call_, kNow, {}));
    CO_RETURN_IF_ERROR((co_await db_->Query(call_, kKillOthers, {})).status());
    // Until that of writes and that of this transaction have come back.
    for (int64_t back = 0; back < 2;) {
      CO_ASSIGN_OR_RETURN(const Result since, co_await db_->Query(call_, kSince, {now[0].Get<absl::Time>(0)}));
      back = since[0].Get<int64_t>(0);
    }
    co_return (co_await tx.Query(kInsert, {"other half", 1})).status();
  };
  EXPECT_THAT(Do(db_->Transact(call_, body)), FailsWith(unit::v1::UNAVAILABLE, "transaction"));
  EXPECT_THAT(Eventually([&] { return Insert("whole", 1); }), IsOk());
  EXPECT_EQ(Sql("SELECT string_agg(name, ',') FROM item"), "whole");
}

// With a server of its own, which it may stop.
class OutageTest : public DatabaseTest {
 protected:
  // All processes of the server: the one whom ours is a child of, and all its children.
  std::vector<pid_t> Processes() {
    const auto contents = [](const std::string& path) {
      std::ifstream file(path);
      return std::string(std::istreambuf_iterator<char>(file), {});
    };
    const std::string ours = Sql("SELECT min(pid) FROM pg_stat_activity WHERE application_name LIKE 'aima-%'");
    const std::string stat = contents("/proc/" + ours + "/stat");
    pid_t server = 0;
    std::istringstream(stat.substr(stat.rfind(')') + 4)) >> server;
    std::vector<pid_t> all = {server};
    std::istringstream children(contents(absl::StrCat("/proc/", server, "/task/", server, "/children")));
    for (pid_t child; children >> child;) all.push_back(child);
    return all;
  }

  OutageTest() : DatabaseTest(Own()) {}
  static Postgres& Own() {
    static Postgres own;
    return own;
  }
};

TEST_F(OutageTest, CallsFailAtOnceWhileTheServerIsDownAndRecoverByThemselves) {
  ASSERT_THAT(Insert("before", 1), IsOk());
  const auto count = [](Transaction& tx) -> Task<absl::Status> { co_return (co_await tx.Query(kCount, {})).status(); };
  server_.Stop();
  (void)Do(db_->Query(call_, kCount, {}));
  (void)Insert("lost", 1);
  // The first to come after that learn that it is away, those after them know it.
  EXPECT_THAT(Do(db_->Query(call_, kCount, {})), FailsWith(unit::v1::UNAVAILABLE, "cannot be reached"));
  EXPECT_THAT(Insert("down", 1), FailsWith(unit::v1::UNAVAILABLE, "cannot be reached"));
  EXPECT_THAT(Do(db_->Transact(call_, count)), FailsWith(unit::v1::UNAVAILABLE, "cannot be reached"));
  for (int i = 0; i < 10; ++i) {
    EXPECT_THAT(AtOnce(db_->Query(call_, kCount, {})), FailsWith(unit::v1::UNAVAILABLE, "cannot be reached"));
    EXPECT_THAT(AtOnce(db_->Write(call_, {{kInsert, {"down", 1}}})), FailsWith(unit::v1::UNAVAILABLE, "cannot be reached"));
    EXPECT_THAT(AtOnce(db_->Transact(call_, count)), FailsWith(unit::v1::UNAVAILABLE, "cannot be reached"));
  }
  EXPECT_FALSE(db_->Connected());
  server_.Start();
  EXPECT_THAT(Eventually([&] { return Insert("after", 1); }), IsOk());
  EXPECT_EQ(Sql("SELECT string_agg(name, ',' ORDER BY name) FROM item WHERE name <> 'lost'"), "after,before");
  EXPECT_THAT(Eventually([&] { return db_->Connected() ? absl::OkStatus() : absl::UnknownError("no"); }), IsOk());
}

TEST_F(OutageTest, WhoWaitsForAServerThatIsFrozenIsToldSoBeforeTheDeadlineAndItRecovers) {
  ASSERT_THAT(Insert("before", 1), IsOk());
  ASSERT_THAT(Do(db_->Transact(call_, [](Transaction& tx) -> Task<absl::Status> {
    co_return (co_await tx.Query(kCount, {})).status();
  })), IsOk());
  call_.deadline = absl::Now() + absl::Minutes(5);
  // As a frozen machine does: no connection breaks, nothing answers.
  const std::vector<pid_t> frozen = Processes();
  for (const pid_t process : frozen) kill(process, SIGSTOP);
  absl::Status read, write, transaction;
  Spawn<absl::StatusOr<Result>>(db_->Query(call_, kCount, {}), [&](auto result) { read = result.status(); });
  Spawn<absl::StatusOr<std::vector<Result>>>(db_->Write(call_, {{kInsert, {"frozen", 1}}}),
                                             [&](auto result) { write = result.status(); });
  Spawn<absl::Status>(db_->Transact(call_, [](Transaction& tx) -> Task<absl::Status> {
    co_return (co_await tx.Query(kInsert, {"never", 1})).status();
  }), [&](auto status) { transaction = status; });
  RunAll();
  EXPECT_THAT(read, FailsWith(unit::v1::UNAVAILABLE, "the database cannot be reached: it does not answer"));
  EXPECT_THAT(write, FailsWith(unit::v1::OUTCOME_UNKNOWN, "it does not answer"));
  EXPECT_THAT(transaction, FailsWith(unit::v1::UNAVAILABLE, "it does not answer"));
  EXPECT_FALSE(db_->Connected());
  for (const pid_t process : frozen) kill(process, SIGCONT);
  EXPECT_THAT(Eventually([&] { return Insert("after", 1); }), IsOk());
  EXPECT_EQ(Sql("SELECT string_agg(name, ',' ORDER BY name) FROM item WHERE name <> 'frozen'"), "after,before");
}

// A statement may take longer than the server is given to answer something small.
TEST_F(DatabaseTest, ASlowStatementIsNoSilence) {
  EXPECT_THAT(Do(db_->Query(call_, kSleep, {10.5})), IsOk());
}

}  // namespace
}  // namespace aima::pg
