#include "services/device/health_tracker.h"

#include <absl/strings/str_format.h>

#include <algorithm>

namespace aima::device {
namespace {

// Shares of system memory and of time, in percent. Full GPU memory is what engines aim at and no issue.
constexpr double kMemoryLow = 5;
constexpr double kMemoryVeryLow = 2;
constexpr double kPressureHigh = 20;
constexpr double kPressureVeryHigh = 60;

v1::HealthStatus Severity(bool critical) {
  return critical ? v1::HEALTH_STATUS_CRITICAL : v1::HEALTH_STATUS_WARNING;
}

void JudgeTemperature(const Reading& reading, std::vector<Fault>& faults) {
  if (!reading.temperature || *reading.temperature < reading.temperature_warning) return;
  const bool critical = *reading.temperature >= reading.temperature_critical;
  const double threshold = critical ? reading.temperature_critical : reading.temperature_warning;
  faults.push_back({"temperature_high", Severity(critical),
                    absl::StrFormat("%.0f °C is %s (threshold %.0f °C); improve cooling or lower the power limit",
                                    *reading.temperature, critical ? "close to where it stops" : "too hot", threshold),
                    "temperature", reading.temperature, threshold});
}

void JudgeMemory(const Reading& reading, std::vector<Fault>& faults) {
  if (reading.memory.total() > 0) {
    const double free =
        100.0 * static_cast<double>(reading.memory.available()) / static_cast<double>(reading.memory.total());
    if (free < kMemoryLow) {
      const bool critical = free < kMemoryVeryLow;
      faults.push_back({"memory_low", Severity(critical),
                        absl::StrFormat("only %.1f %% of memory is available; stop what is not needed", free),
                        "memory_available_percent", free, critical ? kMemoryVeryLow : kMemoryLow});
    }
  }
  if (reading.memory_pressure && *reading.memory_pressure >= kPressureHigh) {
    const bool critical = *reading.memory_pressure >= kPressureVeryHigh;
    faults.push_back({"memory_pressure", Severity(critical),
                      absl::StrFormat("work waits for memory %.0f %% of the time; stop what is not needed",
                                      *reading.memory_pressure),
                      "memory_pressure", reading.memory_pressure, critical ? kPressureVeryHigh : kPressureHigh});
  }
}

v1::Issue ToIssue(const std::string& device_id, const Fault& fault) {
  v1::Issue issue;
  issue.set_device_id(device_id);
  issue.set_code(fault.code);
  issue.set_severity(fault.severity);
  issue.set_message(fault.message);
  issue.set_metric(fault.metric);
  if (fault.value) issue.set_value(*fault.value);
  if (fault.threshold) issue.set_threshold(*fault.threshold);
  return issue;
}

}  // namespace

std::vector<v1::Issue> HealthTracker::Update(const v1::Device& device, const Reading& reading, absl::Time now) {
  std::vector<Fault> faults = reading.faults;
  JudgeTemperature(reading, faults);
  if (device.type() == v1::DEVICE_TYPE_CPU) JudgeMemory(reading, faults);

  std::vector<v1::Issue> begun;
  for (const Fault& fault : faults) {
    const auto [found, is_new] = active_.try_emplace(fault.code);
    Active& active = found->second;
    const v1::HealthStatus before = is_new ? v1::HEALTH_STATUS_OK : active.issue.severity();
    active.issue = ToIssue(device.id(), fault);
    active.seen = now;
    if (is_new) active.seen_critical = absl::InfinitePast();
    if (fault.severity == v1::HEALTH_STATUS_CRITICAL) active.seen_critical = now;
    if (now - active.seen_critical < kHold) active.issue.set_severity(v1::HEALTH_STATUS_CRITICAL);
    if (active.issue.severity() > before) begun.push_back(active.issue);
  }
  v1::HealthStatus worst = v1::HEALTH_STATUS_OK;
  for (auto it = active_.begin(); it != active_.end();) {
    if (now - it->second.seen >= kHold) {
      it = active_.erase(it);
      continue;
    }
    worst = std::max(worst, it->second.issue.severity());
    ++it;
  }
  Judge(worst, now);
  return begun;
}

void HealthTracker::Judge(v1::HealthStatus status, absl::Time now) {
  if (status == status_) return;
  status_ = status;
  since_ = now;
}

std::vector<v1::Issue> HealthTracker::issues() const {
  std::vector<v1::Issue> issues;
  for (const auto& [code, active] : active_) issues.push_back(active.issue);
  std::sort(issues.begin(), issues.end(), [](const v1::Issue& a, const v1::Issue& b) {
    return a.severity() != b.severity() ? a.severity() > b.severity() : a.code() < b.code();
  });
  return issues;
}

}  // namespace aima::device
