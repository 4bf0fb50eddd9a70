// Callers' statements on their way to one connection.
#pragma once

#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/steady_timer.hpp>
#include <deque>
#include <list>
#include <memory>
#include <vector>

#include "libs/pg/connection.h"

namespace aima::pg {

// What a lane is for, which decides how callers share it.
enum class Traffic {
  kReads,   // several batches under way, of many callers each; every statement could be repeated
  kWrites,  // one batch under way at a time, of all callers that came meanwhile: they share its commit
  kTurns,   // one caller at a time, whose statements belong to an explicit transaction
};

// Queues requests while the connection is busy or about to be there, groups them into batches, and gives each caller
// its own outcome: when the server refuses one request of a batch it undoes the batch, so the others are sent
// again without the refused one, which is then tried on its own. A caller that leaves or whose deadline passes is
// answered at once, and the connection goes on.
class Lane : public std::enable_shared_from_this<Lane> {
 public:
  using Outcome = absl::StatusOr<std::vector<Result>>;

  static std::shared_ptr<Lane> Open(Loop& loop, const Options& options, Traffic traffic);
  void Close();

  bool connected() const { return connection_->state() == Connection::State::kReady; }
  bool idle() const { return outstanding_.empty(); }
  int epoch() const { return connection_->epoch(); }

  // Gives up the connection for a new one: what it was sent and has not answered fails.
  void Abandon(const std::string& why) { connection_->Abandon(why); }

  // Runs the operations as one implicit transaction. With an `epoch`, only on that connection.
  Task<Outcome> Run(const CallContext& call, std::vector<Operation> operations, int epoch = 0);

  // The same for nobody who waits.
  void Post(std::vector<Operation> operations, int epoch);

 private:
  // A coroutine that waits.
  struct Waiter {
    virtual ~Waiter() = default;
    virtual void Resume(Outcome outcome) = 0;
    boost::asio::cancellation_slot slot;  // tells when it no longer wants to
  };
  template <class Handler>
  struct HandlerWaiter;
  struct Request {
    std::vector<Operation> operations;
    absl::Time deadline;
    int epoch = 0;
    std::unique_ptr<Waiter> waiter;
    enum { kQueued, kSent, kDone } phase = kQueued;
    bool alone = false;  // not in a batch with others
    int attempts = 0;
    std::list<std::shared_ptr<Request>>::iterator place;
  };
  using Requests = std::vector<std::shared_ptr<Request>>;

  Lane(Loop& loop, Traffic traffic) : loop_(loop), traffic_(traffic), timer_(loop) {}
  void Enqueue(std::shared_ptr<Request> request);
  void SchedulePump();
  void Pump();
  Requests TakeBatch();
  void SendBatch(Requests batch);
  void OnReply(Requests batch, Reply reply);
  void Separate(Requests batch, const Reply& reply);
  bool TryAgain(Request& request, const absl::Status& status) const;
  void OnState();
  void WatchDeadline(absl::Time deadline);
  void OnDeadline();
  void Complete(Request& request, Outcome outcome);
  void NotifyCommitted(const Request& request) const;

  Loop& loop_;
  const Traffic traffic_;
  std::shared_ptr<Connection> connection_;
  boost::asio::steady_timer timer_;
  absl::Time timer_at_ = absl::InfiniteFuture();
  bool pump_scheduled_ = false;
  int in_flight_ = 0;
  int separations_ = 0;  // batches in a row of which one request was refused
  std::deque<std::shared_ptr<Request>> queue_;
  std::list<std::shared_ptr<Request>> outstanding_;
};

}  // namespace aima::pg
