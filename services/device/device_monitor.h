// Knows every device of this machine, and measures them.
#pragma once

#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <boost/asio/thread_pool.hpp>
#include <memory>
#include <string>
#include <vector>

#include "libs/base/task.h"
#include "services/device/device_provider.h"
#include "services/device/health_tracker.h"
#include "services/device/metric_history.h"

namespace aima::device {

// One device as it is known now.
struct DeviceState {
  v1::Device device;
  DeviceProvider* provider = nullptr;
  Reading reading;
  absl::Time measured = absl::InfinitePast();
  MetricHistory history = MetricHistory();
  HealthTracker health = {};
  std::vector<v1::Issue> alerts = {};  // begun and not yet told of
  // What the cluster has on record; set by DeviceWatch.
  bool registered = false;
  v1::HealthStatus reported = v1::HEALTH_STATUS_UNSPECIFIED;
};

// Providers may block, so a thread of its own asks them, one at a time; everything else happens on the loop. Not
// thread-safe.
class DeviceMonitor {
 public:
  // Of two providers that know the same device, the earlier in the list speaks for it.
  explicit DeviceMonitor(std::vector<std::unique_ptr<DeviceProvider>> providers);
  ~DeviceMonitor();

  // Looks for devices anew. A device that is gone stays, and is measured as lost, unless another took its place.
  Task<void> Scan();
  // Measures every device.
  Task<void> Measure();
  // Errors: those of device.set_power_limit.
  Task<absl::StatusOr<double>> SetPowerLimit(std::string device_id, double watts);

  // The main device first, then GPUs, NPUs and the processors.
  const std::vector<std::unique_ptr<DeviceState>>& devices() const { return devices_; }
  // nullptr if there is none.
  DeviceState* Find(const std::string& device_id) const;

 private:
  struct Found {
    v1::Device device;
    DeviceProvider* provider;
  };
  struct Measured {
    std::string device_id;
    Reading reading;
    absl::Time time;
  };
  std::vector<Found> ScanAll();
  void Merge(std::vector<Found> found);
  void Sort();

  const std::vector<std::unique_ptr<DeviceProvider>> providers_;
  std::vector<std::unique_ptr<DeviceState>> devices_;
  boost::asio::thread_pool worker_{1};
};

}  // namespace aima::device
