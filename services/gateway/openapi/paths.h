// The paths of the document. Private to this folder.
#pragma once

#include "services/gateway/access.h"
#include "services/gateway/openapi/components.h"

namespace aima::gateway::openapi {

// True if a caller of this role may know of the unit.
bool IsOffered(const UnitInfo& unit, Role role);

// First sentence of a text.
std::string FirstSentence(const std::string& text);

// Adds the paths of one unit: itself, and the resources that it backs. `components` gets what they refer to.
void AddUnitPaths(const Catalogue& catalogue, const UnitInfo& unit, Components& components,
                  std::map<std::string, ordered_json>& paths);

// Adds what is no unit: execute, stream, units, schema, resource, health, metrics, this document.
void AddFixedPaths(const Catalogue& catalogue, Components& components, std::map<std::string, ordered_json>& paths);

// A field of a request as a parameter: "query" or "path".
ordered_json ParameterOf(const google::protobuf::FieldDescriptor& field, const char* place, Components& components);

// Parameters, responses, headers and security schemes to which paths refer.
ordered_json FixedParameters();
ordered_json FixedResponses(Components& components, const Catalogue& catalogue);
ordered_json FixedHeaders();
ordered_json SecuritySchemes();
// An example of each problem, by reason.
ordered_json ProblemExamples(const Catalogue& catalogue, const std::map<std::string, ordered_json>& paths);

}  // namespace aima::gateway::openapi
