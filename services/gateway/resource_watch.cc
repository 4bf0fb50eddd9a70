#include "services/gateway/resource_watch.h"

#include <absl/cleanup/cleanup.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <nlohmann/json.hpp>
#include <set>

#include "libs/base/status_macros.h"

namespace aima::gateway {

namespace asio = boost::asio;

namespace {

// Events come in bursts; a resource is read at most this often.
constexpr absl::Duration kSettle = absl::Milliseconds(20);
// Also read now and then, so that a view whose events were declared too narrowly is late rather than wrong.
constexpr absl::Duration kLongestWait = absl::Seconds(15);

}  // namespace

ResourceWatch::ResourceWatch(Loop& loop, const Catalogue& catalogue, UnitRunner& runner, events::Subscriber& events)
    : loop_(loop), runner_(runner) {
  std::set<std::string> types;
  for (const ViewInfo& view : catalogue.views()) {
    types.insert(view.view.refresh_on().begin(), view.view.refresh_on().end());
  }
  if (types.empty()) return;
  events.On({types.begin(), types.end()},
            [this](const event::v1::Event& event) -> Task<void> {
              cursor_ = event.sequence();
              Wake(event.type());
              co_return;
            },
            [this]() -> Task<void> {
              for (auto& [type, watcher] : watchers_) {
                watcher->stale = true;
                watcher->wake.cancel();
              }
              co_return;
            });
}

void ResourceWatch::Wake(const std::string& type) {
  const auto [begin, end] = watchers_.equal_range(type);
  for (auto entry = begin; entry != end; ++entry) {
    entry->second->stale = true;
    entry->second->wake.cancel();
  }
}

Task<void> ResourceWatch::Wait(Watcher& watcher, absl::Duration at_most) {
  if (!watcher.stale) {
    watcher.wake.expires_after(absl::ToChronoMilliseconds(at_most));
    co_await watcher.wake.async_wait(asio::as_tuple(asio::use_awaitable));
  }
  if (!watcher.stale) co_return;
  watcher.stale = false;
  asio::steady_timer settle(loop_, absl::ToChronoMilliseconds(kSettle));
  co_await settle.async_wait(asio::use_awaitable);
}

Task<absl::Status> ResourceWatch::Watch(CallContext call, const ViewInfo& view, const nlohmann::json& input, Sink sink) {
  Watcher watcher(loop_);
  for (const std::string& type : view.view.refresh_on()) watchers_.emplace(type, &watcher);
  absl::Cleanup forget = [&] {
    for (auto entry = watchers_.begin(); entry != watchers_.end();) {
      entry = entry->second == &watcher ? watchers_.erase(entry) : std::next(entry);
    }
  };
  const absl::Duration interval =
      view.view.interval_ms() > 0 ? std::min(kLongestWait, absl::Milliseconds(view.view.interval_ms())) : kLongestWait;
  std::string last;
  for (bool first = true;; first = false) {
    const int64_t cursor = cursor_;  // what happens while the query runs is not in its answer
    absl::StatusOr<Output> output = co_await runner_.Run(call, *view.unit, input, {});
    if (!output.ok() && (first || output.status().code() == absl::StatusCode::kNotFound)) co_return output.status();
    // A service that is away for a moment keeps its watchers waiting.
    if (output.ok() && output->json != last) {
      CO_RETURN_IF_ERROR(co_await sink(output->json, cursor));
      last = std::move(output->json);
    }
    co_await Wait(watcher, interval);
  }
}

}  // namespace aima::gateway
