// Events on their whole way: outbox, relay, log, subscribers.
#include <gmock/gmock.h>

#include <map>
#include <set>

#include "aima/model/v1/model.pb.h"
#include "libs/base/status_macros.h"
#include "libs/events/events.h"
#include "services/event/event_test_fixture.h"

namespace aima::event {
namespace {

using ::testing::ElementsAre;
using testing::FailsWith;
using testing::IsOk;

// Calls the units of a service in this process. A test can take the service away, or lose its answers.
class InProcessClient : public rpc::Client {
 public:
  InProcessClient(Loop& loop, EventUnits& units) : loop_(loop), units_(units) {}

  Task<absl::Status> CallUntyped(const CallContext& call, const google::protobuf::Message& request,
                                 google::protobuf::Message& response) override {
    ++calls;
    if (down) co_return Error(unit::v1::UNAVAILABLE, "the event service is away");
    CallContext own = call;
    auto published = co_await units_.Publish(own, static_cast<const v1::PublishRequest&>(request));
    if (answers_to_lose > 0 && answers_to_lose--) co_return Error(unit::v1::UNAVAILABLE, "the answer was lost");
    if (!published.ok()) co_return published.status();
    response.CopyFrom(*published);
    co_return absl::OkStatus();
  }

  Task<absl::Status> CallDomain(const std::string&, const CallContext& call, const google::protobuf::Message& request,
                                google::protobuf::Message& response) override {
    return CallUntyped(call, request, response);
  }

  std::unique_ptr<RawReader> StreamUntyped(const CallContext& call,
                                           const google::protobuf::Message& request) override {
    ++streams;
    return std::make_unique<Pipe>(*this, call, static_cast<const v1::SubscribeRequest&>(request));
  }

  bool down = false;
  int answers_to_lose = 0;
  int calls = 0;
  int streams = 0;

 private:
  // A stream: the unit writes into a queue from which the reader reads.
  struct Queue : StreamWriter<v1::Batch> {
    explicit Queue(Loop& loop) : signal(loop) {}
    Task<absl::Status> Write(const v1::Batch& batch) override {
      if (gone) co_return absl::CancelledError("gone");
      batches.push_back(batch);
      signal.Set();
      co_return absl::OkStatus();
    }
    std::deque<v1::Batch> batches;
    Signal signal;
    bool gone = false;
    bool ended = false;
    absl::Status status;
    v1::SubscribeRequest request;
    CallContext call;
  };
  class Pipe : public RawReader {
   public:
    Pipe(InProcessClient& client, const CallContext& call, const v1::SubscribeRequest& request)
        : client_(client), queue_(std::make_shared<Queue>(client.loop_)) {
      queue_->request = request;
      queue_->call = call;
      if (!client.down) {
        asio::co_spawn(client.loop_, Serve(client.units_, queue_),
                       asio::bind_cancellation_slot(stop_->slot(), [stop = stop_](std::exception_ptr) {}));
      }
    }
    ~Pipe() override {
      queue_->gone = true;
      stop_->emit(asio::cancellation_type::terminal);
    }
    static Task<void> Serve(EventUnits& units, std::shared_ptr<Queue> queue) {
      queue->status = co_await units.Subscribe(queue->call, queue->request, *queue);
      queue->ended = true;
      queue->signal.Set();
    }
    Task<absl::StatusOr<bool>> Next(google::protobuf::Message& message) override {
      while (queue_->batches.empty() || client_.down) {
        if (client_.down) co_return Error(unit::v1::UNAVAILABLE, "the event service is away");
        if (queue_->ended) co_return queue_->status;
        co_await queue_->signal.Wait(std::chrono::milliseconds(20));
      }
      message.CopyFrom(queue_->batches.front());
      queue_->batches.pop_front();
      co_return true;
    }

   private:
    InProcessClient& client_;
    std::shared_ptr<Queue> queue_;
    std::shared_ptr<asio::cancellation_signal> stop_ = std::make_shared<asio::cancellation_signal>();
  };

