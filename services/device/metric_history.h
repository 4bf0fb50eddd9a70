// What was measured of one device over the last two hours.
#pragma once

#include <absl/time/time.h>

#include <cstdint>
#include <vector>

#include "services/device/device_provider.h"

namespace aima::device {

// A ring of measurements: the newest push out the oldest. Takes 40 bytes each.
class MetricHistory {
 public:
  explicit MetricHistory(size_t capacity = 3600) : capacity_(capacity) {}

  // `time` never goes back.
  void Add(absl::Time time, const Reading& reading);

  // What was measured after `since`, oldest first. More than `max_points` measurements are averaged over that many
  // equal stretches of the time between `since` and `now`; stretches in which nothing was measured are left out.
  std::vector<v1::Sample> Since(absl::Time since, absl::Time now, int max_points) const;

  size_t size() const { return points_.size(); }

 private:
  struct Point {
    int64_t time_ms;
    float utilization;  // not a number if it was not told; so the next two
    float temperature;
    float power;
    int64_t memory_used;
    int64_t memory_total;
  };
  const Point& At(size_t age_rank) const { return points_[(oldest_ + age_rank) % points_.size()]; }
  class Mean;

  size_t capacity_;
  size_t oldest_ = 0;
  std::vector<Point> points_;
};

}  // namespace aima::device
