// Wakes one coroutine.
#pragma once

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <utility>

#include "libs/base/task.h"

namespace aima::event {

// Set wakes the coroutine that waits, or the next one that does. For one waiter at a time, on one loop.
class Signal {
 public:
  explicit Signal(Loop& loop) : timer_(loop) {}

  void Set() {
    if (std::exchange(set_, true)) return;
    timer_.cancel();
  }

  // True if it was set, false if the time passed before.
  Task<bool> Wait(boost::asio::steady_timer::duration at_most) {
    if (!set_) {
      timer_.expires_after(at_most);
      co_await timer_.async_wait(boost::asio::as_tuple(boost::asio::use_awaitable));
    }
    co_return std::exchange(set_, false);
  }

 private:
  boost::asio::steady_timer timer_;
  bool set_ = false;
};

}  // namespace aima::event
