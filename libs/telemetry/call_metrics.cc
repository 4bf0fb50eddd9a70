#include "libs/telemetry/call_metrics.h"

#include <absl/strings/str_cat.h>
#include <prometheus/text_serializer.h>

namespace aima {

CallMetrics::CallMetrics(prometheus::Registry& registry)
    : calls_(prometheus::BuildCounter().Name("aima_calls_total").Help("Calls by unit and outcome.").Register(registry)),
      seconds_(prometheus::BuildHistogram()
                   .Name("aima_call_seconds")
                   .Help("Time that calls took, by unit and outcome.")
                   .Register(registry)),
      in_flight_(prometheus::BuildGauge()
                     .Name("aima_calls_in_flight")
                     .Help("Calls being served.")
                     .Register(registry)
                     .Add({})) {}

void CallMetrics::Count(const std::string& unit, const std::string& reason, absl::Duration duration) {
  Of& of = by_label_[absl::StrCat(unit, "\n", reason)];
  if (!of.calls) {
    const prometheus::Labels labels = {{"unit", unit}, {"code", reason}};
    of.calls = &calls_.Add(labels);
    of.seconds = &seconds_.Add(labels, prometheus::Histogram::BucketBoundaries{0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025,
                                                                              0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30});
  }
  of.calls->Increment();
  of.seconds->Observe(absl::ToDoubleSeconds(duration));
}

std::string MetricsText(prometheus::Registry& registry) {
  return prometheus::TextSerializer().Serialize(registry.Collect());
}

}  // namespace aima
