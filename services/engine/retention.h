// For how long an instance stays: what a start asks for, and what keeps it when memory or time runs out.
#pragma once

#include <absl/time/time.h>

#include <string>

#include "services/engine/instance.h"

namespace aima::engine {

// What a start asks for, over what holds for the instance already; null is a new one. `idle` is the patience with those that
// a request loads.
Retention RetentionOf(const v1::StartRequest& request, const Instance* instance, absl::Duration idle);

// Why an instance is not unloaded, after its id; empty if it is.
std::string WhyItStays(const Record& record, const v1::UnloadRequest& request);

}  // namespace aima::engine
