// Operations on a real PostgreSQL, with a service that does what the test tells it to.
#include "libs/operations/operations.h"

#include <absl/time/clock.h>
#include <gmock/gmock.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <deque>
#include <filesystem>

#include "aima/unit/v1/errors.pb.h"
#include "libs/errors/errors.h"
#include "libs/operations/owner.h"
#include "libs/testing/postgres.h"
#include "libs/testing/status_matchers.h"
#include "libs/testing/task.h"

namespace aima::operations {
namespace {

namespace asio = boost::asio;
using aima::testing::FailsWith;
using aima::testing::IsOk;
using aima::testing::Postgres;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// A service. Answers each call with the next of `answers`; while there is none, the call goes on.
class Service : public Caller {
 public:
  explicit Service(Loop& loop) : loop_(loop) {}

  Task<absl::StatusOr<std::string>> Call(CallContext call, const Operation& operation, Tell tell) override {
    calls.push_back({call.unit, operation.input, call.idempotency_key, call.principal, call.trace_id});
    tells.push_back(std::move(tell));
    asio::steady_timer& news = *waiting_.emplace_back(std::make_unique<asio::steady_timer>(loop_));
    while (answers.empty()) {
      news.expires_at(asio::steady_timer::time_point::max());
      co_await news.async_wait(asio::as_tuple(asio::use_awaitable));
      if ((co_await asio::this_coro::cancellation_state).cancelled() != asio::cancellation_type::none) {
        ++cancelled;
        co_return Error(unit::v1::CANCELLED, "the caller has gone");
      }
    }
    absl::StatusOr<std::string> answer = std::move(answers.front());
    answers.pop_front();
    co_return answer;
  }
  bool Changes(const std::string& unit) const override { return unit != "demo.query"; }

  void Answer(absl::StatusOr<std::string> answer) {
    answers.push_back(std::move(answer));
    for (auto& timer : waiting_) timer->cancel();
  }

  struct Seen {
    std::string unit, input, key, principal, trace;
  };
  std::vector<Seen> calls;
  std::vector<Tell> tells;
  std::deque<absl::StatusOr<std::string>> answers;
  int cancelled = 0;

 private:
  Loop& loop_;
  std::deque<std::unique_ptr<asio::steady_timer>> waiting_;
};

class OperationsTest : public ::testing::Test {
 protected:
  explicit OperationsTest(Postgres& server = Postgres::Shared())
      : server_(server), options_(server_.FreshOptions("gateway")), db_(pg::Open(loop_, options_)) {
    EXPECT_THAT(Do(db_->Migrate(AIMA_SOURCE_DIR "/libs/operations/migrations")), IsOk());
    settings_.owner = "first";
    settings_.first_pause = absl::Milliseconds(5);
    call_.principal = "alice";
    call_.deadline = absl::Now() + absl::Seconds(60);
  }
  ~OperationsTest() override {
    for (auto& process : processes_) Do(Stopped(*process));
  }

  template <class T>
  T Do(Task<T> task) {
    return aima::testing::Run(loop_, std::move(task));
  }
  static Task<bool> Stopped(Operations& operations) {
    co_await operations.Stop();
    co_return true;
  }
  static Task<void> Work(Operations& operations) { co_await operations.Run(); }

  // A process of this owner that runs operations.
  Operations& Process(Service& service) {
    Operations& process = *processes_.emplace_back(std::make_unique<Operations>(loop_, *db_, service, settings_));
    asio::co_spawn(loop_, Work(process), asio::detached);
    return process;
  }
  // A process dies without a word: nothing of it reaches the table any more, and its owner's file is free.
  void Die(Operations& process) {
    Sql("CREATE TABLE saved AS TABLE operation");
    Do(Stopped(process));
    Sql("TRUNCATE operation; INSERT INTO operation SELECT * FROM saved; DROP TABLE saved");
  }

