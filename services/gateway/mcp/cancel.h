// Cancelling what was spawned on the loop.
#pragma once

#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/post.hpp>
#include <memory>

#include "libs/base/task.h"

namespace aima::gateway::mcp {

// Cancels through `signal`, which belongs to `owner`. The cancellation may arrive with a later turn of the loop, and the
// signal has to be there until then, even if what it cancels ends before.
inline void CancelThrough(Loop& loop, std::shared_ptr<const void> owner, boost::asio::cancellation_signal& signal) {
  signal.emit(boost::asio::cancellation_type::terminal);
  boost::asio::post(loop, [owner = std::move(owner)] {});
}

}  // namespace aima::gateway::mcp
