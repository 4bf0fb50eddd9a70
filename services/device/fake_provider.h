// A device source that tests steer.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "services/device/device_provider.h"

namespace aima::device {

class FakeProvider : public DeviceProvider {
 public:
  std::vector<v1::Device> Scan(const std::vector<v1::Device>&) override { return devices; }

  Reading Read(const std::string& device_id) override { return readings[device_id]; }

  absl::StatusOr<double> SetPowerLimit(const std::string& device_id, double watts) override {
    if (!limit_answer.ok()) return limit_answer;
    limits[device_id] = watts;
    return watts;
  }

  // Adds a device with this much memory, of which half is used.
  v1::Device& Add(const std::string& id, v1::DeviceType type, int64_t memory) {
    v1::Device& device = devices.emplace_back();
    device.set_id(id);
    device.set_name("Device " + id);
    device.set_type(type);
    device.set_driver("fake");
    device.mutable_memory()->set_total(memory);
    Reading& reading = readings[id];
    reading.utilization = 10;
    reading.memory.set_total(memory);
    reading.memory.set_used(memory / 2);
    reading.memory.set_available(memory - memory / 2);
    return device;
  }

  std::vector<v1::Device> devices;
  std::map<std::string, Reading> readings;
  std::map<std::string, double> limits;
  absl::Status limit_answer;
};

}  // namespace aima::device
