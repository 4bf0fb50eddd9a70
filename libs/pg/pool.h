// Connections that transactions borrow.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <deque>
#include <memory>
#include <vector>

#include "libs/pg/lane.h"

namespace aima::pg {

// Opens connections as they are needed, up to Options::transaction_connections; who finds none free waits for its
// turn. Outlives every lease.
class Pool : public std::enable_shared_from_this<Pool> {
 public:
  // A borrowed lane, given back at destruction.
  class Lease {
   public:
    Lease(std::shared_ptr<Pool> pool, std::shared_ptr<Lane> lane) : pool_(std::move(pool)), lane_(std::move(lane)) {}
    Lease(Lease&&) = default;
    Lease& operator=(Lease&&) = delete;
    ~Lease() {
      if (lane_) pool_->GiveBack(std::move(lane_));
    }
    Lane& lane() { return *lane_; }

   private:
    std::shared_ptr<Pool> pool_;
    std::shared_ptr<Lane> lane_;
  };

  Pool(Loop& loop, Options options) : loop_(loop), options_(std::move(options)) {}
  void Close();
  // Gives up all connections for new ones.
  void Abandon(const std::string& why);

  Task<absl::StatusOr<Lease>> Take(const CallContext& call);

 private:
  // Somebody in line. Cancelling its timer wakes it.
  struct Waiter {
    explicit Waiter(Loop& loop) : timer(loop) {}
    boost::asio::steady_timer timer;
    std::shared_ptr<Lane> granted;
  };

  void GiveBack(std::shared_ptr<Lane> lane);

  Loop& loop_;
  const Options options_;
  bool closed_ = false;
  std::vector<std::shared_ptr<Lane>> all_;
  std::vector<std::shared_ptr<Lane>> free_;
  std::deque<std::weak_ptr<Waiter>> waiters_;
};

}  // namespace aima::pg
