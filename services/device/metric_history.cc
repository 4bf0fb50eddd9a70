#include "services/device/metric_history.h"

#include <google/protobuf/util/time_util.h>

#include <cmath>
#include <limits>

namespace aima::device {
namespace {

float OrNan(const std::optional<double>& value) {
  return value ? static_cast<float>(*value) : std::numeric_limits<float>::quiet_NaN();
}

// The mean of the figures that were told.
struct Sum {
  double sum = 0;
  int count = 0;
  void Add(float value) {
    if (std::isnan(value)) return;
    sum += value;
    ++count;
  }
};

}  // namespace

// Averages some points to one sample.
class MetricHistory::Mean {
 public:
  void Add(const Point& point) {
    ++count_;
    last_ = point;
    utilization_.Add(point.utilization);
    temperature_.Add(point.temperature);
    power_.Add(point.power);
    memory_used_ += static_cast<double>(point.memory_used);
  }

  // Appends the sample, if there is any point, and starts anew.
  void Flush(std::vector<v1::Sample>& out) {
    if (count_ > 0) {
      v1::Sample& sample = out.emplace_back();
      *sample.mutable_time() = google::protobuf::util::TimeUtil::MillisecondsToTimestamp(last_.time_ms);
      if (utilization_.count > 0) sample.set_utilization(utilization_.sum / utilization_.count);
      if (temperature_.count > 0) sample.set_temperature(temperature_.sum / temperature_.count);
      if (power_.count > 0) sample.set_power(power_.sum / power_.count);
      sample.set_memory_used(std::llround(memory_used_ / count_));
      sample.set_memory_total(last_.memory_total);
    }
    *this = Mean();
  }

 private:
  int count_ = 0;
  Point last_ = {};
  Sum utilization_;
  Sum temperature_;
  Sum power_;
  double memory_used_ = 0;
};

void MetricHistory::Add(absl::Time time, const Reading& reading) {
  const Point point = {absl::ToUnixMillis(time),   OrNan(reading.utilization),  OrNan(reading.temperature),
                       OrNan(reading.power),       reading.memory.used(),       reading.memory.total()};
  if (points_.size() < capacity_) {
    points_.push_back(point);
    return;
  }
  points_[oldest_] = point;
  oldest_ = (oldest_ + 1) % capacity_;
}

std::vector<v1::Sample> MetricHistory::Since(absl::Time since, absl::Time now, int max_points) const {
  const int64_t start_ms = absl::ToUnixMillis(since);
  size_t first = 0;
  while (first < points_.size() && At(first).time_ms <= start_ms) ++first;
  const size_t count = points_.size() - first;
  const bool every = count <= static_cast<size_t>(max_points);
  const double stretch_ms =
      std::max(1.0, static_cast<double>(absl::ToUnixMillis(now) - start_ms) / std::max(1, max_points));

  std::vector<v1::Sample> samples;
  Mean mean;
  int64_t current = -1;
  for (size_t i = first; i < points_.size(); ++i) {
    const Point& point = At(i);
    // A measurement at the end of a stretch belongs to it, as the one at `now` does to the last.
    const auto stretch = static_cast<int64_t>(static_cast<double>(point.time_ms - start_ms - 1) / stretch_ms);
    if (every || stretch != current) mean.Flush(samples);
    current = stretch;
    mean.Add(point);
  }
  mean.Flush(samples);
  return samples;
}

}  // namespace aima::device
