#include "libs/pg/lane.h"

#include <absl/time/clock.h>

#include <algorithm>
#include <boost/asio/async_result.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cstring>

#include "libs/errors/errors.h"
#include "libs/pg/sql_status.h"

namespace aima::pg {
namespace {

namespace asio = boost::asio;

constexpr int kReadBatches = 8;
constexpr size_t kReadBatch = 64;    // a caller waits for the slowest statement of its batch
constexpr size_t kWriteBatch = 256;
constexpr int kMostSeparations = 3;  // then every request of a batch goes on its own
constexpr int kMostAttempts = 5;

// Text with a NUL would be cut off by libpq: PostgreSQL cannot store it.
bool HasNul(const std::vector<Operation>& operations) {
  for (const Operation& operation : operations) {
    for (const Value& value : operation.values) {
      if (value.format() == 0 && value.data() && memchr(value.data(), 0, value.size())) return true;
    }
  }
  return false;
}

}  // namespace

template <class Handler>
struct Lane::HandlerWaiter : Lane::Waiter {
  explicit HandlerWaiter(Handler from) : handler(std::move(from)) {
    slot = asio::get_associated_cancellation_slot(handler);
  }
  void Resume(Outcome outcome) override { std::move(handler)(std::move(outcome)); }
  Handler handler;
};

std::shared_ptr<Lane> Lane::Open(Loop& loop, const Options& options, Traffic traffic) {
  std::shared_ptr<Lane> lane(new Lane(loop, traffic));
  std::weak_ptr<Lane> weak = lane;
  lane->connection_ = std::make_shared<Connection>(loop, options, traffic == Traffic::kReads, [weak] {
    if (auto self = weak.lock()) self->OnState();
  });
  lane->connection_->Start();
  return lane;
}

void Lane::Close() {
  connection_->Close();
  timer_.cancel();
  queue_.clear();
  // Those who wait are answered by nobody any more, but may leave: what is outstanding stays known for that.
}

Task<Lane::Outcome> Lane::Run(const CallContext& call, std::vector<Operation> operations, int epoch) {
  if (call.deadline <= absl::Now()) co_return TooLate("waiting for the database");
  if (connection_->state() == Connection::State::kDown) co_return Unreachable(connection_->why());
  if (HasNul(operations)) co_return InvalidInput("", "text must not contain the character U+0000");
  auto request = std::make_shared<Request>();
  request->operations = std::move(operations);
  request->deadline = call.deadline;
  request->epoch = epoch;
  auto initiate = [this, &request](auto handler) {
    request->waiter = std::make_unique<HandlerWaiter<decltype(handler)>>(std::move(handler));
    if (request->waiter->slot.is_connected()) {
      std::weak_ptr<Request> waiting = request;
      request->waiter->slot.assign([weak = weak_from_this(), waiting](asio::cancellation_type) {
        auto self = weak.lock();
        auto request = waiting.lock();
        if (!self || !request) return;
        asio::post(self->loop_,
                   [self, request] { self->Complete(*request, Error(unit::v1::CANCELLED, "cancelled")); });
      });
    }
    Enqueue(request);
  };
  co_return co_await asio::async_initiate<const asio::use_awaitable_t<>, void(Outcome)>(initiate,
                                                                                        asio::use_awaitable);
}

void Lane::Post(std::vector<Operation> operations, int epoch) {
  auto request = std::make_shared<Request>();
  request->operations = std::move(operations);
  request->deadline = absl::InfiniteFuture();
  request->epoch = epoch;
  Enqueue(std::move(request));
}

void Lane::Enqueue(std::shared_ptr<Request> request) {
  request->alone = traffic_ == Traffic::kTurns;
  request->place = outstanding_.insert(outstanding_.end(), request);
  WatchDeadline(request->deadline);
  queue_.push_back(std::move(request));
  SchedulePump();
}

// Sending waits for the end of the loop's turn, so that all who came in this turn share a batch.
void Lane::SchedulePump() {
  if (pump_scheduled_) return;
  pump_scheduled_ = true;
  asio::post(loop_, [weak = weak_from_this()] {
    if (auto self = weak.lock()) self->Pump();
  });
}

void Lane::Pump() {
  pump_scheduled_ = false;
  const int most = traffic_ == Traffic::kWrites ? 1 : kReadBatches;
  while (connection_->state() == Connection::State::kReady && in_flight_ < most && !queue_.empty()) {
    Requests batch = TakeBatch();
    if (!batch.empty()) SendBatch(std::move(batch));
  }
}

Lane::Requests Lane::TakeBatch() {
  const size_t most = traffic_ == Traffic::kWrites ? kWriteBatch : kReadBatch;
  Requests batch;
  while (!queue_.empty() && batch.size() < most) {
    std::shared_ptr<Request>& first = queue_.front();
    if (first->phase == Request::kDone) {  // its caller left
      queue_.pop_front();
      continue;
    }
    if (first->epoch != 0 && first->epoch != epoch()) {
      auto stale = std::move(first);
      queue_.pop_front();
      Complete(*stale, Unreachable("the connection was lost in the middle of a transaction"));
      continue;
    }
    if (first->alone && !batch.empty()) break;
    batch.push_back(std::move(first));
    queue_.pop_front();
    if (batch.back()->alone) break;
  }
  return batch;
}

void Lane::SendBatch(Requests batch) {
  std::vector<const Operation*> operations;
  for (auto& request : batch) {
    request->phase = Request::kSent;
    for (const Operation& operation : request->operations) operations.push_back(&operation);
  }
  ++in_flight_;
  connection_->Send(operations, [weak = weak_from_this(), batch = std::move(batch)](Reply reply) mutable {
    if (auto self = weak.lock()) self->OnReply(std::move(batch), std::move(reply));
  });
}

void Lane::OnReply(Requests batch, Reply reply) {
  --in_flight_;
  if (!queue_.empty()) SchedulePump();
  if (reply.lost) {
    const std::string why = DetailsOf(reply.status).message;
    for (auto& request : batch) {
      NotifyCommitted(*request);
      Complete(*request, traffic_ == Traffic::kWrites ? OutcomeUnknown(why) : reply.status);
    }
    return;
  }
  if (!reply.status.ok()) return Separate(std::move(batch), reply);
  separations_ = 0;
  size_t next = 0;
  for (auto& request : batch) {
    const size_t count = request->operations.size();
    std::vector<Result> results(std::make_move_iterator(reply.results.begin() + next),
                                std::make_move_iterator(reply.results.begin() + next + count));
    next += count;
    NotifyCommitted(*request);
    Complete(*request, std::move(results));
  }
}

// The server refused one request and undid the batch.
void Lane::Separate(Requests batch, const Reply& reply) {
  if (batch.size() == 1) {
    Request& only = *batch.front();
    if (!TryAgain(only, reply.status)) return Complete(only, reply.status);
    ++only.attempts;
  }
  int end = 0;
  std::shared_ptr<Request> refused;
  for (auto& request : batch) {
    end += static_cast<int>(request->operations.size());
    if (reply.failed >= 0 && reply.failed < end && !refused) refused = request;
  }
  const bool all_alone = !refused || ++separations_ > kMostSeparations;
  if (all_alone) separations_ = 0;
  // Those that did nothing wrong first: the refusal may have been due to what another one of the batch did.
  if (refused) {
    batch.erase(std::find(batch.begin(), batch.end(), refused));
    batch.push_back(refused);
  }
  for (auto request = batch.rbegin(); request != batch.rend(); ++request) {
    if ((*request)->phase == Request::kDone) continue;  // answered that it is not known, and undone
    (*request)->phase = Request::kQueued;
    (*request)->alone = all_alone || *request == refused;
    queue_.push_front(std::move(*request));
  }
  SchedulePump();
}

bool Lane::TryAgain(Request& request, const absl::Status& status) const {
  if (traffic_ == Traffic::kTurns || request.attempts >= kMostAttempts) return false;
  if (request.phase == Request::kDone) return false;
  // 26000: the statement's preparation was undone by the failure of a batch sent before.
  return IsConflict(status) || SqlState(status) == "26000";
}

void Lane::OnState() {
  if (connected()) return SchedulePump();
  if (connection_->state() != Connection::State::kDown) return;
  std::deque<std::shared_ptr<Request>> unsent = std::exchange(queue_, {});
  for (auto& request : unsent) Complete(*request, Unreachable(connection_->why()));
}

// One timer for all: it runs rarely, as nearly all requests are done long before their deadline.
void Lane::WatchDeadline(absl::Time deadline) {
  if (deadline >= timer_at_) return;
  timer_at_ = deadline;
  const absl::Duration wait = std::clamp(deadline - absl::Now(), absl::ZeroDuration(), absl::Hours(1));
  timer_.expires_after(absl::ToChronoNanoseconds(wait));
  timer_.async_wait([weak = weak_from_this()](boost::system::error_code error) {
    auto self = weak.lock();
    if (!error && self) self->OnDeadline();
  });
}

void Lane::OnDeadline() {
  timer_at_ = absl::InfiniteFuture();
  const absl::Time now = absl::Now();
  absl::Time next = absl::InfiniteFuture();
  Requests late;
  for (auto& request : outstanding_) {
    if (request->deadline <= now) {
      late.push_back(request);
    } else {
      next = std::min(next, request->deadline);
    }
  }
  for (auto& request : late) {
    const bool maybe_applied = traffic_ == Traffic::kWrites && request->phase == Request::kSent;
    if (maybe_applied) NotifyCommitted(*request);
    Complete(*request, maybe_applied ? OutcomeUnknown("the deadline passed before the database answered")
                                     : TooLate("waiting for the database"));
  }
  if (next != absl::InfiniteFuture()) WatchDeadline(next);
}

void Lane::Complete(Request& request, Outcome outcome) {
  if (request.phase == Request::kDone) return;
  request.phase = Request::kDone;
  std::shared_ptr<Request> keep = *request.place;
  outstanding_.erase(request.place);
  if (!request.waiter) return;
  std::unique_ptr<Waiter> waiter = std::move(request.waiter);
  if (waiter->slot.is_connected()) waiter->slot.clear();
  waiter->Resume(std::move(outcome));
}

// In an explicit transaction nothing is committed yet.
void Lane::NotifyCommitted(const Request& request) const {
  if (traffic_ != Traffic::kWrites) return;
  for (const Operation& operation : request.operations) {
    if (operation.on_commit) operation.on_commit();
  }
}

}  // namespace aima::pg
