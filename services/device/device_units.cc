#include "services/device/device_units.h"

#include <absl/strings/str_cat.h>
#include <absl/strings/str_format.h>
#include <absl/time/clock.h>
#include <google/protobuf/util/time_util.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <tuple>

#include "libs/base/status_macros.h"
#include "libs/errors/errors.h"

namespace aima::device {
namespace {

using google::protobuf::util::TimeUtil;

// A driver that has not answered for this long hangs.
constexpr absl::Duration kStale = absl::Seconds(30);

google::protobuf::Timestamp ToTimestamp(absl::Time time) {
  return TimeUtil::MillisecondsToTimestamp(absl::ToUnixMillis(time));
}

// The fields that Device and InfoResponse share are the same, number for number; likewise those of DeviceMetrics and
// MetricsResponse.
template <class To, class From>
To Widen(const From& from) {
  To to;
  to.ParseFromString(from.SerializeAsString());
  return to;
}

v1::DeviceMetrics ToMetrics(const DeviceState& state, const v1::MetricsRequest& request) {
  const Reading& reading = state.reading;
  v1::DeviceMetrics metrics;
  metrics.set_device_id(state.device.id());
  if (state.measured > absl::UnixEpoch()) *metrics.mutable_time() = ToTimestamp(state.measured);
  if (reading.utilization) metrics.set_utilization(*reading.utilization);
  if (reading.temperature) metrics.set_temperature(*reading.temperature);
  if (reading.power) metrics.set_power(*reading.power);
  metrics.set_memory_used(reading.memory.used());
  metrics.set_memory_total(reading.memory.total());
  metrics.set_memory_available(reading.memory.available());
  metrics.set_unified_memory(reading.memory.unified());
  if (reading.frequency_mhz) metrics.set_frequency_mhz(*reading.frequency_mhz);
  if (reading.power_limit) metrics.set_power_limit(*reading.power_limit);
  if (reading.fan) metrics.set_fan(*reading.fan);
  if (reading.memory_pressure) metrics.set_memory_pressure(*reading.memory_pressure);
  for (const std::string& reason : reading.throttle_reasons) metrics.add_throttle_reasons(reason);
  if (request.has_history()) {
    const absl::Time now = absl::Now();
    const absl::Time since = now - absl::Milliseconds(request.history());
    for (v1::Sample& sample : state.history.Since(since, now, request.history_samples())) {
      *metrics.add_history() = std::move(sample);
    }
  }
  return metrics;
}

v1::DeviceHealth ToHealth(const DeviceState& state) {
  v1::DeviceHealth health;
  health.set_device_id(state.device.id());
  health.set_status(state.health.status());
  for (v1::Issue& issue : state.health.issues()) *health.add_issues() = std::move(issue);
  if (state.health.since() > absl::UnixEpoch()) *health.mutable_since() = ToTimestamp(state.health.since());
  const bool hangs = state.measured > absl::UnixEpoch() && absl::Now() - state.measured > kStale;
  if (hangs) {
    v1::Issue& issue = *health.add_issues();
    issue.set_device_id(state.device.id());
    issue.set_code("device_lost");
    issue.set_severity(v1::HEALTH_STATUS_CRITICAL);
    issue.set_message(absl::StrCat("the driver has not answered since ", absl::FormatTime(state.measured)));
    health.set_status(v1::HEALTH_STATUS_CRITICAL);
  }
  return health;
}

}  // namespace

DeviceUnits::DeviceUnits(DeviceMonitor& monitor, DeviceStore& store, v1::Host host)
    : monitor_(monitor), store_(store), host_(std::move(host)) {}

absl::StatusOr<DeviceState*> DeviceUnits::Choose(const std::string& device_id) const {
  if (!device_id.empty()) {
    if (DeviceState* state = monitor_.Find(device_id)) return state;
  } else if (!monitor_.devices().empty()) {
    return monitor_.devices().front().get();
  }
  return Error(v1::DEVICE_NOT_FOUND, absl::StrCat("no device '", device_id, "' in this machine"),
               {{"device_id", device_id}});
}

Task<absl::StatusOr<v1::DetectResponse>> DeviceUnits::Detect(CallContext& call, const v1::DetectRequest&) {
  co_await monitor_.Scan();
  v1::DetectResponse response;
  std::vector<v1::Device> unregistered;
  for (const auto& state : monitor_.devices()) {
    *response.add_devices() = state->device;
    if (!state->registered) unregistered.push_back(state->device);
  }
  if (unregistered.empty()) co_return response;
  CO_ASSIGN_OR_RETURN(const std::vector<DeviceStore::Record> records,
                      co_await store_.Register(call, std::move(unregistered), &response));
  for (const DeviceStore::Record& record : records) {
    DeviceState* state = monitor_.Find(record.device_id);
    if (state == nullptr || state->registered) continue;
    state->registered = true;
    state->reported = record.health;
  }
  co_return response;
}

Task<absl::StatusOr<v1::SetPowerLimitResponse>> DeviceUnits::SetPowerLimit(CallContext& call,
                                                                           const v1::SetPowerLimitRequest& request) {
  CO_ASSIGN_OR_RETURN(DeviceState* const state, Choose(request.device_id()));
  v1::SetPowerLimitResponse response;
  if (state->device.power_limit().has_current_watts()) {
    response.set_previous_watts(state->device.power_limit().current_watts());
  }
  CO_ASSIGN_OR_RETURN(const double applied,
                      co_await monitor_.SetPowerLimit(request.device_id(), request.limit_watts()));
  spdlog::warn("power limit set device={} watts={} by={}", request.device_id(), applied, call.principal);
  response.set_success(true);
  response.set_limit_watts(applied);
  co_return response;
}

Task<absl::StatusOr<v1::InfoResponse>> DeviceUnits::Info(CallContext&, const v1::InfoRequest& request) {
  CO_ASSIGN_OR_RETURN(const DeviceState* const chosen, Choose(request.device_id()));
  auto response = Widen<v1::InfoResponse>(chosen->device);
  *response.mutable_host() = host_;
  if (request.device_id().empty()) {
    for (const auto& state : monitor_.devices()) *response.add_devices() = state->device;
  }
  co_return response;
}

Task<absl::StatusOr<v1::MetricsResponse>> DeviceUnits::Metrics(CallContext&, const v1::MetricsRequest& request) {
  CO_ASSIGN_OR_RETURN(const DeviceState* const chosen, Choose(request.device_id()));
  auto response = Widen<v1::MetricsResponse>(ToMetrics(*chosen, request));
  if (request.device_id().empty()) {
    for (const auto& state : monitor_.devices()) *response.add_devices() = ToMetrics(*state, request);
  }
  co_return response;
}

Task<absl::StatusOr<v1::HealthResponse>> DeviceUnits::Health(CallContext&, const v1::HealthRequest& request) {
  CO_ASSIGN_OR_RETURN(const DeviceState* const chosen, Choose(request.device_id()));
  v1::HealthResponse response;
  if (!request.device_id().empty()) {
    v1::DeviceHealth health = ToHealth(*chosen);
    response.set_device_id(health.device_id());
    response.set_status(health.status());
    response.mutable_issues()->Swap(health.mutable_issues());
    if (health.has_since()) *response.mutable_since() = health.since();
    co_return response;
  }
  for (const auto& state : monitor_.devices()) {
    v1::DeviceHealth health = ToHealth(*state);
    response.set_status(std::max(response.status(), health.status()));
    response.mutable_issues()->MergeFrom(health.issues());
    *response.add_devices() = std::move(health);
  }
  std::sort(response.mutable_issues()->begin(), response.mutable_issues()->end(),
            [](const v1::Issue& a, const v1::Issue& b) {
              return std::make_tuple(-a.severity(), a.device_id(), a.code()) <
                     std::make_tuple(-b.severity(), b.device_id(), b.code());
            });
  co_return response;
}

}  // namespace aima::device
