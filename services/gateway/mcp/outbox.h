// Messages on their way to one client.
#pragma once

#include <absl/time/time.h>

#include <boost/asio/steady_timer.hpp>
#include <cstdint>
#include <deque>
#include <string>
#include <utility>

#include "libs/base/task.h"

namespace aima::gateway::mcp {

// Written by whoever has something to say, read by the one who holds the client's connection; keeps what was read, so
// that a client that lost its connection can have it again. Used on the loop.
class Outbox {
 public:
  explicit Outbox(Loop& loop) : wake_(loop) {}

  // False if it was left out: `droppable` messages are, once there are too many.
  bool Push(std::string message, bool droppable = false);
  // Nothing if the same message waits already: for those that say no more than that something has changed, so that a client
  // who does not read finds one of each.
  void PushOnce(std::string message);
  // The same as Push, before everything that has not been read. Nothing has been read yet.
  void PushFirst(std::string message);
  // The last message.
  void Finish(std::string message);
  // There will be no message any more.
  void Close();

  // Message number `index`; null if it has not come.
  const std::string* At(size_t index) const {
    return index >= first_ && index < size() ? &messages_[index - first_] : nullptr;
  }
  // Numbers of the oldest message that is kept, and of the next one to come.
  size_t first() const { return first_; }
  size_t size() const { return first_ + messages_.size(); }
  bool closed() const { return closed_; }
  // True of the message that Finish gave.
  bool IsLast(size_t index) const { return finished_ && index + 1 == size(); }
  // Of the messages that are kept.
  size_t bytes() const;
  // Forgets what comes before message `index`.
  void Forget(size_t index);

  // Ends the connection of whoever reads; the messages stay.
  void Interrupt();
  bool TakeInterrupt() { return std::exchange(interrupted_, false); }

  // Whoever reads says so first, and is given a number. Only the newest may go on: those before it wake, and leave.
  int64_t TakeOver();
  bool IsReader(int64_t number) const { return number == reader_; }

  // For the reader. Returns when something has happened since message `index`, or after `at_most`.
  Task<void> Wait(size_t index, absl::Duration at_most);

 private:
  boost::asio::steady_timer wake_;
  std::deque<std::string> messages_;
  size_t first_ = 0;
  bool finished_ = false;
  bool closed_ = false;
  bool interrupted_ = false;
  int64_t reader_ = 0;
};

}  // namespace aima::gateway::mcp
