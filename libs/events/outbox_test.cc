// What the relay asks of the database and of the event service, which is not there: services/event/relay_test.cc follows
// events on their whole way.
#include <absl/strings/str_cat.h>
#include <gmock/gmock.h>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>

#include "aima/model/v1/model.pb.h"
#include "libs/events/events.h"
#include "libs/testing/postgres.h"
#include "libs/testing/status_matchers.h"
#include "libs/testing/task.h"

namespace aima::events {
namespace {

namespace asio = boost::asio;
using aima::testing::IsOk;

// Takes all events at once, and keeps count of how they came.
class Publisher : public rpc::Client {
 public:
  Task<absl::Status> CallUntyped(const CallContext&, const google::protobuf::Message& request,
                                 google::protobuf::Message&) override {
    ++requests;
    const auto& published = static_cast<const event::v1::PublishRequest&>(request).events();
    events += published.size();
    correlation = published.rbegin()->correlation_id();
    co_return absl::OkStatus();
  }
  Task<absl::Status> CallDomain(const std::string&, const CallContext& call, const google::protobuf::Message& request,
                                google::protobuf::Message& response) override {
    return CallUntyped(call, request, response);
  }
  std::unique_ptr<RawReader> StreamUntyped(const CallContext&, const google::protobuf::Message&) override {
    return nullptr;
  }

  int requests = 0;
  int events = 0;
  std::string correlation;  // of the last one
};

// Counts how often the outbox is read.
class CountingDatabase : public pg::Database {
 public:
  explicit CountingDatabase(std::unique_ptr<pg::Database> db) : db_(std::move(db)) {}

  Task<absl::StatusOr<pg::Result>> Query(const CallContext& call, const pg::Statement& statement,
                                         pg::Values values) override {
    if (statement.name == std::string_view("outbox_read")) ++reads;
    return db_->Query(call, statement, std::move(values));
  }
  Task<absl::StatusOr<std::vector<pg::Result>>> Write(const CallContext& call,
                                                      std::vector<pg::Operation> operations) override {
    absl::StatusOr<std::vector<pg::Result>> written = co_await db_->Write(call, std::move(operations));
    ++writes;
    co_return written;
  }
  Task<absl::Status> Transact(const CallContext& call, Body body) override {
    return db_->Transact(call, std::move(body));
  }
  Task<absl::Status> Migrate(const std::string& directory) override { return db_->Migrate(directory); }
  bool Connected() const override { return db_->Connected(); }

  int reads = 0;
  int writes = 0;  // that are done

 private:
  std::unique_ptr<pg::Database> db_;
};

class OutboxTest : public ::testing::Test {
 protected:
  // Its relay has read what an earlier process may have left, published something and forgotten old replies: from now on
  // it waits for nothing but events.
  OutboxTest() {
    asio::co_spawn(loop_, outbox_.Run(), asio::bind_cancellation_slot(stop_->slot(), [stop = stop_](std::exception_ptr) {}));
    Tell();
    AwaitEvents(1);
    EXPECT_EQ(db_.reads, 1);
    while (db_.writes == 0 && loop_.run_one() > 0) {
    }
    loop_.poll();
  }
  ~OutboxTest() override {
    stop_->emit(asio::cancellation_type::terminal);
    loop_.restart();
    loop_.poll();
  }

  static model::v1::ModelDeleted Event() {
    model::v1::ModelDeleted event;
    event.set_model_id("m");
    return event;
  }
  void Tell() { outbox_.Tell(call_, Event()); }
  void AwaitEvents(int count) {
    loop_.restart();
    while (publisher_.events < count && loop_.run_one() > 0) {
    }
  }

  Loop loop_;
  CallContext call_;
  CountingDatabase db_{aima::testing::Postgres::Shared().Open(loop_, "model")};
  Publisher publisher_;
  EventOutbox outbox_{loop_, db_, publisher_};
  // Shared with the task that it stops, which hears of it only in the loop's next turn.
  std::shared_ptr<asio::cancellation_signal> stop_ = std::make_shared<asio::cancellation_signal>();
};

TEST_F(OutboxTest, EventsThatAreToldOneSoonAfterTheOtherTravelTogether) {
  const int before = publisher_.requests;
  constexpr int kEvents = 300;
  for (int i = 0; i < kEvents; ++i) {
    Tell();
    loop_.restart();
    loop_.poll();  // in which one that does not wait for others is published
  }
  AwaitEvents(1 + kEvents);
  EXPECT_LT(publisher_.requests - before, kEvents / 3);
}

TEST_F(OutboxTest, AnEventThatIsToldReadsNoRowsAndOneThatIsCommittedDoes) {
  for (int i = 2; i < 12; ++i) {
    Tell();
    AwaitEvents(i);
  }
  EXPECT_EQ(db_.reads, 1);
  ASSERT_THAT(aima::testing::Run(loop_, db_.Write(call_, {outbox_.Emit(call_, Event())})), IsOk());
  AwaitEvents(12);
  EXPECT_EQ(db_.reads, 2);
}

TEST_F(OutboxTest, WhateverTheCallerCallsItsTraceTheLogTakesTheEvent) {
  call_.trace_id = "a\x01\xff" + std::string(300, 'x');
  Tell();
  AwaitEvents(2);
  EXPECT_EQ(publisher_.correlation, "a??" + std::string(197, 'x'));
}

}  // namespace
}  // namespace aima::events
