#include "libs/runtime/background.h"

#include <absl/cleanup/cleanup.h>
#include <absl/time/clock.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/local/datagram_protocol.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <filesystem>

#include "libs/base/ids.h"
#include "libs/runtime/service_host.h"
#include "libs/testing/postgres.h"
#include "libs/testing/status_matchers.h"
#include "libs/testing/task.h"

namespace aima::runtime {
namespace {

namespace asio = boost::asio;
using aima::testing::IsOk;

// Notes that whoever holds it has ended.
struct Ended {
  explicit Ended(int& c) : count(c) {}
  ~Ended() { ++count; }
  int& count;
};

Task<void> WaitForever(Loop& loop, int& begun, int& ended) {
  const Ended end(ended);
  ++begun;
  asio::steady_timer forever(loop, asio::steady_timer::time_point::max());
  co_await forever.async_wait(asio::use_awaitable);
}

class BackgroundTest : public ::testing::Test {
 protected:
  int End(absl::Duration within = absl::Minutes(1)) {
    return aima::testing::Run(loop_, background_.End(absl::Now() + within));
  }

  Loop loop_;
  Background background_{loop_};
  int begun_ = 0;
  int ended_ = 0;
};

TEST_F(BackgroundTest, WhatIsToldToEndHasEndedWhenThatReturns) {
  for (int i = 0; i < 3; ++i) background_.Spawn(WaitForever(loop_, begun_, ended_));
  loop_.poll();
  ASSERT_EQ(begun_, 3);
  EXPECT_EQ(End(), 0);
  EXPECT_EQ(ended_, 3);
  EXPECT_EQ(End(), 0);
}

TEST_F(BackgroundTest, WhatEndingWorkBeginsEndsToo) {
  int breaths = 0;
  const auto work = [&]() -> Task<void> {
    const absl::Cleanup last_breath = [&] {
      ++breaths;
      background_.Spawn(WaitForever(loop_, begun_, ended_));
    };
    co_await WaitForever(loop_, begun_, ended_);
  };
  background_.Spawn(work());
  loop_.poll();
  EXPECT_EQ(End(), 0);
  EXPECT_EQ(breaths, 1);
  EXPECT_EQ(ended_, begun_);
}

TEST_F(BackgroundTest, WhatDoesNotEndIsCountedAtTheDeadline) {
  const auto stubborn = [](Loop& loop) -> Task<void> {
    co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
    asio::steady_timer forever(loop, asio::steady_timer::time_point::max());
    co_await forever.async_wait(asio::use_awaitable);
  };
  background_.Spawn(stubborn(loop_));
  background_.Spawn(WaitForever(loop_, begun_, ended_));
  loop_.poll();
  EXPECT_EQ(End(absl::Milliseconds(20)), 1);
  EXPECT_EQ(ended_, 1);
}

// A whole service, from its start to its end by a signal.
TEST(ServiceHost, WorkThatNobodyWaitsForHasEndedBeforeTheProcessDoes) {
  const std::string dir = "/tmp/" + NewId("aima-host-");
  std::filesystem::create_directories(dir + "/run");
  std::filesystem::create_directories(dir + "/share/migrations");
  std::filesystem::create_directory_symlink(AIMA_SOURCE_DIR "/libs/events/migrations", dir + "/share/migrations/events");
  config::v1::Config config;
  config.mutable_general()->set_data_dir(dir);
  aima::testing::Postgres durable(/*durable=*/true);
  config.mutable_database()->set_url(durable.FreshUrl());
  int begun = 0, ended = 0, drained = 0;
  bool late = false;
  {
    Loop loop;
    ServiceHost host(loop, "event", config, dir + "/share");
    const auto wire = [&](Host& domain) -> Task<absl::Status> {
      domain.Spawn(WaitForever(loop, begun, ended));
      domain.OnDrain([&]() -> Task<void> {
        ++drained;
        late = ended > 0;  // what a drain waits for must be there
        co_return;
      });
      co_return absl::OkStatus();
    };
    // Before it serves, the signal would end this program.
    asio::local::datagram_protocol::socket supervisor(loop, asio::local::datagram_protocol::endpoint(dir + "/notify"));
    setenv("NOTIFY_SOCKET", (dir + "/notify").c_str(), 1);
    const auto end_when_it_serves = [&]() -> Task<void> {
      std::string told(256, ' ');
      do {
        co_await supervisor.async_receive(asio::buffer(told), asio::use_awaitable);
      } while (!told.starts_with("READY=1"));
      raise(SIGTERM);
    };
    asio::co_spawn(loop, end_when_it_serves(), asio::detached);
    absl::Status result = absl::UnknownError("it has not ended");
    asio::co_spawn(loop, host.Run(wire), [&](std::exception_ptr, absl::Status status) {
      result = status;
      loop.stop();  // as Main does it: nothing on the loop goes on
    });
    loop.run();
    unsetenv("NOTIFY_SOCKET");
    EXPECT_THAT(result, IsOk());
    EXPECT_EQ(begun, 1);
    EXPECT_EQ(ended, 1);
    EXPECT_EQ(drained, 1);
    EXPECT_FALSE(late);
  }
  std::filesystem::remove_all(dir);
}

}  // namespace
}  // namespace aima::runtime
