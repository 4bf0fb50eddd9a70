// What becomes of operations when processes, and the database, go and come back.
#include <filesystem>

#include "libs/operations/operations_for_test.h"
#include "libs/operations/owner.h"

namespace aima::operations {
namespace {

using ::testing::IsEmpty;

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
