// Work that several callers wait for, each as long as it likes.
#pragma once

#include <absl/status/status.h>
#include <absl/time/time.h>

#include <boost/asio/steady_timer.hpp>
#include <list>
#include <memory>
#include <optional>

#include "libs/base/task.h"

namespace aima::inference {

// One caller's wait for something that another coroutine will tell.
class Waiter {
 public:
  explicit Waiter(Loop& loop) : timer_(loop) {}

  // Returns after Wake, at `deadline`, or when the coroutine is cancelled. Wake may come before.
  Task<void> Wait(absl::Time deadline);
  void Wake();
  bool woken() const { return woken_; }

 private:
  boost::asio::steady_timer timer_;
  bool woken_ = false;
};

// Ends the coroutine that awaits it if its caller has left: an operation that was cancelled returns as one that
// failed, and only this tells the two apart. (Asio throws at the next co_await of a cancelled coroutine; see
// base/task.h.)
Task<void> StopIfCancelled();

// Why a wait ended without being woken: DEADLINE_EXCEEDED or CANCELLED.
absl::Status GaveUp(absl::Time deadline, const std::string& what);

// Runs on when those who wait for it leave.
class Flight : public std::enable_shared_from_this<Flight> {
 public:
  static std::shared_ptr<Flight> Launch(Loop& loop, Task<absl::Status> work);

  // The outcome of the work; DEADLINE_EXCEEDED, naming `what`, if it is not there in time.
  Task<absl::Status> Wait(absl::Time deadline, std::string what);
  bool done() const { return outcome_.has_value(); }

 private:
  explicit Flight(Loop& loop) : loop_(loop) {}
  static Task<void> Run(std::shared_ptr<Flight> flight, Task<absl::Status> work);

  Loop& loop_;
  std::optional<absl::Status> outcome_;
  std::list<Waiter*> waiters_;
};

}  // namespace aima::inference
