// One coroutine that waits for something that a callback will tell.
#pragma once

#include <boost/asio/any_completion_handler.hpp>
#include <memory>
#include <utility>

namespace aima {

// Holds the completion handler of an asynchronous operation in hand. (Boost 1.81's any_completion_handler recurses
// without end when it is assigned, hence the indirection.)
template <class... Results>
class Waiter {
 public:
  template <class Handler>
  void Set(Handler handler) {
    handler_ = std::make_unique<boost::asio::any_completion_handler<void(Results...)>>(std::move(handler));
  }

  // Where the cancellation of whoever waits arrives, after Set. (The slot of the handler that was given to Set is taken:
  // any_completion_handler puts a handler of its own into it.)
  boost::asio::cancellation_slot slot() { return handler_->get_cancellation_slot(); }

  // Resumes whoever waits; false if nobody does.
  bool Resume(Results... results) {
    if (!handler_) return false;
    auto handler = std::move(handler_);
    std::move (*handler)(std::move(results)...);
    return true;
  }

 private:
  std::unique_ptr<boost::asio::any_completion_handler<void(Results...)>> handler_;
};

}  // namespace aima
