// Values that a field of a unit can take: the words of an enum, or the ids that a list of the same domain shows now.
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

// The query that lists values of `field`, and the name that they have in the items of its output; null if there is none.
struct ListOfValues {
  const UnitInfo* unit = nullptr;
  std::string item_field;
};
ListOfValues FindListOf(const Catalogue& catalogue, const UnitInfo& unit, const std::string& field);

}  // namespace aima::gateway::mcp
