#include "libs/pg/pool.h"

#include <absl/time/clock.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "libs/pg/sql_status.h"

namespace aima::pg {

namespace asio = boost::asio;

void Pool::Close() {
  closed_ = true;
  for (auto& lane : all_) lane->Close();
  free_.clear();
}

void Pool::Abandon(const std::string& why) {
  const auto lanes = all_;  // those who hear of it may take another
  for (auto& lane : lanes) lane->Abandon(why);
}

Task<absl::StatusOr<Pool::Lease>> Pool::Take(const CallContext& call) {
  if (closed_) co_return Unreachable("it is being closed");
  if (free_.empty() && static_cast<int>(all_.size()) < options_.transaction_connections) {
    all_.push_back(Lane::Open(loop_, options_, Traffic::kTurns));
    free_.push_back(all_.back());
  }
  if (!free_.empty()) {
    // One that is not still busy with the end of its last transaction, if there is one.
    auto best = std::find_if(free_.begin(), free_.end(), [](auto& lane) { return lane->idle(); });
    if (best == free_.end()) best = free_.begin();
    std::shared_ptr<Lane> lane = std::move(*best);
    free_.erase(best);
    co_return Lease(shared_from_this(), std::move(lane));
  }
  // A waiter whose coroutine is destroyed while it waits gives back what it was granted meanwhile.
  std::shared_ptr<Waiter> waiter(new Waiter(loop_), [pool = shared_from_this()](Waiter* gone) {
    if (gone->granted) pool->GiveBack(std::move(gone->granted));
    delete gone;
  });
  waiters_.push_back(waiter);
  const absl::Duration wait = std::clamp(call.deadline - absl::Now(), absl::ZeroDuration(), absl::Hours(24));
  waiter->timer.expires_after(absl::ToChronoNanoseconds(wait));
  co_await waiter->timer.async_wait(asio::as_tuple(asio::use_awaitable));
  if (!waiter->granted) co_return TooLate("waiting for a connection to the database");
  co_return Lease(shared_from_this(), std::move(waiter->granted));
}

void Pool::GiveBack(std::shared_ptr<Lane> lane) {
  if (closed_) return;
  while (!waiters_.empty()) {
    std::shared_ptr<Waiter> next = waiters_.front().lock();
    waiters_.pop_front();
    if (!next) continue;
    // Zero: its time ran out in this very turn.
    if (next->timer.cancel() == 0) continue;
    next->granted = std::move(lane);
    return;
  }
  free_.push_back(std::move(lane));
}

}  // namespace aima::pg
