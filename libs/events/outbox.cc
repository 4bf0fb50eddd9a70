#include <absl/strings/ascii.h>
#include <absl/time/clock.h>
#include <spdlog/spdlog.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <utility>

#include "aima/unit/v1/unit.pb.h"
#include "libs/base/ids.h"
#include "libs/errors/errors.h"
#include "libs/events/events.h"

namespace aima::events {
namespace {

namespace asio = boost::asio;
using event::v1::PublishRequest;
using event::v1::PublishResponse;

constexpr pg::Statement kEmit{
    "outbox_emit", "INSERT INTO outbox (id, type, time, correlation_id, payload) VALUES ($1, $2, $3, $4, $5)"};
constexpr pg::Statement kRead{
    "outbox_read", "SELECT seq, id, type, time, correlation_id, payload FROM outbox ORDER BY seq LIMIT $1"};
constexpr pg::Statement kDelete{"outbox_delete", "DELETE FROM outbox WHERE seq = ANY($1::bigint[])"};
constexpr pg::Statement kForget{"idempotency_forget",
                                "DELETE FROM idempotency WHERE created < now() - interval '48 hours'"};

constexpr int kBatch = 500;
constexpr size_t kBatchBytes = 1 << 20;
constexpr size_t kMostTold = 10'000;
constexpr absl::Duration kFirstPause = absl::Milliseconds(50);
constexpr absl::Duration kLongestPause = absl::Seconds(2);
// Rows can also appear unannounced: a process may die between its commit and its relay, and another takes over.
constexpr absl::Duration kUnannounced = absl::Seconds(30);
// While much is told, what is told waits for so long to travel with more; whatever comes after a pause goes at once.
constexpr absl::Duration kGatherTime = absl::Milliseconds(4);
constexpr absl::Duration kGatherWithin = absl::Milliseconds(20);

// The caller's trace id as the log takes it, whatever the caller has sent: an event must not be lost for it.
std::string CorrelationOf(const CallContext& call) {
  constexpr size_t kMaxCorrelation = 200;
  std::string id = call.trace_id.substr(0, kMaxCorrelation);
  for (char& c : id) {
    if (!absl::ascii_isprint(c)) c = '?';
  }
  return id;
}

// Sets all that a publisher says, whatever `event` held before.
void Fill(const CallContext& call, const google::protobuf::Message& payload, event::v1::Event& event) {
  event.set_id(NewId("evt_"));
  event.set_type(payload.GetDescriptor()->options().GetExtension(unit::v1::event).type());
  event.set_domain(event.type().substr(0, event.type().find('.')));
  const int64_t micros = absl::ToUnixMicros(absl::Now());
  event.mutable_time()->set_seconds(micros / 1'000'000);
  event.mutable_time()->set_nanos(static_cast<int>(micros % 1'000'000) * 1000);
  event.set_correlation_id(CorrelationOf(call));
  event.mutable_payload()->PackFrom(payload);
}

absl::Time TimeOf(const event::v1::Event& event) {
  return absl::FromUnixSeconds(event.time().seconds()) + absl::Nanoseconds(event.time().nanos());
}

void ReadEvent(const pg::Row& row, event::v1::Event& event) {
  event.set_id(row.Get<std::string>(1));
  event.set_type(row.Get<std::string>(2));
  event.set_domain(event.type().substr(0, event.type().find('.')));
  const int64_t micros = absl::ToUnixMicros(row.Get<absl::Time>(3));
  event.mutable_time()->set_seconds(micros / 1'000'000);
  event.mutable_time()->set_nanos(static_cast<int>(micros % 1'000'000) * 1000);
  event.set_correlation_id(row.Get<std::string>(4));
  event.mutable_payload()->ParseFromString(row.Get<pg::Bytes>(5).data);
}

CallContext RelayCall() {
  CallContext call;
  call.unit = "event.publish";
  call.request_id = NewId("bg_");
  call.trace_id = call.request_id;
  call.deadline = absl::Now() + absl::Seconds(20);
  return call;
}

}  // namespace

pg::Operation EventOutbox::Emit(const CallContext& call, const google::protobuf::Message& payload) {
  event::v1::Event event;
  Fill(call, payload, event);
  return {kEmit,
          {event.id(), event.type(), TimeOf(event), event.correlation_id(),
           pg::Bytes{event.payload().SerializeAsString()}},
          [this] {
            rows_ = true;
            Wake();
          }};
}

void EventOutbox::Tell(const CallContext& call, const google::protobuf::Message& payload) {
  if (told_.size() >= kMostTold) {
    spare_.push_back(std::move(told_.front()));
    told_.pop_front();
    if (dropped_++ % 1000 == 0) spdlog::warn("events dropped: the event service is away, dropped={}", dropped_);
  }
  if (spare_.empty()) spare_.push_back(std::make_unique<event::v1::Event>());
  Fill(call, payload, *spare_.back());
  told_.push_back(std::move(spare_.back()));
  spare_.pop_back();
  Wake();
}

void EventOutbox::Wake() {
  if (std::exchange(work_, true)) return;
  wake_.cancel();
}

Task<void> EventOutbox::AwaitWork(absl::Duration at_most) {
  wake_.expires_after(absl::ToChronoMilliseconds(at_most));
  co_await wake_.async_wait(asio::as_tuple(asio::use_awaitable));
}

Task<void> EventOutbox::Run() {
  absl::Duration pause = kFirstPause;
  while (true) {
    if (!told_.empty() && absl::Now() - told_at_ < kGatherWithin) {
      work_ = true;  // so that more of it does not cut this short
      co_await AwaitWork(kGatherTime);
    }
    // Whatever comes from here on wakes the relay again.
    work_ = false;
    relaying_ = true;
    absl::StatusOr<bool> done = true;
    if (rows_ || absl::Now() - rows_read_at_ >= kUnannounced) {
      rows_ = false;
      rows_read_at_ = absl::Now();
      done = co_await RelayRows();
      if (!done.ok() || !*done) rows_ = true;
    }
    if (done.ok() && *done) done = co_await RelayTold();
    relaying_ = false;
    if (!done.ok()) {
      // Work that comes does not cut this short, or a service that is away would be called for every write.
      work_ = true;
      co_await AwaitWork(pause);
      pause = std::min(pause * 2, kLongestPause);
      continue;
    }
    pause = kFirstPause;
    if (!*done || work_) continue;
    co_await ForgetOldReplies();
    if (!work_) co_await AwaitWork(kUnannounced);
  }
}

Task<absl::StatusOr<bool>> EventOutbox::RelayRows() {
  const CallContext call = RelayCall();
  CO_ASSIGN_OR_RETURN(const pg::Result rows, co_await db_.Query(call, kRead, {kBatch}));
  if (rows.empty()) co_return true;
  PublishRequest request;
  std::vector<int64_t> published;
  size_t bytes = 0;
  for (int i = 0; i < rows.size() && bytes < kBatchBytes; ++i) {
    ReadEvent(rows[i], *request.add_events());
    published.push_back(rows[i].Get<int64_t>(0));
    bytes += request.events(i).ByteSizeLong();
  }
  const bool last = static_cast<int>(published.size()) == rows.size() && rows.size() < kBatch;
  CO_RETURN_IF_ERROR(co_await Publish(request));
  // Not by range: a transaction that began earlier may commit a lower number any time.
  CO_RETURN_IF_ERROR((co_await db_.Write(call, {{kDelete, {published}}})).status());
  co_return last;
}

Task<absl::StatusOr<bool>> EventOutbox::RelayTold() {
  if (told_.empty()) co_return true;
  told_at_ = absl::Now();
  PublishRequest request;
  size_t bytes = 0;
  while (!told_.empty() && request.events_size() < kBatch && bytes < kBatchBytes) {
    bytes += told_.front()->ByteSizeLong();
    request.mutable_events()->AddAllocated(told_.front().release());
    told_.pop_front();
  }
  const absl::Status status = co_await Publish(request);
  while (request.events_size() > 0) {
    std::unique_ptr<event::v1::Event> event(request.mutable_events()->ReleaseLast());
    if (!status.ok()) {
      told_.push_front(std::move(event));
    } else if (spare_.size() < kBatch) {
      spare_.push_back(std::move(event));
    }
  }
  CO_RETURN_IF_ERROR(status);
  co_return told_.empty();
}

Task<absl::Status> EventOutbox::Publish(const PublishRequest& request) {
  const absl::StatusOr<PublishResponse> response = co_await rpc_.Call<PublishResponse>(RelayCall(), request);
  if (!absl::IsInvalidArgument(response.status())) co_return response.status();
  // One event that the log does not take must not keep all others from it.
  co_return co_await PublishOneByOne(request);
}

Task<absl::Status> EventOutbox::PublishOneByOne(const PublishRequest& request) {
  for (const event::v1::Event& event : request.events()) {
    PublishRequest one;
    *one.add_events() = event;
    const absl::StatusOr<PublishResponse> response = co_await rpc_.Call<PublishResponse>(RelayCall(), one);
    if (absl::IsInvalidArgument(response.status())) {
      spdlog::error("event refused by the log: id={} type={} error={}", event.id(), event.type(),
                    DetailsOf(response.status()).message);
    } else if (!response.ok()) {
      co_return response.status();
    }
  }
  co_return absl::OkStatus();
}

Task<void> EventOutbox::Flush(absl::Time deadline) {
  while ((work_ || relaying_ || !told_.empty()) && absl::Now() < deadline) {
    asio::steady_timer pause(loop_);
    pause.expires_after(std::chrono::milliseconds(2));
    co_await pause.async_wait(asio::as_tuple(asio::use_awaitable));
  }
}

Task<void> EventOutbox::ForgetOldReplies() {
  if (absl::Now() - replies_forgotten_ < absl::Hours(1)) co_return;
  replies_forgotten_ = absl::Now();
  (void)co_await db_.Write(RelayCall(), {{kForget, {}}});
}

std::unique_ptr<EventOutbox> MakeOutbox(Loop& loop, pg::Database& db, rpc::Client& rpc) {
  return std::make_unique<EventOutbox>(loop, db, rpc);
}

}  // namespace aima::events
