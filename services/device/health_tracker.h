// Judges whether a device is well.
#pragma once

#include <absl/time/time.h>

#include <map>
#include <string>
#include <vector>

#include "services/device/device_provider.h"

namespace aima::device {

// Follows one device. An issue begins with the measurement that shows it and ends when no measurement has shown it for
// half a minute, so that a figure that swings around its threshold is one issue and not many.
class HealthTracker {
 public:
  // Takes a measurement into account and returns the issues that it began or made worse.
  std::vector<v1::Issue> Update(const v1::Device& device, const Reading& reading, absl::Time now);

  // Not measured yet, or the worst of the issues.
  v1::HealthStatus status() const { return status_; }
  absl::Time since() const { return since_; }
  // The worst first.
  std::vector<v1::Issue> issues() const;

  static constexpr absl::Duration kHold = absl::Seconds(30);

 private:
  struct Active {
    v1::Issue issue;
    absl::Time seen;           // last shown by a measurement
    absl::Time seen_critical;  // last shown as critical
  };

  void Judge(v1::HealthStatus status, absl::Time now);

  std::map<std::string, Active> active_;  // by code
  v1::HealthStatus status_ = v1::HEALTH_STATUS_UNSPECIFIED;
  absl::Time since_ = absl::InfinitePast();
};

}  // namespace aima::device
