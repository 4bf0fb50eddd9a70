// The units of the event service over a real PostgreSQL.
#include "services/event/event_units.h"

#include <gmock/gmock.h>

#include <map>
#include <set>

#include "services/event/event_test_fixture.h"

namespace aima::event {
namespace {

using ::testing::ElementsAre;
using testing::FailsWith;
using testing::IsOk;

std::vector<std::string> Ids(const std::vector<v1::Event>& events) {
  std::vector<std::string> ids;
  for (const v1::Event& event : events) ids.push_back(event.id());
  return ids;
}
std::vector<std::string> Ids(const v1::QueryResponse& response) {
  return Ids(std::vector<v1::Event>(response.items().begin(), response.items().end()));
}

class EventUnitsTest : public EventTest {
 protected:
  absl::StatusOr<v1::QueryResponse> Query(std::function<void(v1::QueryRequest&)> fill) {
    v1::QueryRequest request;
    fill(request);
    return testing::Run(loop_, units().Query(call_, request));
  }
};

TEST_F(EventUnitsTest, APublishedEventIsFoundAsItWasGiven) {
  Start();
  v1::Event event = Make("evt_1", "engine.started");
  event.set_correlation_id("trace-1");
  event.mutable_time()->set_seconds(1'700'000'000);
  event.mutable_time()->set_nanos(123'456'000);
  auto published = Publish({event});
  ASSERT_THAT(published, IsOk());
  EXPECT_THAT(published->sequences(), ElementsAre(1));
  auto found = Query([](auto&) {});
  ASSERT_THAT(found, IsOk());
  ASSERT_EQ(found->items_size(), 1);
  event.set_sequence(1);
  event.set_domain("engine");
  EXPECT_EQ(found->items(0).SerializeAsString(), event.SerializeAsString());
  EXPECT_EQ(found->earliest(), 1);
  EXPECT_EQ(found->latest(), 1);
  EXPECT_EQ(found->next_after(), 1);
}

TEST_F(EventUnitsTest, AFilterThatNoEventHasIsRefused) {
  Service service(loop_, *db_, {}, {}, {"model.created", "model.deleted", "engine.started"});
  const auto query = [&](const std::string& type, const std::string& domain) {
    v1::QueryRequest request;
    request.set_type(type);
    request.set_domain(domain);
    return testing::Run(loop_, service.units.Query(call_, request));
  };
  EXPECT_THAT(query("model.created", ""), IsOk());
  EXPECT_THAT(query("model.created", "model"), IsOk());
  EXPECT_THAT(query("", "engine"), IsOk());
  EXPECT_THAT(query("model.craeted", ""), FailsWith(unit::v1::INVALID_INPUT, "type: no event is of 'model.craeted'; did you mean model.created"));
  EXPECT_THAT(query("", "banana"), FailsWith(unit::v1::INVALID_INPUT, "domain: no event is of 'banana'; there are engine, model"));
  v1::ReplayRequest replay;
  replay.set_type("banana.split");
  Reader reader(loop_);
  EXPECT_THAT(testing::Run(loop_, service.units.Replay(call_, replay, reader)), FailsWith(unit::v1::INVALID_INPUT, "there are engine.started, model.created"));
  v1::SubscribeRequest subscribe;
  subscribe.add_types("engine");
  subscribe.add_types("banana");
  EXPECT_THAT(testing::Run(loop_, service.units.Subscribe(call_, subscribe, reader)), FailsWith(unit::v1::INVALID_INPUT, "types[1]: no event is of 'banana'"));
  // What the log has may be asked for, declared or not.
  v1::PublishRequest published;
  *published.add_events() = Make("evt_1", "banana.split");
  ASSERT_THAT(testing::Run(loop_, service.units.Publish(call_, published)), IsOk());
  EXPECT_THAT(query("banana.split", "banana"), IsOk());
}

TEST_F(EventUnitsTest, SequencesAreGaplessAndInOrderUnder64Publishers) {
  Start();
  auto live = Subscribe({});
  ASSERT_TRUE(RunUntil([&] { return live->batches > 0; }));
  int running = 64, failed = 0, total = 0;
  auto publisher = [&](int number) -> Task<void> {
    for (int i = 0; i < 20; ++i) {
      v1::PublishRequest request;
      for (int j = 0; j <= i % 3; ++j) *request.add_events() = Make(absl::StrCat("p", number, ".", i, ".", j));
      auto response = co_await units().Publish(call_, request);
      failed += !response.ok();
      total += request.events_size();
    }
    --running;
  };
  for (int i = 0; i < 64; ++i) asio::co_spawn(loop_, publisher(i), asio::detached);
  ASSERT_TRUE(RunUntil([&] { return running == 0 && static_cast<int>(live->events.size()) == total; }));
  EXPECT_EQ(failed, 0);
  std::map<std::string, std::string> last;
  for (int i = 0; i < total; ++i) {
    const v1::Event& event = live->events[i];
    ASSERT_EQ(event.sequence(), i + 1);
    const std::string publisher = event.id().substr(0, event.id().find('.'));
    auto rank = [](const std::string& id) {
      int i = 0, j = 0;
      sscanf(id.c_str() + id.find('.'), ".%d.%d", &i, &j);
      return i * 10 + j;
    };
    if (last.count(publisher)) EXPECT_LT(rank(last[publisher]), rank(event.id()));
    last[publisher] = event.id();
  }
  EXPECT_EQ(live->cursor, total);
  EXPECT_EQ(service_->log.head(), total);
}

TEST_F(EventUnitsTest, AnEventThatIsPublishedAgainKeepsItsSequence) {
  Start();
  ASSERT_THAT(Publish({Make("a"), Make("b")}), IsOk());
  auto again = Publish({Make("c"), Make("b"), Make("c"), Make("d"), Make("a")});
  ASSERT_THAT(again, IsOk());
  EXPECT_THAT(again->sequences(), ElementsAre(3, 2, 3, 4, 1));
  auto only_old = Publish({Make("d")});
  ASSERT_THAT(only_old, IsOk());
  EXPECT_THAT(only_old->sequences(), ElementsAre(4));
  EXPECT_THAT(Ids(*Query([](auto&) {})), ElementsAre("a", "b", "c", "d"));
}

TEST_F(EventUnitsTest, ARestartContinuesTheNumbersEvenAfterEverythingWasRemoved) {
  Start();
  ASSERT_THAT(Publish({Make("a"), Make("b")}), IsOk());
  Start();
  EXPECT_THAT(Publish({Make("c")})->sequences(), ElementsAre(3));
  Start(Retention{absl::Seconds(-1), 100});
  ASSERT_THAT(testing::Run(loop_, service_->log.Retain()), IsOk());
  EXPECT_EQ(Query([](auto&) {})->earliest(), 0);
  Start();
  EXPECT_THAT(Publish({Make("d")})->sequences(), ElementsAre(4));
}

TEST_F(EventUnitsTest, TwoSequencersGiveEachNumberOnceAndHearEachOther) {
  Start();
  Service other(loop_, *db_);
  std::map<int64_t, std::string> heard, heard_by_other;
  service_->log.SetListener([&](auto& events) {
    for (auto& event : events) EXPECT_TRUE(heard.emplace(event->sequence(), event->id()).second);
  });
  other.log.SetListener([&](auto& events) {
    for (auto& event : events) EXPECT_TRUE(heard_by_other.emplace(event->sequence(), event->id()).second);
  });
  int running = 2;
  auto publisher = [&](EventUnits& units, std::string prefix) -> Task<void> {
    for (int i = 0; i < 30; ++i) {
      v1::PublishRequest request;
      *request.add_events() = Make(absl::StrCat(prefix, i));
      EXPECT_THAT(co_await units.Publish(call_, request), IsOk());
    }
    --running;
  };
  asio::co_spawn(loop_, publisher(units(), "a"), asio::detached);
  asio::co_spawn(loop_, publisher(other.units, "b"), asio::detached);
  ASSERT_TRUE(RunUntil([&] { return running == 0; }));
  auto all = Query([](auto& request) { request.set_limit(1000); });
  // Each hears the other's last events when it appends next.
  ASSERT_THAT(Publish({Make("last")}), IsOk());
  const v1::PublishRequest last = Request({Make("very last")});
  ASSERT_THAT(testing::Run(loop_, other.units.Publish(call_, last)), IsOk());
  EXPECT_EQ(heard_by_other.size(), 62u);
  EXPECT_EQ(heard_by_other.rbegin()->first, 62);
  heard.emplace(62, "very last");
  EXPECT_EQ(heard, heard_by_other);
}

TEST_F(EventUnitsTest, ASubscriberResumesAfterItsCursorWithoutGapOrDuplicate) {
  Start();
  PublishMany(600, "old");
  v1::SubscribeRequest from_start;
  from_start.set_after(0);
  auto first = Subscribe(from_start);
  ASSERT_TRUE(RunUntil([&] { return first->events.size() >= 250; }));
  first->gone = true;
  PublishMany(100, "meanwhile");
  ASSERT_TRUE(RunUntil([&] { return first->ended; }));
  v1::SubscribeRequest resumed;
  resumed.set_after(first->cursor);
  auto second = Subscribe(resumed);
  PublishMany(50, "later");
  ASSERT_TRUE(RunUntil([&] { return first->events.size() + second->events.size() == 750; }));
  int64_t sequence = 0;
  for (auto* reader : {first.get(), second.get()}) {
    for (const v1::Event& event : reader->events) EXPECT_EQ(event.sequence(), ++sequence);
  }
}

TEST_F(EventUnitsTest, ASubscriberHearsOnlyWhatItAskedForAndItsCursorMovesOn) {
  Start();
  v1::SubscribeRequest request;
  request.add_types("engine.started");
  request.set_domain("device");
  auto reader = Subscribe(request);
  ASSERT_TRUE(RunUntil([&] { return reader->batches == 1; }));
  ASSERT_THAT(Publish({Make("1", "engine.started"), Make("2", "engine.stopped"), Make("3", "device.lost"),
                       Make("4", "model.created")}),
              IsOk());
  ASSERT_TRUE(RunUntil([&] { return reader->cursor == 4; }));
  EXPECT_THAT(Ids(reader->events), ElementsAre("1", "3"));
}

TEST_F(EventUnitsTest, ASlowSubscriberHoldsNobodyUpAndMissesNothing) {
  Start();
  auto slow = Subscribe({});
  auto quick = Subscribe({});
  ASSERT_TRUE(RunUntil([&] { return slow->batches == 1 && quick->batches == 1; }));
  slow->Hold();
  PublishMany(5000, "n");
  ASSERT_TRUE(RunUntil([&] { return quick->events.size() == 5000; }));
  EXPECT_EQ(slow->events.size(), 0u);
  slow->Release();
  ASSERT_TRUE(RunUntil([&] { return slow->events.size() == 5000; }));
  for (int i = 0; i < 5000; ++i) ASSERT_EQ(slow->events[i].sequence(), i + 1);
  PublishMany(1, "live again");
  ASSERT_TRUE(RunUntil([&] { return slow->events.size() == 5001; }));
}

TEST_F(EventUnitsTest, ASubscriberThatIsTooFarBehindIsCutOffWithItsCursor) {
  FeedLimits limits;
  limits.events = 10;
  limits.behind = 100;
  Start({}, limits);
  auto slow = Subscribe({});
  ASSERT_TRUE(RunUntil([&] { return slow->batches == 1; }));
  slow->Hold();
  PublishMany(500, "n");
  slow->Release();
  ASSERT_TRUE(RunUntil([&] { return slow->ended; }));
  EXPECT_THAT(slow->status, FailsWith(v1::SUBSCRIBER_TOO_SLOW, "behind"));
  EXPECT_EQ(DetailsOf(slow->status).metadata["cursor"], absl::StrCat(slow->cursor));
  v1::SubscribeRequest resumed;
  resumed.set_after(slow->cursor);
  auto again = Subscribe(resumed);
  ASSERT_TRUE(RunUntil([&] { return slow->events.size() + again->events.size() == 500; }));
}

TEST_F(EventUnitsTest, BatchesGrowWithTheBacklog) {
  Start();
  auto reader = Subscribe({});
  ASSERT_TRUE(RunUntil([&] { return reader->batches == 1; }));
  reader->Hold();
  for (int i = 0; i < 100; ++i) ASSERT_THAT(Publish({Make(absl::StrCat("n", i))}), IsOk());
  reader->Release();
  ASSERT_TRUE(RunUntil([&] { return reader->events.size() == 100; }));
  EXPECT_LE(reader->batches, 4);
}

TEST_F(EventUnitsTest, QueriesFilterByEverythingTheyOffer) {
  Start();
  std::vector<v1::Event> events;
  for (int i = 1; i <= 6; ++i) {
    v1::Event event = Make(absl::StrCat(i), i % 2 ? "model.created" : i % 3 ? "model.deleted" : "engine.started");
    event.mutable_time()->set_seconds(1'000 * i);
    event.set_correlation_id(i <= 3 ? "trace" : "");
    events.push_back(event);
  }
  ASSERT_THAT(Publish(events), IsOk());
  EXPECT_THAT(Ids(*Query([](auto& r) { r.set_type("model.created"); })), ElementsAre("1", "3", "5"));
  EXPECT_THAT(Ids(*Query([](auto& r) { r.set_domain("model"); })), ElementsAre("1", "2", "3", "4", "5"));
  EXPECT_THAT(Ids(*Query([](auto& r) { r.set_domain("engine"); })), ElementsAre("6"));
  EXPECT_THAT(Ids(*Query([](auto& r) { r.set_domain("engine"), r.set_type("model.created"); })), ElementsAre());
  EXPECT_THAT(Ids(*Query([](auto& r) { r.set_domain("nothing"); })), ElementsAre());
  EXPECT_THAT(Ids(*Query([](auto& r) { r.set_correlation_id("trace"); })), ElementsAre("1", "2", "3"));
  EXPECT_THAT(Ids(*Query([](auto& r) { r.set_correlation_id("trace"), r.set_type("model.created"); })),
              ElementsAre("1", "3"));
  EXPECT_THAT(Ids(*Query([](auto& r) {
    r.mutable_since()->set_seconds(2'000);
    r.mutable_until()->set_seconds(4'000);
  })), ElementsAre("2", "3"));
  EXPECT_THAT(Ids(*Query([](auto& r) { r.set_limit(2); })), ElementsAre("5", "6"));
  auto page = Query([](auto& r) { r.set_after(0), r.set_limit(2), r.set_domain("model"); });
  EXPECT_THAT(Ids(*page), ElementsAre("1", "2"));
  page = Query([&](auto& r) { r.set_after(page->next_after()), r.set_limit(3), r.set_domain("model"); });
  EXPECT_THAT(Ids(*page), ElementsAre("3", "4", "5"));
  page = Query([&](auto& r) { r.set_after(page->next_after()), r.set_limit(3), r.set_domain("model"); });
  EXPECT_THAT(Ids(*page), ElementsAre());
  EXPECT_EQ(page->next_after(), 6);
}

TEST_F(EventUnitsTest, AReplayIsWhatLiveSubscribersSaw) {
  Start();
  v1::SubscribeRequest models;
  models.set_domain("model");
  auto live = Subscribe(models);
  ASSERT_TRUE(RunUntil([&] { return live->batches == 1; }));
  PublishMany(700, "m", "model.created");
  PublishMany(10, "e", "engine.started");
  PublishMany(5, "d", "model.deleted");
  ASSERT_TRUE(RunUntil([&] { return live->events.size() == 705; }));
  v1::ReplayRequest request;
  request.set_domain("model");
  Reader replayed(loop_);
  ASSERT_THAT(testing::Run(loop_, units().Replay(call_, request, replayed)), IsOk());
  ASSERT_EQ(replayed.events.size(), live->events.size());
  for (size_t i = 0; i < live->events.size(); ++i) {
    ASSERT_EQ(replayed.events[i].SerializeAsString(), live->events[i].SerializeAsString());
  }
  EXPECT_EQ(replayed.cursor, 715);
  request.set_after(100);
  request.set_until(120);
  Reader part(loop_);
  ASSERT_THAT(testing::Run(loop_, units().Replay(call_, request, part)), IsOk());
  EXPECT_EQ(part.events.size(), 20u);
}

TEST_F(EventUnitsTest, RetentionKeepsTheNewestAndReportsWhatIsLeft) {
  Start(Retention{absl::Hours(1), 100});
  PublishMany(250, "n");
  ASSERT_THAT(testing::Run(loop_, service_->log.Retain()), IsOk());
  auto kept = Query([](auto& r) { r.set_limit(1000); });
  EXPECT_EQ(kept->items_size(), 100);
  EXPECT_EQ(kept->earliest(), 151);
  EXPECT_EQ(kept->latest(), 250);
  const absl::Status gone = Query([](auto& r) { r.set_after(100); }).status();
  EXPECT_THAT(gone, FailsWith(v1::CURSOR_OUT_OF_RANGE, "151"));
  EXPECT_EQ(DetailsOf(gone).metadata["earliest"], "151");
  EXPECT_EQ(DetailsOf(gone).metadata["latest"], "250");
  EXPECT_THAT(Query([](auto& r) { r.set_after(251); }), FailsWith(v1::CURSOR_OUT_OF_RANGE, "251"));
  v1::SubscribeRequest old;
  old.set_after(1);
  auto reader = Subscribe(old);
  ASSERT_TRUE(RunUntil([&] { return reader->ended; }));
  EXPECT_THAT(reader->status, FailsWith(v1::CURSOR_OUT_OF_RANGE, "151"));
}

TEST_F(EventUnitsTest, RetentionByAgeStopsAtTheFirstYoungEvent) {
  Start(Retention{absl::Hours(1), 100});
  v1::Event old = Make("old");
  old.mutable_time()->set_seconds(absl::ToUnixSeconds(absl::Now() - absl::Hours(2)));
  v1::Event future = Make("from a wrong clock");
  future.mutable_time()->set_seconds(absl::ToUnixSeconds(absl::Now() + absl::Hours(9999)));
  ASSERT_THAT(Publish({old, future, Make("young")}), IsOk());
  ASSERT_THAT(testing::Run(loop_, service_->log.Retain()), IsOk());
  auto kept = Query([](auto&) {});
  EXPECT_THAT(Ids(*kept), ElementsAre("from a wrong clock", "young"));
  EXPECT_LT(kept->items(0).time().seconds(), absl::ToUnixSeconds(absl::Now() + absl::Hours(1)));
}

TEST_F(EventUnitsTest, WhatCannotBeAnEventIsRefusedByItsFieldAndNothingIsAppended) {
  Start();
  v1::Event large = Make("large");
  large.mutable_payload()->set_value(std::string(300 << 10, 'x'));
  EXPECT_THAT(Publish({Make("fine"), Make("a\tb")}), FailsWith(unit::v1::INVALID_INPUT, "events[1].id"));
  EXPECT_THAT(Publish({Make("x", "nodot")}), FailsWith(unit::v1::INVALID_INPUT, "events[0].type"));
  EXPECT_THAT(Publish({large}), FailsWith(unit::v1::INVALID_INPUT, "events[0].payload"));
  EXPECT_EQ(service_->log.head(), 0);
}

TEST_F(EventUnitsTest, KilledBackendsLoseNoAcknowledgedEventAndDoubleNone) {
  Start();
  auto live = Subscribe({});
  ASSERT_TRUE(RunUntil([&] { return live->batches == 1; }));
  std::set<std::string> acknowledged;
  int running = 8;
  auto publisher = [&](int number) -> Task<void> {
    for (int i = 0; i < 50; ++i) {
      v1::PublishRequest request;
      *request.add_events() = Make(absl::StrCat("p", number, ".", i));
      // As the relay does: again, until it is acknowledged.
      while (!(co_await units().Publish(call_, request)).ok()) {
        asio::steady_timer timer(loop_, std::chrono::milliseconds(5));
        co_await timer.async_wait(asio::use_awaitable);
      }
      acknowledged.insert(request.events(0).id());
    }
    --running;
  };
  for (int i = 0; i < 8; ++i) asio::co_spawn(loop_, publisher(i), asio::detached);
  constexpr pg::Statement kKill{"kill",
                                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE "
                                "datname = current_database() AND pid <> pg_backend_pid()"};
  auto killer = [&]() -> Task<void> {
    while (running > 0) {
      (void)co_await db_->Query(call_, kKill, {});
      asio::steady_timer timer(loop_, std::chrono::milliseconds(10));
      co_await timer.async_wait(asio::use_awaitable);
    }
    ++running;
  };
  asio::co_spawn(loop_, killer(), asio::detached);
  ASSERT_TRUE(RunUntil([&] { return running == 1 && live->events.size() >= 400; }));
  EXPECT_EQ(acknowledged.size(), 400u);
  ASSERT_EQ(live->events.size(), 400u);
  for (int i = 0; i < 400; ++i) EXPECT_EQ(live->events[i].sequence(), i + 1);
  const auto ids = Ids(live->events);
  EXPECT_EQ(std::set<std::string>(ids.begin(), ids.end()), acknowledged);
}

}  // namespace
}  // namespace aima::event
