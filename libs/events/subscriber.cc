#include "libs/events/subscriber.h"

#include <absl/time/clock.h>
#include <spdlog/spdlog.h>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "libs/base/ids.h"
#include "libs/errors/errors.h"
#include "libs/events/events.h"

namespace aima::events {
namespace {

namespace asio = boost::asio;
constexpr absl::Duration kFirstPause = absl::Milliseconds(50);
constexpr absl::Duration kLongestPause = absl::Seconds(2);

}  // namespace

struct EventSubscriber::Subscription {
  Subscription(Loop& loop, rpc::Client& rpc, std::vector<std::string> types, Handler handler,
               std::function<Task<void>()> on_gap)
      : loop(loop), rpc(rpc), types(std::move(types)), handler(std::move(handler)), on_gap(std::move(on_gap)) {}

  Loop& loop;
  rpc::Client& rpc;
  std::vector<std::string> types;
  Handler handler;
  std::function<Task<void>()> on_gap;
  std::optional<int64_t> cursor;  // everything up to here is handled; without one there is a gap
  bool heard = false;             // a batch came since the last attempt
  asio::cancellation_signal stop;
};

EventSubscriber::~EventSubscriber() {
  for (auto& subscription : subscriptions_) subscription->stop.emit(asio::cancellation_type::terminal);
}

void EventSubscriber::On(std::vector<std::string> types, Handler handler, std::function<Task<void>()> on_gap) {
  auto subscription =
      std::make_shared<Subscription>(loop_, rpc_, std::move(types), std::move(handler), std::move(on_gap));
  subscriptions_.push_back(subscription);
  asio::co_spawn(loop_, Follow(subscription),
                 asio::bind_cancellation_slot(subscription->stop.slot(), [subscription](std::exception_ptr error) {
                   try {
                     if (error) std::rethrow_exception(error);
                   } catch (const boost::system::system_error& ended) {
                     if (ended.code() == asio::error::operation_aborted) return;
                     spdlog::critical("subscription ended: {}", ended.what());
                   } catch (const std::exception& defect) {
                     spdlog::critical("subscription ended: {}", defect.what());
                   }
                 }));
}

Task<void> EventSubscriber::Follow(std::shared_ptr<Subscription> subscription) {
  absl::Duration pause = kFirstPause;
  for (bool first = true;; first = false) {
    subscription->heard = false;
    const absl::Status status = co_await FollowOnce(*subscription);
    if (status.code() == absl::StatusCode::kOutOfRange) subscription->cursor.reset();
    if (subscription->heard) {
      pause = kFirstPause;
      if (status.ok()) continue;
    } else if (first && subscription->on_gap) {
      // The event service is not up yet; the state can be read all the same.
      co_await subscription->on_gap();
    }
    asio::steady_timer timer(subscription->loop);
    timer.expires_after(absl::ToChronoMilliseconds(pause));
    co_await timer.async_wait(asio::use_awaitable);
    pause = std::min(pause * 2, kLongestPause);
  }
}

Task<absl::Status> EventSubscriber::FollowOnce(Subscription& subscription) {
  CallContext call;
  call.unit = "event.subscribe";
  call.request_id = NewId("bg_");
  call.trace_id = call.request_id;
  event::v1::SubscribeRequest request;
  for (const std::string& type : subscription.types) request.add_types(type);
  if (subscription.cursor) request.set_after(*subscription.cursor);
  auto reader = subscription.rpc.Stream<event::v1::Batch>(call, request);
  while (true) {
    CO_ASSIGN_OR_RETURN(const std::optional<event::v1::Batch> batch, co_await reader->Next());
    if (!batch) co_return absl::OkStatus();
    subscription.heard = true;
    if (!subscription.cursor) {
      // The first batch comes at once: from here on nothing is missed, so the state that is read now is not
      // outdated by an event that is not heard.
      if (subscription.on_gap) co_await subscription.on_gap();
      subscription.cursor = batch->events().empty() ? batch->cursor() : batch->events(0).sequence() - 1;
    }
    for (const event::v1::Event& event : batch->events()) {
      co_await subscription.handler(event);
      subscription.cursor = event.sequence();
    }
    subscription.cursor = batch->cursor();
  }
}

std::unique_ptr<EventSubscriber> MakeSubscriber(Loop& loop, rpc::Client& rpc) {
  return std::make_unique<EventSubscriber>(loop, rpc);
}

}  // namespace aima::events
