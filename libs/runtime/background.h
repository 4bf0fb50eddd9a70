// Work of a process that no caller waits for.
#pragma once

#include <absl/time/time.h>

#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/steady_timer.hpp>
#include <map>
#include <memory>

#include "libs/base/task.h"

namespace aima::runtime {

// Begins work, and ends it in order: told to end, it stops at what it waits for, and whatever it holds is given back while
// everything that it uses is still there. Used on its loop only.
class Background {
 public:
  explicit Background(Loop& loop) : loop_(loop), changed_(loop) {}

  void Spawn(Task<void> task);

  // Tells all of it to end, also what is begun meanwhile, and returns when it has, or at the deadline. Returns how much of
  // it goes on.
  Task<int> End(absl::Time deadline);

 private:
  // Shared with the task that it ends, which hears of it only in the loop's next turn.
  using Signal = std::shared_ptr<boost::asio::cancellation_signal>;

  Loop& loop_;
  boost::asio::steady_timer changed_;
  std::map<Signal, bool> running_;  // whether it was told to end
};

}  // namespace aima::runtime
