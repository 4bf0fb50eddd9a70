// The units of the device domain.
#pragma once

#include "aima/device/v1/device.pb.h"
#include "libs/base/call_context.h"
#include "libs/base/task.h"
#include "services/device/device_monitor.h"
#include "services/device/device_store.h"

namespace aima::device {

// Answers queries from what was last measured, so that none waits for hardware.
class DeviceUnits {
 public:
  // References must outlive this.
  DeviceUnits(DeviceMonitor& monitor, DeviceStore& store, v1::Host host);

  Task<absl::StatusOr<v1::DetectResponse>> Detect(CallContext& call, const v1::DetectRequest& request);
  Task<absl::StatusOr<v1::SetPowerLimitResponse>> SetPowerLimit(CallContext& call,
                                                                const v1::SetPowerLimitRequest& request);
  Task<absl::StatusOr<v1::InfoResponse>> Info(CallContext& call, const v1::InfoRequest& request);
  Task<absl::StatusOr<v1::MetricsResponse>> Metrics(CallContext& call, const v1::MetricsRequest& request);
  Task<absl::StatusOr<v1::HealthResponse>> Health(CallContext& call, const v1::HealthRequest& request);

 private:
  // The device of this id, or the main one if the id is empty.
  absl::StatusOr<DeviceState*> Choose(const std::string& device_id) const;

  DeviceMonitor& monitor_;
  DeviceStore& store_;
  const v1::Host host_;
};

}  // namespace aima::device
