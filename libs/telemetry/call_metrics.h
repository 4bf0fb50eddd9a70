// One counter and one histogram for all calls, by unit and outcome.
#pragma once

#include <absl/container/flat_hash_map.h>
#include <absl/time/time.h>
#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <memory>
#include <string>

namespace aima {

// Not thread-safe: use it on the process's loop.
class CallMetrics {
 public:
  explicit CallMetrics(prometheus::Registry& registry);

  // A call of `unit` ended with `reason`, "OK" if it succeeded, after `duration`.
  void Count(const std::string& unit, const std::string& reason, absl::Duration duration);
  // Calls being served.
  void SetInFlight(int calls) { in_flight_.Set(calls); }

 private:
  struct Of {
    prometheus::Counter* calls;
    prometheus::Histogram* seconds;
  };
  prometheus::Family<prometheus::Counter>& calls_;
  prometheus::Family<prometheus::Histogram>& seconds_;
  prometheus::Gauge& in_flight_;
  absl::flat_hash_map<std::string, Of> by_label_;  // of "unit\nreason"
};

// All metrics of `registry` in Prometheus' text format.
std::string MetricsText(prometheus::Registry& registry);

}  // namespace aima