  Loop& loop_;
  EventUnits& units_;
};

class RelayTest : public EventTest {
 protected:
  RelayTest() : domain_db_(testing::Postgres::Shared().Open(loop_, "model")) {
    Start();
    client_ = std::make_unique<InProcessClient>(loop_, units());
    call_.unit = "model.create";
    call_.trace_id = "trace-1";
    StartRelay();
  }
  ~RelayTest() override {
    StopRelay();
    subscriber_.reset();
    loop_.restart();
    loop_.poll();
  }

  void StartRelay() {
    outbox_ = events::MakeOutbox(loop_, *domain_db_, *client_);
    stop_ = std::make_shared<asio::cancellation_signal>();
    asio::co_spawn(loop_, outbox_->Run(),
                   asio::bind_cancellation_slot(stop_->slot(), [stop = stop_](std::exception_ptr) {}));
  }
  // As a crash would: at any point.
  void StopRelay() {
    stop_->emit(asio::cancellation_type::terminal);
    loop_.restart();
    loop_.poll();
  }

  static model::v1::ModelDeleted Deleted(const std::string& id) {
    model::v1::ModelDeleted deleted;
    deleted.set_model_id(id);
    return deleted;
  }
  absl::Status Emit(const std::string& id) {
    return testing::Run(loop_, domain_db_->Write(call_, {outbox_->Emit(call_, Deleted(id))})).status();
  }
  std::vector<v1::Event> Log() {
    v1::QueryRequest request;
    request.set_after(0);
    request.set_limit(1000);
    auto response = testing::Run(loop_, units().Query(call_, request));
    EXPECT_THAT(response, IsOk());
    return {response->items().begin(), response->items().end()};
  }
  std::vector<std::string> LogIds() {
    std::vector<std::string> ids;
    for (const v1::Event& event : Log()) {
      model::v1::ModelDeleted deleted;
      event.payload().UnpackTo(&deleted);
      ids.push_back(deleted.model_id());
    }
    return ids;
  }
  int64_t Waiting() {
    constexpr pg::Statement kCount{"count_outbox", "SELECT count(*) FROM outbox"};
    auto result = testing::Run(loop_, domain_db_->Query(call_, kCount, {}));
    return result.ok() ? (*result)[0].Get<int64_t>(0) : -1;
  }
  bool RunUntilHead(int64_t head) {
    return RunUntil([&] { return service_->log.head() >= head; });
  }

