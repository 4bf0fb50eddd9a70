// How operations begin, go on and end, and who hears of it.
#include "libs/operations/operations.h"

#include "libs/operations/operations_for_test.h"

namespace aima::operations {
namespace {

using aima::testing::FailsWith;
using ::testing::ElementsAre;

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

TEST_F(OperationsTest, ManyOperationsOfOneForgetNoneOfAnother) {
  Operations& before = Process(service_);
  const auto ended = [&](const char* principal) {
    Operation order = Order();
    order.principal = principal;
    const std::string id = Start(before, order).value().id;
    service_.Answer("x");
    return End(before, id).id;
  };
  const std::string bobs = ended("bob");
  ended("alice");
  const std::string older = ended("alice");
  const std::string newest = ended("alice");
  Do(Stopped(before));
  settings_.most_ended_of_principal = 2;
  Process(service_);
  while (Sql("SELECT count(*) FROM operation") == "4" && absl::Now() < call_.deadline) {
    loop_.restart();
    loop_.run_one();
  }
  EXPECT_EQ(Sql("SELECT string_agg(id, ' ' ORDER BY id) FROM operation"), bobs + " " + older + " " + newest);
}

// Operations of alice and bob that have ended, with results of these sizes; then a process that forgets what is too much.
class ForgettingTest : public OperationsTest {
 protected:
  std::string Ended(const char* principal, size_t size = 1) {
    Operation order = Order();
    order.principal = principal;
    const std::string id = Start(before_, order).value().id;
    service_.Answer(std::string(size, 'x'));
    return End(before_, id).id;
  }
  // What is left once there are so many.
  std::string Left(const std::string& count) {
    Do(Stopped(before_));
    Process(service_);
    while (Sql("SELECT count(*) FROM operation") != count && absl::Now() < call_.deadline) {
      loop_.restart();
      loop_.run_one();
    }
    return Sql("SELECT string_agg(id, ' ' ORDER BY id) FROM operation");
  }

  Operations& before_ = Process(service_);
};

TEST_F(ForgettingTest, OfTooManyTogetherWhoHasMostLosesTheOldest) {
  const std::string bobs = Ended("bob");
  Ended("alice");
  const std::string alices = Ended("alice") + " " + Ended("alice");
  settings_.most_ended_of_principal = 3;
  settings_.most_full_principals = 1;
  EXPECT_EQ(Left("3"), bobs + " " + alices);
}

TEST_F(ForgettingTest, OfTooMuchTogetherWhoHasMostLosesTheOldest) {
  const std::string bobs = Ended("bob", 400);
  Ended("alice", 500);
  const std::string alices = Ended("alice", 400);
  settings_.most_bytes_of_principal = 1000;
  settings_.most_full_principals = 1;
  EXPECT_EQ(Left("2"), bobs + " " + alices);
}

TEST_F(ForgettingTest, TogetherThereIsNoMoreThanTheMostWhoeverHasIt) {
  Ended("alice", 700);
  const std::string bobs = Ended("bob", 600);
  settings_.most_bytes_of_principal = 1000;
  settings_.most_full_principals = 1;
  EXPECT_EQ(Left("1"), bobs);
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

TEST_F(OperationsTest, ListsComePageByPageFromEitherEnd) {
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
  EXPECT_THAT(list({.principal = "alice", .after = ids[0], .limit = 1}), ElementsAre(ids[1]));
  EXPECT_THAT(list({.principal = "alice", .oldest_first = true, .limit = 2}), ElementsAre(ids[2], ids[1]));
  EXPECT_THAT(list({.principal = "alice", .after = ids[1], .oldest_first = true}), ElementsAre(ids[0]));
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
  settings_.most_ended_of_principal = 2;
  Operations& process = Process(service_);
  Start(process, Order("demo.query")).value();
  while (Sql("SELECT count(*) FROM operation WHERE finished IS NOT NULL") != "2" && absl::Now() < call_.deadline) {
    loop_.restart();
    loop_.run_one();
  }
  EXPECT_EQ(Sql("SELECT count(*) FROM operation WHERE finished IS NOT NULL"), "2");
  EXPECT_EQ(Sql("SELECT count(*) FROM operation WHERE finished IS NULL"), "2");
}

TEST_F(OperationsTest, WhatIsRemovedIsGoneUnlessItGoesOn) {
  Operations& process = Process(service_);
  const std::string id = Start(process, Order()).value().id;
  EXPECT_FALSE(Do(process.Remove(call_, id)).value().has_value()) << "it has not ended";
  service_.Answer("out");
  End(process, id);
  const std::optional<Operation> removed = Do(process.Remove(call_, id)).value();
  ASSERT_TRUE(removed.has_value());
  EXPECT_EQ(removed->id, id);
  EXPECT_EQ(removed->unit, Order().unit);
  EXPECT_EQ(removed->result, "out");
  EXPECT_FALSE(Do(process.Find(call_, id)).value().has_value());
  EXPECT_FALSE(Do(process.Remove(call_, id)).value().has_value());
}

TEST_F(OperationsTest, AKeyThatIsForgottenWhileItIsUsedAgainIsANewOperation) {
  Operations& process = Process(service_);
  // It is forgotten at each moment of the second use.
  bool after = false;
  for (int turns = 0; !after; ++turns) {
    const Operation order = Order("demo.run", "key-" + std::to_string(turns));
    const std::string first = Start(process, order).value().id;
    service_.Answer("out");
    End(process, first);
    std::optional<absl::StatusOr<Operation>> second;
    asio::co_spawn(loop_, process.Start(call_, order),
                   [&](std::exception_ptr, absl::StatusOr<Operation> operation) { second = std::move(operation); });
    for (int turn = 0; turn < turns && !second; ++turn) {
      loop_.restart();
      loop_.run_one();
    }
    after = second.has_value();
    EXPECT_THAT(Do(process.Remove(call_, first)), IsOk());
    Until([&] { return second.has_value(); });
    ASSERT_THAT(*second, IsOk()) << turns;
    if ((*second)->id == first) continue;
    service_.Answer("out");
    EXPECT_EQ(End(process, (*second)->id).result, "out");
  }
}

TEST_F(OperationsTest, ALongResultIsNotReadWhenItIsRemoved) {
  Operations& process = Process(service_);
  for (const auto& [size, read] : {std::pair{kShortResult, kShortResult}, {kShortResult + 1, int64_t{0}}}) {
    const std::string id = Start(process, Order()).value().id;
    service_.Answer(std::string(size, 'x'));
    End(process, id);
    EXPECT_EQ(static_cast<int64_t>(Do(process.Remove(call_, id)).value().value().result.size()), read);
  }
}

TEST_F(OperationsTest, AResultIsLeftOutForThoseWhoDoNotWantIt) {
  Operations& process = Process(service_);
  const std::string id = Start(process, Order()).value().id;
  service_.Answer("out");
  End(process, id);
  const Operation without = Do(process.Find(call_, id, /*with_result=*/false)).value().value();
  EXPECT_EQ(without.state, State::kSucceeded);
  EXPECT_EQ(without.input, Order().input);
  EXPECT_EQ(without.result, "");
  EXPECT_EQ(Do(process.Find(call_, id)).value()->result, "out");
}

}  // namespace
}  // namespace aima::operations
