#include "services/device/device_watch.h"

#include <absl/time/clock.h>
#include <spdlog/spdlog.h>

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "libs/base/status_macros.h"

namespace aima::device {
namespace {

// Ten ticks of the kernel's clock: the least over which utilization says something.
constexpr auto kFirstPause = std::chrono::milliseconds(100);

}  // namespace

DeviceWatch::DeviceWatch(DeviceMonitor& monitor, DeviceStore& store, events::Outbox& outbox, Periods periods)
    : monitor_(monitor), store_(store), outbox_(outbox), periods_(periods) {}

Task<void> DeviceWatch::Start() {
  next_scan_ = absl::Now() + periods_.scan;
  co_await monitor_.Scan();
  co_await monitor_.Measure();
  boost::asio::steady_timer timer(co_await boost::asio::this_coro::executor, kFirstPause);
  co_await timer.async_wait(boost::asio::use_awaitable);
  co_await monitor_.Measure();
}

Task<void> DeviceWatch::Run(CallContext call) {
  boost::asio::steady_timer timer(co_await boost::asio::this_coro::executor);
  bool troubled = false;
  while (true) {
    timer.expires_after(absl::ToChronoMilliseconds(periods_.measure));
    const absl::Status told = co_await Round(call);
    // Once per trouble, not every two seconds.
    if (!told.ok() && !troubled) spdlog::warn("device states not on record yet: {}", std::string(told.message()));
    troubled = !told.ok();
    co_await timer.async_wait(boost::asio::use_awaitable);
  }
}

Task<absl::Status> DeviceWatch::Round(CallContext call) {
  if (absl::Now() >= next_scan_) {
    next_scan_ = absl::Now() + periods_.scan;
    co_await monitor_.Scan();
  }
  co_await monitor_.Measure();
  call.deadline = absl::Now() + absl::Seconds(5);
  TellAlerts(call);
  CO_RETURN_IF_ERROR(co_await RegisterNew(call));
  co_return co_await TellHealth(call);
}

void DeviceWatch::TellAlerts(const CallContext& call) {
  for (const auto& state : monitor_.devices()) {
    for (const v1::Issue& issue : state->alerts) {
      v1::DeviceMetricsAlert alert;
      alert.set_device_id(issue.device_id());
      alert.set_metric(issue.metric());
      alert.set_value(issue.value());
      alert.set_threshold(issue.threshold());
      alert.set_severity(issue.severity());
      alert.set_message(issue.message());
      alert.set_node_id(store_.node_id());
      outbox_.Tell(call, alert);
      spdlog::warn("metric alert device={} metric={} value={} threshold={}", alert.device_id(), alert.metric(),
                   alert.value(), alert.threshold());
    }
    state->alerts.clear();
  }
}

Task<absl::Status> DeviceWatch::RegisterNew(const CallContext& call) {
  std::vector<v1::Device> devices;
  for (const auto& state : monitor_.devices()) {
    if (!state->registered) devices.push_back(state->device);
  }
  if (devices.empty()) co_return absl::OkStatus();
  CO_ASSIGN_OR_RETURN(const std::vector<DeviceStore::Record> records,
                      co_await store_.Register(call, std::move(devices), nullptr));
  for (const DeviceStore::Record& record : records) {
    DeviceState* state = monitor_.Find(record.device_id);
    if (state == nullptr || state->registered) continue;
    state->registered = true;
    state->reported = record.health;
    if (record.is_new) spdlog::info("new device id={} name={}", record.device_id, state->device.name());
  }
  co_return absl::OkStatus();
}

Task<absl::Status> DeviceWatch::TellHealth(const CallContext& call) {
  std::vector<v1::DeviceHealthChanged> changes;
  for (const auto& state : monitor_.devices()) {
    if (!state->registered || state->health.status() == state->reported) continue;
    v1::DeviceHealthChanged& change = changes.emplace_back();
    change.set_device_id(state->device.id());
    change.set_old_status(state->reported);
    change.set_new_status(state->health.status());
    for (v1::Issue& issue : state->health.issues()) *change.add_issues() = std::move(issue);
  }
  for (const v1::DeviceHealthChanged& change : changes) {
    CO_RETURN_IF_ERROR(co_await store_.SetHealth(call, change));
    spdlog::info("health changed device={} old={} new={}", change.device_id(),
                 v1::HealthStatus_Name(change.old_status()), v1::HealthStatus_Name(change.new_status()));
    if (DeviceState* state = monitor_.Find(change.device_id())) state->reported = change.new_status();
  }
  co_return absl::OkStatus();
}

}  // namespace aima::device