  std::unique_ptr<pg::Database> domain_db_;
  std::unique_ptr<InProcessClient> client_;
  std::unique_ptr<events::EventOutbox> outbox_;
  std::unique_ptr<events::EventSubscriber> subscriber_;
  std::shared_ptr<asio::cancellation_signal> stop_;
};

TEST_F(RelayTest, AnEmittedEventReachesTheLogSoonAfterItsCommit) {
  const absl::Time start = absl::Now();
  ASSERT_THAT(Emit("m1"), IsOk());
  ASSERT_TRUE(RunUntilHead(1));
  EXPECT_LT(absl::Now() - start, absl::Seconds(20)) << "nobody waited for the look that comes every 30 s";
  const std::vector<v1::Event> log = Log();
  ASSERT_EQ(log.size(), 1u);
  EXPECT_EQ(log[0].type(), "model.deleted");
  EXPECT_EQ(log[0].domain(), "model");
  EXPECT_EQ(log[0].correlation_id(), "trace-1");
  EXPECT_EQ(log[0].id().substr(0, 4), "evt_");
  EXPECT_THAT(LogIds(), ElementsAre("m1"));
  ASSERT_TRUE(RunUntil([&] { return Waiting() == 0; }));
}

TEST_F(RelayTest, AnEventOfATransactionThatIsRolledBackIsNeverSeen) {
  EXPECT_FALSE(testing::Run(loop_, domain_db_->Transact(call_, [&](pg::Transaction& tx) -> Task<absl::Status> {
    CO_RETURN_IF_ERROR((co_await tx.Query(outbox_->Emit(call_, Deleted("undone")))).status());
    co_return absl::UnknownError("no");
  })).ok());
  ASSERT_THAT(Emit("done"), IsOk());
  ASSERT_TRUE(RunUntilHead(1));
  EXPECT_THAT(LogIds(), ElementsAre("done"));
}

TEST_F(RelayTest, EventsWaitWhileTheServiceIsAwayAndThenComeInOrder) {
  client_->down = true;
  for (int i = 0; i < 1200; ++i) {
    asio::co_spawn(loop_, domain_db_->Write(call_, {outbox_->Emit(call_, Deleted(absl::StrCat(i)))}), asio::detached);
  }
  ASSERT_TRUE(RunUntil([&] { return Waiting() == 1200; }));
  const int calls = client_->calls;
  EXPECT_LT(calls, 20) << "a service that is away is called for every write";
  client_->down = false;
  ASSERT_TRUE(RunUntilHead(1200));
  const std::vector<std::string> ids = LogIds();
  for (int i = 0; i < 1000; ++i) ASSERT_EQ(ids[i], absl::StrCat(i));
  ASSERT_TRUE(RunUntil([&] { return Waiting() == 0; }));
  EXPECT_EQ(service_->log.head(), 1200);
  EXPECT_LE(client_->calls - calls, 8) << "the backlog is not published in batches";
}

TEST_F(RelayTest, ALostAnswerDoublesNothing) {
  client_->answers_to_lose = 2;
  for (int i = 0; i < 5; ++i) ASSERT_THAT(Emit(absl::StrCat(i)), IsOk());
  ASSERT_TRUE(RunUntil([&] { return Waiting() == 0; }));
  EXPECT_THAT(LogIds(), ElementsAre("0", "1", "2", "3", "4"));
}

TEST_F(RelayTest, ARelayThatDiesAnywhereLosesAndDoublesNothing) {
  std::set<std::string> emitted;
  for (int round = 0; round < 20; ++round) {
    for (int i = 0; i < 5; ++i) {
      const std::string id = absl::StrCat(round, ".", i);
      ASSERT_THAT(Emit(id), IsOk());
      emitted.insert(id);
    }
    for (int turn = 0; turn < round; ++turn) loop_.run_one_for(std::chrono::milliseconds(1));
    StopRelay();
    StartRelay();
  }
  ASSERT_TRUE(RunUntil([&] { return Waiting() == 0; }));
  const std::vector<std::string> ids = LogIds();
  EXPECT_EQ(ids.size(), 100u);
  EXPECT_EQ(std::set<std::string>(ids.begin(), ids.end()), emitted);
}

TEST_F(RelayTest, AnEventThatTheLogRefusesDoesNotHoldUpTheOthers) {
  client_->down = true;
  ASSERT_THAT(Emit("before"), IsOk());
  ASSERT_THAT(Emit(std::string(300'000, 'x')), IsOk());  // longer than the log takes
  ASSERT_THAT(Emit("after"), IsOk());
  client_->down = false;
  ASSERT_TRUE(RunUntil([&] { return Waiting() == 0; }));
  EXPECT_THAT(LogIds(), ElementsAre("before", "after"));
}

TEST_F(RelayTest, ToldEventsArriveAndTheOldestAreDroppedWhenTooManyWait) {
  outbox_->Tell(call_, Deleted("now"));
  ASSERT_TRUE(RunUntilHead(1));
  client_->down = true;
  for (int i = 0; i < 10'200; ++i) outbox_->Tell(call_, Deleted(absl::StrCat(i)));
  EXPECT_EQ(outbox_->dropped(), 200);
  client_->down = false;
  ASSERT_TRUE(RunUntilHead(10'001));
  EXPECT_EQ(LogIds()[1], "200");
}

TEST_F(RelayTest, FlushReturnsWhenEverythingIsPublished) {
  ASSERT_THAT(Emit("a"), IsOk());
  outbox_->Tell(call_, Deleted("b"));
  bool flushed = false;
  auto flush = [&]() -> Task<void> {
    co_await outbox_->Flush(absl::Now() + absl::Hours(1));
    flushed = true;
  };
  asio::co_spawn(loop_, flush(), asio::detached);
  ASSERT_TRUE(RunUntil([&] { return flushed; }));
  EXPECT_EQ(service_->log.head(), 2);
}

TEST_F(RelayTest, ARememberedReplyIsFoundByUnitAndKey) {
  call_.idempotency_key = "key-1";
  call_.fingerprint = "print";
  EXPECT_FALSE(testing::Run(loop_, events::FindReply(*domain_db_, call_))->has_value());
  ASSERT_THAT(testing::Run(loop_, domain_db_->Write(call_, {outbox_->Remember(call_, Deleted("reply"))})), IsOk());
  auto reply = testing::Run(loop_, events::FindReply(*domain_db_, call_));
  ASSERT_THAT(reply, IsOk());
  ASSERT_TRUE(reply->has_value());
  EXPECT_EQ((*reply)->unit, "model.create");
  EXPECT_EQ((*reply)->fingerprint, "print");
  EXPECT_EQ((*reply)->response, Deleted("reply").SerializeAsString());
  // Committed by somebody else meanwhile.
  auto again = testing::Run(loop_, domain_db_->Write(call_, {outbox_->Remember(call_, Deleted("x"))}));
  EXPECT_EQ(pg::SqlState(again.status()), pg::kUniqueViolation);
  call_.unit = "model.delete";
  EXPECT_FALSE(testing::Run(loop_, events::FindReply(*domain_db_, call_))->has_value());
  call_.idempotency_key = "";
  ASSERT_THAT(testing::Run(loop_, domain_db_->Write(call_, {outbox_->Remember(call_, Deleted("x"))})), IsOk());
}

TEST_F(RelayTest, ASubscriptionHearsEventsInOrderAndReconnectsWithoutGap) {
  std::vector<std::string> heard;
  int gaps = 0;
  subscriber_ = events::MakeSubscriber(loop_, *client_);
  subscriber_->On(
      {"model"},
      [&](const v1::Event& event) -> Task<void> {
        model::v1::ModelDeleted deleted;
        event.payload().UnpackTo(&deleted);
        heard.push_back(deleted.model_id());
        co_return;
      },
      [&]() -> Task<void> {
        ++gaps;
        co_return;
      });
  ASSERT_TRUE(RunUntil([&] { return gaps == 1; }));
  ASSERT_THAT(Emit("1"), IsOk());
  ASSERT_TRUE(RunUntil([&] { return heard.size() == 1; }));
  client_->down = true;
  ASSERT_THAT(Emit("2"), IsOk());
  ASSERT_TRUE(RunUntil([&] { return client_->streams >= 2; }));
  client_->down = false;
  ASSERT_THAT(Emit("3"), IsOk());
  ASSERT_TRUE(RunUntil([&] { return heard.size() == 3; }));
  EXPECT_THAT(heard, ElementsAre("1", "2", "3"));
  EXPECT_EQ(gaps, 1);
}

TEST_F(RelayTest, ASubscriptionWhoseCursorIsGoneIsToldOfTheGap) {
  int gaps = 0, heard = 0;
  subscriber_ = events::MakeSubscriber(loop_, *client_);
  subscriber_->On(
      {}, [&](const v1::Event&) -> Task<void> { ++heard; co_return; },
      [&]() -> Task<void> { ++gaps; co_return; });
  ASSERT_TRUE(RunUntil([&] { return gaps == 1; }));
  client_->down = true;
  ASSERT_TRUE(RunUntil([&] { return client_->streams >= 2; }));
  PublishMany(20, "missed");
  EventLog trimming(loop_, *db_, Retention{absl::Hours(1), 5});
  ASSERT_THAT(testing::Run(loop_, trimming.Open()), IsOk());
  ASSERT_THAT(testing::Run(loop_, trimming.Retain()), IsOk());
  ASSERT_THAT(testing::Run(loop_, service_->log.Open()), IsOk());  // learns of it
  client_->down = false;
  ASSERT_TRUE(RunUntil([&] { return gaps == 2; }));
  EXPECT_EQ(heard, 0);
}

TEST_F(RelayTest, ASubscriptionReadsTheStateEvenWhileTheServiceIsAway) {
  client_->down = true;
  int gaps = 0;
  subscriber_ = events::MakeSubscriber(loop_, *client_);
  subscriber_->On({}, [](const v1::Event&) -> Task<void> { co_return; }, [&]() -> Task<void> { ++gaps; co_return; });
  ASSERT_TRUE(RunUntil([&] { return gaps == 1; }));
  client_->down = false;
  ASSERT_TRUE(RunUntil([&] { return gaps == 2; }));
}

}  // namespace
}  // namespace aima::event