  Operation Order(const std::string& unit = "demo.run", const std::string& key = "") {
    Operation order;
    order.unit = unit;
    order.input = std::string("in\0put", 6);
    order.principal = call_.principal;
    order.role = "operate";
    order.trace_id = "trace-1";
    order.idempotency_key = key;
    order.deadline = absl::Now() + absl::Hours(1);
    return order;
  }
  absl::StatusOr<Operation> Start(Operations& process, Operation order) {
    return Do(process.Start(call_, std::move(order)));
  }
  // How the operation ends.
  Operation End(Operations& process, const std::string& id) {
    Operation seen = Do(process.Find(call_, id)).value().value();
    while (!seen.ended() && absl::Now() < call_.deadline) {
      seen = Do(process.Change(call_, seen, call_.deadline)).value().value();
    }
    return seen;
  }
  void Until(std::function<bool()> condition) {
    loop_.restart();
    while (!condition() && loop_.run_one() > 0) {
    }
    ASSERT_TRUE(condition());
  }
  std::string Sql(const std::string& sql) { return server_.Execute(options_.url, "SET search_path = gateway; " + sql); }

  Postgres& server_;
  Loop loop_;
  pg::Options options_;
  std::unique_ptr<pg::Database> db_;
  Settings settings_;
  CallContext call_;
  Service service_{loop_};
  std::vector<std::unique_ptr<Operations>> processes_;
};

TEST_F(OperationsTest, AnOperationIsRecordedRunAndItsResultKept) {
  Operations& process = Process(service_);
  const Operation started = Start(process, Order()).value();
  EXPECT_EQ(started.state, State::kRunning);
  EXPECT_EQ(Sql("SELECT state FROM operation"), "running") << "before anybody is told";
  service_.Answer(std::string("out\0put", 7));
  const Operation ended = End(process, started.id);
  EXPECT_EQ(ended.state, State::kSucceeded);
  EXPECT_EQ(ended.result, std::string("out\0put", 7));
  EXPECT_EQ(ended.attempts, 1);
  EXPECT_TRUE(ended.finished.has_value());
  ASSERT_EQ(service_.calls.size(), 1u);
  EXPECT_EQ(service_.calls[0].input, std::string("in\0put", 6));
  EXPECT_EQ(service_.calls[0].key, started.id) << "the key of a call that brings none";
  EXPECT_EQ(service_.calls[0].principal, "alice");
  EXPECT_EQ(service_.calls[0].trace, "trace-1");
}

TEST_F(OperationsTest, AFailureKeepsItsReasonTextAndDetails) {
  Operations& process = Process(service_);
  const Operation started = Start(process, Order()).value();
  service_.Answer(Error(unit::v1::TOO_LARGE, "nine are many", {{"size", "9"}}));
  const Operation ended = End(process, started.id);
  EXPECT_EQ(ended.state, State::kFailed);
  EXPECT_THAT(ended.error, FailsWith(unit::v1::TOO_LARGE, "nine are many"));
  EXPECT_EQ(DetailsOf(ended.error).metadata["size"], "9");
}

TEST_F(OperationsTest, AFailureWhoseTextIsNotTextEndsTheOperationToo) {
  Operations& process = Process(service_);
  const Operation started = Start(process, Order()).value();
  service_.Answer(absl::InvalidArgumentError(std::string("a \xff and a \0", 12)));
  EXPECT_EQ(End(process, started.id).state, State::kFailed);
}

TEST_F(OperationsTest, TheSameKeyIsTheSameOperation) {
  Operations& process = Process(service_);
  const Operation first = Start(process, Order("demo.run", "key")).value();
  EXPECT_EQ(Start(process, Order("demo.run", "key")).value().id, first.id);
  Operation other = Order("demo.run", "key");
  other.input = "another";
  EXPECT_THAT(Start(process, other), FailsWith(unit::v1::IDEMPOTENCY_KEY_REUSED, "'key'"));
  Operation bobs = Order("demo.run", "key");
  bobs.principal = "bob";
  EXPECT_NE(Start(process, bobs).value().id, first.id) << "keys of others are theirs";
  service_.Answer("out");
  service_.Answer("out");
  End(process, first.id);
  EXPECT_EQ(Start(process, Order("demo.run", "key")).value().result, "out") << "also when it has ended";
  EXPECT_EQ(service_.calls.size(), 2u);
}

TEST_F(OperationsTest, AServiceThatIsAwayIsCalledAgainUnderTheSameKey) {
  Operations& process = Process(service_);
  const Operation started = Start(process, Order()).value();
  service_.Answer(Error(unit::v1::UNAVAILABLE, "restarting"));
  service_.Answer(Error(unit::v1::OUTCOME_UNKNOWN, "connection lost"));
  service_.Answer(Error(unit::v1::OVERLOADED, "busy"));
  service_.Answer("done");
  const Operation ended = End(process, started.id);
  EXPECT_EQ(ended.state, State::kSucceeded);
  EXPECT_EQ(ended.attempts, 4);
  ASSERT_EQ(service_.calls.size(), 4u);
  for (const auto& call : service_.calls) EXPECT_EQ(call.key, started.id);
}

TEST_F(OperationsTest, WhatIsNotKnownAtTheDeadlineIsUnknownAndNotFailed) {
  Operations& process = Process(service_);
  Operation order = Order();
  order.deadline = absl::Now() + absl::Milliseconds(100);
  const Operation started = Start(process, order).value();
  for (int i = 0; i < 100; ++i) service_.Answer(Error(unit::v1::UNAVAILABLE, "the service cannot be reached"));
  const Operation ended = End(process, started.id);
  EXPECT_EQ(ended.state, State::kUnknown);
  EXPECT_THAT(ended.error, FailsWith(unit::v1::OUTCOME_UNKNOWN, "demo.run"));
  EXPECT_EQ(DetailsOf(ended.error).metadata["last_error"], "UNAVAILABLE");
}

TEST_F(OperationsTest, AQueryThatIsNotAnsweredHasFailed) {
  Operations& process = Process(service_);
  Operation order = Order("demo.query");
  order.deadline = absl::Now() + absl::Milliseconds(100);
  const Operation started = Start(process, order).value();
  for (int i = 0; i < 100; ++i) service_.Answer(Error(unit::v1::UNAVAILABLE, "the service cannot be reached"));
  const Operation ended = End(process, started.id);
  EXPECT_EQ(ended.state, State::kFailed);
  EXPECT_THAT(ended.error, FailsWith(unit::v1::UNAVAILABLE, "reached"));
}

TEST_F(OperationsTest, AnAnswerAfterDoubtSettlesIt) {
  Operations& process = Process(service_);
  const Operation started = Start(process, Order()).value();
  service_.Answer(Error(unit::v1::UNAVAILABLE, "restarting"));
  service_.Answer(Error(unit::v1::TOO_LARGE, "no"));
  EXPECT_EQ(End(process, started.id).state, State::kFailed);
}

TEST_F(OperationsTest, TheNextProcessTakesUpWhatADeadOneHadInHand) {
  Service before(loop_);
  Operations& dead = Process(before);
  const Operation started = Start(dead, Order()).value();
  Until([&] { return before.calls.size() == 1; });
  Die(dead);
  service_.Answer("done");
  Operations& process = Process(service_);
  const Operation ended = End(process, started.id);
  EXPECT_EQ(ended.state, State::kSucceeded);
  EXPECT_EQ(ended.result, "done");
  EXPECT_EQ(ended.attempts, 2);
  ASSERT_EQ(service_.calls.size(), 1u);
  EXPECT_EQ(service_.calls[0].key, started.id);
  EXPECT_EQ(service_.calls[0].input, std::string("in\0put", 6));
}

TEST_F(OperationsTest, AnOrderlyEndHandsOperationsOn) {
  Service before(loop_);
  Operations& ending = Process(before);
  const Operation started = Start(ending, Order()).value();
  Until([&] { return before.calls.size() == 1; });
  Do(Stopped(ending));
  EXPECT_EQ(before.cancelled, 1);
  EXPECT_EQ(Sql("SELECT state FROM operation"), "running");
  settings_.owner = "second";
  Operations& process = Process(service_);
  service_.Answer("done");
  EXPECT_EQ(End(process, started.id).result, "done");
}

TEST_F(OperationsTest, AnotherProcessTakesOverOnlyWhenTheLeaseHasRunOut) {
  Service before(loop_);
  Operations& dead = Process(before);
  const Operation started = Start(dead, Order()).value();
  Die(dead);
  settings_.owner = "second";
  settings_.lease = absl::Milliseconds(300);  // looks that often
  Operations& process = Process(service_);
  // Answered only after several looks of the process at the table, which this query's own operation goes through.
  service_.Answer("query");
  const Operation query = Start(process, Order("demo.query")).value();
  EXPECT_EQ(End(process, query.id).state, State::kSucceeded);
  EXPECT_EQ(service_.calls.size(), 1u) << "the other's lease holds";
  Sql("UPDATE operation SET lease_until = now() - interval '1 ms' WHERE finished IS NULL");
  service_.Answer("done");
  EXPECT_EQ(End(process, started.id).result, "done");
}

TEST_F(OperationsTest, AProcessThatWasTakenForDeadLetsGo) {
  Service before(loop_);
  settings_.lease = absl::Milliseconds(300);
  Operations& slow = Process(before);
  const Operation started = Start(slow, Order()).value();
  Until([&] { return before.calls.size() == 1; });
  // Somebody else claims it, as after a pause of this process that was longer than its lease.
  Sql("UPDATE operation SET owner = 'second', term = term + 1, lease_until = now() + interval '1 hour'");
  Until([&] { return before.cancelled == 1; });
  EXPECT_EQ(Sql("SELECT state || owner FROM operation"), "runningsecond") << "it writes nothing";
}

TEST_F(OperationsTest, AnAnswerOfAnEarlierTermIsNotWritten) {
  Service before(loop_);
  Operations& slow = Process(before);
  const Operation started = Start(slow, Order()).value();
  Until([&] { return before.calls.size() == 1; });
  Sql("UPDATE operation SET owner = 'second', term = term + 1, lease_until = now() + interval '1 hour'");
  before.Answer("late");
  Until([&] { return slow.running() == 0; });
  EXPECT_EQ(Sql("SELECT state || owner FROM operation"), "runningsecond");
}

TEST_F(OperationsTest, CancellingEndsTheCall) {
  Operations& process = Process(service_);
  const Operation started = Start(process, Order()).value();
  Until([&] { return service_.calls.size() == 1; });
  const Operation ended = Do(process.Cancel(call_, started.id)).value().value();
  EXPECT_EQ(ended.state, State::kCancelled);
  EXPECT_THAT(ended.error, FailsWith(unit::v1::CANCELLED, "cancelled"));
  EXPECT_EQ(service_.cancelled, 1);
  EXPECT_EQ(Do(process.Cancel(call_, started.id)).value()->state, State::kCancelled) << "once more changes nothing";
  EXPECT_EQ(Do(process.Cancel(call_, "op_none")).value(), std::nullopt);
}

TEST_F(OperationsTest, CancellingWhatHasEndedChangesNothing) {
  Operations& process = Process(service_);
  const Operation started = Start(process, Order()).value();
  service_.Answer("done");
  End(process, started.id);
  const Operation ended = Do(process.Cancel(call_, started.id)).value().value();
  EXPECT_EQ(ended.state, State::kSucceeded);
  EXPECT_FALSE(ended.cancel_requested);
}

TEST_F(OperationsTest, ACancellationOutlivesTheProcess) {
  Service before(loop_);
  Operations& dead = Process(before);
  const Operation started = Start(dead, Order()).value();
  Die(dead);
  Sql("UPDATE operation SET cancel_requested = true");
  Operations& process = Process(service_);
  EXPECT_EQ(End(process, started.id).state, State::kCancelled);
  EXPECT_THAT(service_.calls, IsEmpty()) << "it is not begun again";
}

TEST_F(OperationsTest, ProgressIsToldAtOnceAndKept) {
  settings_.lease = absl::Milliseconds(100);
  Operations& process = Process(service_);
  const Operation started = Start(process, Order()).value();
  Until([&] { return service_.tells.size() == 1; });
  service_.tells[0]("half");
  const Operation seen = Do(process.Change(call_, started, call_.deadline)).value().value();
  EXPECT_EQ(seen.progress, "half");
  EXPECT_EQ(seen.state, State::kRunning);
  // Written with the next renewal of the lease, so that other processes see it too.
  while (Sql("SELECT progress FROM operation") == "" && absl::Now() < call_.deadline) loop_.restart(), loop_.run_one();
  EXPECT_EQ(Sql("SELECT encode(progress, 'escape') FROM operation"), "half");
  service_.Answer("done");
  EXPECT_EQ(End(process, started.id).progress, "half");
}

TEST_F(OperationsTest, WithoutATableNothingIsAccepted) {
  Operations idle(loop_, *db_, service_, settings_);  // Run is not called
  call_.deadline = absl::Now() + absl::Milliseconds(50);
  EXPECT_THAT(Do(idle.Start(call_, Order())), FailsWith(unit::v1::UNAVAILABLE, "PostgreSQL"));
  EXPECT_THAT(Do(idle.Find(call_, "op_1")), FailsWith(unit::v1::UNAVAILABLE, "PostgreSQL"));
}

TEST_F(OperationsTest, AWaitEndsAtItsTime) {
  Operations& process = Process(service_);
  const Operation started = Start(process, Order()).value();
  EXPECT_EQ(Do(process.Change(call_, started, absl::Now() + absl::Milliseconds(20))).value()->state, State::kRunning);
}

TEST_F(OperationsTest, ManyWaitForTheirTurn) {
  settings_.most_running = 1;
  settings_.most_active = 2;
  Operations& process = Process(service_);
  const Operation first = Start(process, Order()).value();
  const Operation second = Start(process, Order()).value();
  EXPECT_EQ(second.state, State::kPending);
  EXPECT_THAT(Start(process, Order()), FailsWith(unit::v1::OVERLOADED, "2 operations"));
  service_.Answer("one");
  service_.Answer("two");
  EXPECT_EQ(End(process, first.id).result, "one");
  EXPECT_EQ(End(process, second.id).result, "two");
  EXPECT_EQ(service_.calls.size(), 2u);
}

TEST_F(OperationsTest, NobodyTakesThePlacesOfEverybody) {
  settings_.most_running = 1;
  settings_.most_active_of_principal = 2;
  Operations& process = Process(service_);
  Start(process, Order()).value();
  Start(process, Order()).value();
  EXPECT_THAT(Start(process, Order()), FailsWith(unit::v1::OVERLOADED, "2 operations of yours"));
  Operation bobs = Order();
  bobs.principal = "bob";
  EXPECT_EQ(Start(process, bobs).value().state, State::kPending);
}

TEST_F(OperationsTest, LargeResultsOfOnePrincipalAreForgottenFirst) {
  Operations& before = Process(service_);
  const auto ended = [&](const std::string& principal, const std::string& result) {
    Operation order = Order();
    order.principal = principal;
    const std::string id = Start(before, order).value().id;
    service_.Answer(result);
    End(before, id);
    return id;
  };
  const std::string bobs = ended("bob", std::string(600, 'b'));
  const std::string oldest = ended("alice", std::string(600, 'x'));
  const std::string older = ended("alice", "small");
  const std::string newest = ended("alice", std::string(2000, 'x'));
  Do(Stopped(before));
  settings_.most_bytes_of_principal = 1000;
  Process(service_);
  const auto count = [&] { return Sql("SELECT count(*) FROM operation"); };
  while (count() != "2" && absl::Now() < call_.deadline) {
    loop_.restart();
    loop_.run_one();
  }
  EXPECT_EQ(Sql("SELECT string_agg(id, ' ' ORDER BY id) FROM operation"), bobs + " " + newest);
}

TEST_F(OperationsTest, OneThatWaitsIsCancelledWithoutBeingBegun) {
  settings_.most_running = 1;
  Operations& process = Process(service_);
  const Operation first = Start(process, Order()).value();
  const Operation second = Start(process, Order()).value();
  EXPECT_EQ(Do(process.Cancel(call_, second.id)).value()->state, State::kCancelled);
  service_.Answer("one");
  EXPECT_EQ(End(process, first.id).state, State::kSucceeded);
  EXPECT_EQ(service_.calls.size(), 1u);
}

TEST_F(OperationsTest, ListsTheNewestFirstPageByPage) {
  Operations& process = Process(service_);
  std::vector<std::string> ids;
  for (const char* unit : {"demo.run", "demo.query", "demo.run"}) {
    ids.push_back(Start(process, Order(unit)).value().id);
    service_.Answer("x");
    End(process, ids.back());
  }
  Operation bobs = Order();
  bobs.principal = "bob";
  const Operation running = Start(process, bobs).value();
  const auto list = [&](Filter filter) {
    std::vector<std::string> found;
    const std::vector<Operation> operations = Do(process.List(call_, filter)).value();
    for (const Operation& operation : operations) found.push_back(operation.id);
    return found;
  };
  std::sort(ids.begin(), ids.end(), std::greater<>());
  EXPECT_THAT(list({.principal = "alice"}), ::testing::ElementsAreArray(ids));
  EXPECT_THAT(list({.principal = "alice", .limit = 1}), ElementsAre(ids[0]));
  EXPECT_THAT(list({.principal = "alice", .before = ids[0], .limit = 1}), ElementsAre(ids[1]));
  EXPECT_EQ(list({.unit = "demo.query"}).size(), 1u);
  EXPECT_THAT(list({.state = State::kRunning}), ElementsAre(running.id));
}

TEST_F(OperationsTest, OldOnesAreForgottenAndRunningOnesKept) {
  Operations& before = Process(service_);
  for (int i = 0; i < 4; ++i) {
    const std::string id = Start(before, Order()).value().id;
    service_.Answer("x");
    End(before, id);
    if (i == 0) Sql("UPDATE operation SET finished = now() - interval '2 days'");
  }
  Start(before, Order()).value();
  Do(Stopped(before));
  settings_.most_ended = 2;
  Operations& process = Process(service_);
  Start(process, Order("demo.query")).value();
  while (Sql("SELECT count(*) FROM operation WHERE finished IS NOT NULL") != "2" && absl::Now() < call_.deadline) {
    loop_.restart();
    loop_.run_one();
  }
  EXPECT_EQ(Sql("SELECT count(*) FROM operation WHERE finished IS NOT NULL"), "2");
  EXPECT_EQ(Sql("SELECT count(*) FROM operation WHERE finished IS NULL"), "2");
}

// With a server of its own, which goes away.
class OperationsFaultTest : public OperationsTest {
 protected:
  OperationsFaultTest() : OperationsTest(Server()) {}
  static Postgres& Server() {
    static Postgres server;
    return server;
  }
};

TEST_F(OperationsFaultTest, ARunningOperationEndsWhenItsDatabaseIsBack) {
  Operations& process = Process(service_);
  const Operation started = Start(process, Order()).value();
  Until([&] { return service_.calls.size() == 1; });
  server_.Stop();
  EXPECT_FALSE(Do(process.Start(call_, Order())).ok()) << "what cannot be recorded is not accepted";
  service_.Answer("done");
  Until([&] { return service_.answers.empty(); });
  server_.Start();
  Until([&] { return process.running() == 0; });
  EXPECT_EQ(Sql("SELECT state FROM operation"), "succeeded");
  EXPECT_EQ(service_.calls.size(), 1u);
}

TEST(OwnerTest, ANameLastsAndIsHeldByOneProcess) {
  const std::string path = ::testing::TempDir() + "/aima_owner_" + std::to_string(getpid());
  std::string name;
  {
    const Owner first = Owner::Take(path).value();
    name = first.name();
    EXPECT_NE(Owner::Take(path).value().name(), name) << "while the first lives";
  }
  EXPECT_EQ(Owner::Take(path).value().name(), name);
  std::filesystem::resize_file(path, 3);  // as after a power failure
  const std::string fresh = Owner::Take(path).value().name();
  EXPECT_NE(fresh, name);
  EXPECT_EQ(Owner::Take(path).value().name(), fresh);
  std::filesystem::remove(path);
  EXPECT_FALSE(Owner::Take("/nonexistent/owner").ok());
}

}  // namespace
}  // namespace aima::operations
