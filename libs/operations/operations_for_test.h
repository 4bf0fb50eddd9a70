// Operations on a real PostgreSQL, with a service that does what the test tells it to.
#pragma once

#include <absl/time/clock.h>
#include <gmock/gmock.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <deque>

#include "aima/unit/v1/errors.pb.h"
#include "libs/errors/errors.h"
#include "libs/operations/operations.h"
#include "libs/testing/postgres.h"
#include "libs/testing/status_matchers.h"
#include "libs/testing/task.h"

namespace aima::operations {

namespace asio = boost::asio;
using aima::testing::IsOk;
using aima::testing::Postgres;

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

}  // namespace aima::operations
