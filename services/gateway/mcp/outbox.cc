#include "services/gateway/mcp/outbox.h"

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace aima::gateway::mcp {
namespace {

constexpr size_t kMaxDroppable = 1000;

}  // namespace

bool Outbox::Push(std::string message, bool droppable) {
  if (closed_ || (droppable && messages_.size() >= kMaxDroppable)) return false;
  messages_.push_back(std::move(message));
  wake_.cancel();
  return true;
}

void Outbox::PushOnce(std::string message) {
  // The first may be on its way already, from before the change.
  if (messages_.size() > 1 && std::find(messages_.begin() + 1, messages_.end(), message) != messages_.end()) return;
  Push(std::move(message));
}

void Outbox::PushFirst(std::string message) {
  messages_.push_front(std::move(message));
  wake_.cancel();
}

void Outbox::Finish(std::string message) {
  if (closed_) return;
  messages_.push_back(std::move(message));
  finished_ = true;
  Close();
}

void Outbox::Close() {
  closed_ = true;
  wake_.cancel();
}

size_t Outbox::bytes() const {
  size_t sum = 0;
  for (const std::string& message : messages_) sum += message.size();
  return sum;
}

void Outbox::Forget(size_t index) {
  while (first_ < index && !messages_.empty()) {
    messages_.pop_front();
    ++first_;
  }
}

void Outbox::Interrupt() {
  interrupted_ = true;
  wake_.cancel();
}

int64_t Outbox::TakeOver() {
  wake_.cancel();
  return ++reader_;
}

Task<void> Outbox::Wait(size_t index, absl::Duration at_most) {
  if (index < size() || closed_ || interrupted_) co_return;
  wake_.expires_after(absl::ToChronoMilliseconds(at_most));
  (void)co_await wake_.async_wait(boost::asio::as_tuple(boost::asio::use_awaitable));
}

}  // namespace aima::gateway::mcp
