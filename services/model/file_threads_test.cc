#include "services/model/file_threads.h"

#include <gtest/gtest.h>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <chrono>
#include <future>
#include <thread>

namespace aima::model {
namespace {

// Slow work that goes on for as long as it may, and at most ten seconds; tells how it ended.
auto Endless(std::promise<absl::Status>& ended) {
  return [&ended](const FileThreads::GoOn& go_on) {
    absl::Status status;
    for (int i = 0; i < 10'000 && status.ok(); ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      status = go_on();
    }
    ended.set_value(status);
    return 0;
  };
}

TEST(FileThreads, SlowWorkEndsWhenItsCallerLeaves) {
  Loop loop;
  FileThreads threads;
  std::promise<absl::Status> ended;
  boost::asio::cancellation_signal leave;
  boost::asio::co_spawn(loop, threads.RunSlow(absl::InfiniteFuture(), Endless(ended)),
                        boost::asio::bind_cancellation_slot(leave.slot(), [](std::exception_ptr, int) {}));
  loop.poll();
  leave.emit(boost::asio::cancellation_type::terminal);
  loop.run();
  EXPECT_EQ(ended.get_future().get().code(), absl::StatusCode::kCancelled);
}

TEST(FileThreads, SlowWorkEndsAtItsDeadline) {
  Loop loop;
  FileThreads threads;
  std::promise<absl::Status> ended;
  boost::asio::co_spawn(loop, threads.RunSlow(absl::Now(), Endless(ended)), [](std::exception_ptr, int) {});
  loop.run();
  EXPECT_EQ(ended.get_future().get().code(), absl::StatusCode::kDeadlineExceeded);
}

}  // namespace
}  // namespace aima::model
