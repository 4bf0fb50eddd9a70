#include "services/inference/flight.h"

#include <absl/strings/str_cat.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <utility>

#include "libs/errors/errors.h"

namespace aima::inference {
namespace asio = boost::asio;

Task<void> Waiter::Wait(absl::Time deadline) {
  if (woken_) co_return;
  if (deadline == absl::InfiniteFuture()) {
    timer_.expires_at(std::chrono::steady_clock::time_point::max());
  } else {
    timer_.expires_after(absl::ToChronoNanoseconds(deadline - absl::Now()));
  }
  co_await timer_.async_wait(asio::as_tuple(asio::use_awaitable));
}

void Waiter::Wake() {
  woken_ = true;
  timer_.cancel();
}

Task<void> StopIfCancelled() { co_return; }

absl::Status GaveUp(absl::Time deadline, const std::string& what) {
  if (absl::Now() >= deadline) {
    return Error(unit::v1::DEADLINE_EXCEEDED, absl::StrCat("the deadline passed while waiting for ", what));
  }
  return Error(unit::v1::CANCELLED, absl::StrCat("the caller left while waiting for ", what));
}

std::shared_ptr<Flight> Flight::Launch(Loop& loop, Task<absl::Status> work) {
  std::shared_ptr<Flight> flight(new Flight(loop));
  asio::co_spawn(loop, Run(flight, std::move(work)), asio::detached);
  return flight;
}

Task<void> Flight::Run(std::shared_ptr<Flight> flight, Task<absl::Status> work) {
  flight->outcome_ = co_await std::move(work);
  for (Waiter* waiter : flight->waiters_) waiter->Wake();
}

Task<absl::Status> Flight::Wait(absl::Time deadline, std::string what) {
  // Holds the flight, and leaves the list however this coroutine ends.
  struct Place {
    Place(std::shared_ptr<Flight> f) : flight(std::move(f)), waiter(flight->loop_) {
      at = flight->waiters_.insert(flight->waiters_.end(), &waiter);
    }
    ~Place() { flight->waiters_.erase(at); }
    std::shared_ptr<Flight> flight;
    Waiter waiter;
    std::list<Waiter*>::iterator at;
  } place(shared_from_this());
  if (!outcome_) co_await place.waiter.Wait(deadline);
  if (!outcome_) co_return GaveUp(deadline, what);
  co_return *outcome_;
}

}  // namespace aima::inference
