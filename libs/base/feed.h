// Long work that several callers wait for and hear about.
#pragma once

#include <absl/status/status.h>

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cstdint>
#include <optional>
#include <utility>

#include "libs/base/task.h"

namespace aima {

// The newest step of some work, and its end. Whoever waits keeps it alive with a shared_ptr; the work itself goes on
// whether anybody waits or not.
template <class Step>
class Feed {
 public:
  explicit Feed(Loop& loop) : changed_(loop, boost::asio::steady_timer::time_point::max()) {}

  void Report(Step step) {
    latest_ = std::move(step);
    ++version_;
    changed_.cancel();
  }

  void Finish(absl::Status result) {
    result_ = std::move(result);
    changed_.cancel();
  }

  bool finished() const { return result_.has_value(); }

  // The newest step that a reader with this cursor (0 at first) has not seen; waits for one. nullopt when the work is
  // done and its last step was seen. Steps that come faster than they are read are passed over.
  Task<std::optional<Step>> Next(uint64_t& cursor) {
    while (cursor == version_ && !finished()) co_await Change();
    if (cursor == version_) co_return std::nullopt;
    cursor = version_;
    co_return latest_;
  }

  Task<absl::Status> Result() {
    while (!finished()) co_await Change();
    co_return *result_;
  }

 private:
  Task<void> Change() {
    boost::system::error_code woken;
    co_await changed_.async_wait(boost::asio::redirect_error(boost::asio::use_awaitable, woken));
  }

  boost::asio::steady_timer changed_;
  std::optional<Step> latest_;
  std::optional<absl::Status> result_;
  uint64_t version_ = 0;
};

}  // namespace aima
