// What tests of the event service share.
#pragma once

#include <absl/strings/str_cat.h>
#include <absl/time/clock.h>
#include <gtest/gtest.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <memory>
#include <string>
#include <vector>

#include "libs/testing/postgres.h"
#include "libs/testing/status_matchers.h"
#include "libs/testing/task.h"
#include "services/event/event_units.h"

namespace aima::event {

namespace asio = boost::asio;

// One event service over a database.
struct Service {
  Service(Loop& loop, pg::Database& db, Retention retention = {}, FeedLimits limits = {},
          std::vector<std::string> declared_types = {})
      : loop(loop), log(loop, db, retention), units(loop, log, limits, std::move(declared_types)) {
    EXPECT_THAT(testing::Run(loop, log.Open()), testing::IsOk());
    asio::co_spawn(loop, log.Run(), asio::bind_cancellation_slot(stop->slot(), [stop = stop](std::exception_ptr) {}));
  }
  ~Service() {
    // The sequencer ends while what it uses is there.
    stop->emit(asio::cancellation_type::terminal);
    loop.restart();
    loop.poll();
  }

  Loop& loop;
  EventLog log;
  EventUnits units;
  // Shared with the task that it stops, which hears of it only in the loop's next turn.
  std::shared_ptr<asio::cancellation_signal> stop = std::make_shared<asio::cancellation_signal>();
};

// A subscriber that keeps what it reads, and reads only while it is not held.
class Reader : public StreamWriter<v1::Batch> {
 public:
  explicit Reader(Loop& loop) : held_(loop, asio::steady_timer::time_point::min()) {}

  Task<absl::Status> Write(const v1::Batch& batch) override {
    co_await held_.async_wait(asio::as_tuple(asio::use_awaitable));
    events.insert(events.end(), batch.events().begin(), batch.events().end());
    EXPECT_GE(batch.cursor(), cursor);
    cursor = batch.cursor();
    ++batches;
    co_return gone ? absl::CancelledError("gone") : absl::OkStatus();
  }
  void Hold() { held_.expires_at(asio::steady_timer::time_point::max()); }
  void Release() { held_.expires_at(asio::steady_timer::time_point::min()); }

  std::vector<v1::Event> events;
  int64_t cursor = 0;
  int batches = 0;
  bool gone = false;             // ends at the next batch
  bool ended = false;
  absl::Status status;

 private:
  asio::steady_timer held_;
};

class EventTest : public ::testing::Test {
 protected:
  EventTest() : db_(testing::Postgres::Shared().Open(loop_, "event", {AIMA_SOURCE_DIR "/services/event/migrations"})) {
    call_.deadline = absl::Now() + absl::Seconds(60);
  }
  ~EventTest() override {
    for (auto& leave : leave_) leave->emit(asio::cancellation_type::terminal);
    loop_.restart();
    loop_.poll();
  }

  void Start(Retention retention = {}, FeedLimits limits = {}) {
    service_ = std::make_unique<Service>(loop_, *db_, retention, limits);
  }
  EventUnits& units() { return service_->units; }

  static v1::Event Make(const std::string& id, const std::string& type = "model.created") {
    v1::Event event;
    event.set_id(id);
    event.set_type(type);
    event.mutable_payload()->set_type_url("type.googleapis.com/test");
    event.mutable_payload()->set_value("payload of " + id);
    return event;
  }
  static v1::PublishRequest Request(const std::vector<v1::Event>& events) {
    v1::PublishRequest request;
    for (const v1::Event& event : events) *request.add_events() = event;
    return request;
  }
  absl::StatusOr<v1::PublishResponse> Publish(const std::vector<v1::Event>& events) {
    const v1::PublishRequest request = Request(events);
    return testing::Run(loop_, units().Publish(call_, request));
  }
  void PublishMany(int count, const std::string& prefix, const std::string& type = "model.created") {
    std::vector<v1::Event> events;
    for (int i = 0; i < count; ++i) {
      events.push_back(Make(absl::StrCat(prefix, i), type));
      if (events.size() < 1000 && i + 1 < count) continue;
      ASSERT_THAT(Publish(events), testing::IsOk());
      events.clear();
    }
  }

  // Subscribes in the background.
  std::shared_ptr<Reader> Subscribe(const v1::SubscribeRequest& request) {
    auto reader = std::make_shared<Reader>(loop_);
    auto leave = leave_.emplace_back(std::make_shared<asio::cancellation_signal>());
    asio::co_spawn(loop_, SubscribeTask(request, reader),
                   asio::bind_cancellation_slot(leave->slot(), [leave](std::exception_ptr) {}));
    return reader;
  }
  Task<void> SubscribeTask(v1::SubscribeRequest request, std::shared_ptr<Reader> reader) {
    CallContext call = call_;
    reader->status = co_await units().Subscribe(call, request, *reader);
    reader->ended = true;
  }

  // Runs the loop until `done`, for at most ten seconds.
  bool RunUntil(const std::function<bool()>& done) {
    const absl::Time give_up = absl::Now() + absl::Minutes(2);
    loop_.restart();
    while (!done() && absl::Now() < give_up) loop_.run_one_for(std::chrono::milliseconds(100));
    return done();
  }

  Loop loop_;
  std::unique_ptr<pg::Database> db_;
  std::unique_ptr<Service> service_;
  CallContext call_;
  std::vector<std::shared_ptr<asio::cancellation_signal>> leave_;
};

}  // namespace aima::event
