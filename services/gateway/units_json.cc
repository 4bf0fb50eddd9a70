#include "services/gateway/units_json.h"

#include <nlohmann/json.hpp>

#include "libs/unit/json_codec.h"
#include "libs/unit/json_schema.h"

namespace aima::gateway {
namespace {

using nlohmann::ordered_json;

ordered_json Describe(const UnitInfo& unit) {
  ordered_json json = {
      {"name", unit.name},
      {"domain", unit.domain},
      {"kind", unit.command() ? "command" : "query"},
      {"access", EnumText(*unit::v1::Access_descriptor()->FindValueByNumber(unit.options.access()))},
      {"description", unit.description},
      {"streaming", unit.stream != nullptr},
      {"streaming_only", unit.unary == nullptr},
      {"idempotent", !unit.command() || unit.options.idempotent()},
      {"timeout_ms", unit.timeout_ms()},
      {"rpc", unit.method().full_name()},
  };
  json["input_schema"] = SchemaOf(*unit.method().input_type());
  json["output_schema"] = SchemaOf(*unit.method().output_type(), SchemaUse::kOutput);
  if (unit.unary && unit.stream) json["stream_schema"] = SchemaOf(*unit.stream->output_type(), SchemaUse::kOutput);
  json["errors"] = std::vector<std::string>(unit.options.errors().begin(), unit.options.errors().end());
  json["examples"] = ordered_json::array();
  for (const auto& example : unit.options.examples()) {
    json["examples"].push_back(
        {{"title", example.title()}, {"input", ordered_json::parse(example.input(), nullptr, false)}});
  }
  return json;
}

}  // namespace

UnitsJson::UnitsJson(const Catalogue& catalogue) {
  ordered_json all = {{"units", ordered_json::array()},
                      {"resources", ordered_json::array()},
                      {"events", ordered_json::array()},
                      {"errors", ordered_json::array()}};
  for (const UnitInfo& unit : catalogue.units()) {
    if (unit.options.access() == unit::v1::INTERNAL) continue;
    ordered_json json = Describe(unit);
    units_[unit.name] = json.dump();
    all["units"].push_back(std::move(json));
  }
  for (const ViewInfo& view : catalogue.views()) {
    all["resources"].push_back({{"uri", view.uri}, {"unit", view.unit->name}, {"description", view.unit->description}});
  }
  for (const EventInfo& event : catalogue.events()) {
    all["events"].push_back(
        {{"type", event.type}, {"description", event.description}, {"schema", SchemaOf(*event.payload, SchemaUse::kOutput)}});
  }
  for (const ReasonInfo& reason : catalogue.reasons()) {
    all["errors"].push_back({{"code", reason.name},
                             {"description", reason.description},
                             {"remedy", reason.options.remedy()},
                             {"retryable", reason.options.retryable()}});
  }
  all_ = all.dump();
}

const std::string* UnitsJson::Find(std::string_view name) const {
  const auto found = units_.find(std::string(name));
  return found == units_.end() ? nullptr : &found->second;
}

}  // namespace aima::gateway
