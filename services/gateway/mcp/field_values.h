// Values that a field of a unit can take: the words of an enum, or the ids that a list shows now.
#pragma once

#include <string>
#include <vector>

#include "libs/unit/catalogue.h"
#include "services/gateway/mcp/surface.h"
#include "services/gateway/unit_runner.h"

namespace aima::gateway::mcp {

// Those that begin with `begun`, sorted; none if nothing is known about the field or its list cannot be had.
Task<std::vector<std::string>> FieldValues(const Catalogue& catalogue, UnitRunner& runner, const Call& call,
                                           const UnitInfo& unit, std::string field, std::string begun);

}  // namespace aima::gateway::mcp
