// Engines and instances as units show them.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "aima/engine/v1/engine.pb.h"
#include "services/engine/instance.h"

namespace aima::engine {

// Without its key.
v1::Instance ToProto(const Instance& instance);

// With its key: for other services only.
v1::Endpoint EndpointOf(const Record& record, const v1::EngineSpec& spec);

// What an engine can do, in words: "streaming", "embeddings" …
std::vector<std::string> CapabilitiesOf(const v1::EngineSpec& spec);

v1::EngineStatus EngineStatusOf(bool installing, bool installed,
                                const std::vector<std::shared_ptr<Instance>>& instances);

}  // namespace aima::engine
