#include "services/gateway/openapi/document.h"

#include <absl/strings/str_cat.h>

#include <set>

#include "services/gateway/openapi/paths.h"

namespace aima::gateway::openapi {
namespace {

constexpr char kDescription[] =
    "Everything that this cluster does is a *unit*, such as `model.import` or `inference.chat`. Each has a path of its own; "
    "`/api/v2/execute` calls any of them by its name.\n\n"
    "Answers come in an envelope, `{success, data, meta}`; failures are problem details (RFC 9457) that hold the same "
    "envelope with `error`, whose `code` is a declared reason.\n\n"
    "This document holds what the key that asked for it may call. A program on the cluster's own machine may read and "
    "operate without a key.\n\n"
    "Beside it there are OpenAI's interface under `/v1`, tools for agents (MCP) at `/mcp`, and every unit over gRPC.";

// Tags of what is no unit.
struct Tag {
  const char* name;
  const char* description;
};
constexpr Tag kTags[] = {
    {"calls", "Any unit by its name, with options."},
    {"resources", "What can be read, and watched, at an `asms://` address."},
    {"catalogue", "What there is: units, schemas, this document."},
    {"cluster", "Health and metrics."},
};

ordered_json Tags(const Catalogue& catalogue, Role role) {
  std::map<std::string, std::string> tags;
  tags["operation"] = "";
  for (const UnitInfo& unit : catalogue.units()) {
    if (IsOffered(unit, role)) tags[unit.name.substr(0, unit.name.find('.'))] = CommentOf(*unit.method().service());
  }
  if (tags["operation"].empty()) tags["operation"] = "Calls that outlive their caller.";
  ordered_json list = ordered_json::array();
  for (const auto& [name, description] : tags) list.push_back({{"name", name}, {"description", description}});
  for (const Tag& tag : kTags) list.push_back({{"name", tag.name}, {"description", tag.description}});
  list.push_back({{"name", "openai"},
                  {"description", "OpenAI's interface under `/v1`, for its clients. It is described where it comes from."},
                  {"externalDocs",
                   {{"description", "OpenAI's own reference"},
                    {"url", "https://platform.openai.com/docs/api-reference"}}}});
  return list;
}

ordered_json Events(const Catalogue& catalogue) {
  ordered_json events = ordered_json::array();
  for (const EventInfo& event : catalogue.events()) {
    events.push_back({{"type", event.type},
                      {"description", event.description},
                      {"schema", SchemaOf(*event.payload, SchemaUse::kOutput)}});
  }
  return events;
}

}  // namespace

std::string DocumentText(const Catalogue& catalogue, Role role) {
  Components components(catalogue);
  std::map<std::string, ordered_json> paths;
  AddFixedPaths(catalogue, components, paths);
  for (const UnitInfo& unit : catalogue.units()) {
    if (IsOffered(unit, role)) AddUnitPaths(catalogue, unit, components, paths);
  }
  ordered_json document = {
      {"openapi", "3.1.0"},
      {"info", {{"title", "AIMA"}, {"version", AIMA_VERSION}, {"description", kDescription}}},
      {"servers", {{{"url", "/"}, {"description", "Where this document comes from."}}}},
      {"tags", Tags(catalogue, role)},
      {"security", {{{"bearer", ordered_json::array()}}, {{"key", ordered_json::array()}}, ordered_json::object()}},
      {"paths", paths},
  };
  ordered_json& parts = document["components"];
  parts["securitySchemes"] = SecuritySchemes();
  parts["parameters"] = FixedParameters();
  parts["headers"] = FixedHeaders();
  parts["responses"] = FixedResponses(components, catalogue);
  parts["schemas"] = components.schemas();
  AddFixedSchemas(parts["schemas"]);
  parts["examples"] = ProblemExamples(catalogue, paths);
  document["x-aima-role"] = RoleName(role);
  document["x-aima-events"] = Events(catalogue);
  return document.dump();
}

const http::Document& Documents::For(Role role) {
  std::unique_ptr<const http::Document>& document = documents_[static_cast<size_t>(role)];
  if (!document) {
    document = std::make_unique<const http::Document>("application/json", DocumentText(catalogue_, role));
  }
  return *document;
}

}  // namespace aima::gateway::openapi
