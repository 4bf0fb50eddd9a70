// Where devices come from: one implementation per way in which hardware tells of itself.
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "aima/device/v1/device.pb.h"

namespace aima::device {

// Something that is wrong and is known at once, without comparing a figure to a threshold.
struct Fault {
  std::string code;  // as v1::Issue.code
  v1::HealthStatus severity = v1::HEALTH_STATUS_WARNING;
  std::string message;
  std::string metric = {};  // empty if no figure shows it
  std::optional<double> value = {};
  std::optional<double> threshold = {};
};

// What one measurement of one device found. A figure that the hardware does not tell is absent.
struct Reading {
  std::optional<double> utilization;  // percent
  std::optional<double> temperature;  // degrees Celsius
  double temperature_warning = 90;    // about to slow down; better known by some devices
  double temperature_critical = 100;  // about to stop
  std::optional<double> power;        // watts
  std::optional<double> power_limit;  // watts
  std::optional<double> frequency_mhz;
  std::optional<double> fan;              // percent
  std::optional<double> memory_pressure;  // percent
  v1::Memory memory;
  std::vector<std::string> throttle_reasons;
  std::vector<Fault> faults;
};

// One source of devices. Calls may block (drivers do), so they are made from a thread of their own, one at a time.
class DeviceProvider {
 public:
  virtual ~DeviceProvider() = default;

  // Looks at the hardware. `known` are the devices that earlier providers found; those are not to be found twice.
  virtual std::vector<v1::Device> Scan(const std::vector<v1::Device>& known) = 0;

  // Measures a device of the last scan. Figures over time (utilization, power from energy) are since the last Read of
  // this device, and absent in the first.
  virtual Reading Read(const std::string& device_id) = 0;

  // Lets the device draw `watts` at most and returns the limit that the device then reports.
  virtual absl::StatusOr<double> SetPowerLimit(const std::string& device_id, double watts) = 0;
};

// POWER_LIMIT_OUT_OF_RANGE unless `watts` is in the device's range, as far as that is known.
absl::Status CheckPowerRange(const v1::Device& device, double watts);

}  // namespace aima::device
