#include "services/gateway/mcp/field_values.h"

#include <absl/strings/match.h>

#include <set>

#include "libs/unit/json_codec.h"
#include "libs/unit/rules.h"
#include "libs/unit/value_lists.h"

namespace aima::gateway::mcp {

Task<std::vector<std::string>> FieldValues(const Catalogue& catalogue, UnitRunner& runner, const Call& call,
                                           const UnitInfo& unit, std::string field, std::string begun) {
  std::set<std::string> values;
  const auto add = [&](const std::string& value) {
    if (absl::StartsWith(value, begun)) values.insert(value);
  };
  const google::protobuf::FieldDescriptor* described = unit.method().input_type()->FindFieldByName(field);
  const ValueList list = FindValueList(catalogue, unit, field);
  if (described && described->enum_type()) {
    for (const std::string& text : EnumTexts(*described->enum_type())) add(text);
  } else if (list.unit && Access::Check(call.caller(), list.unit->options.access(), list.unit->name).ok()) {
    CallContext context = call.context();
    const absl::StatusOr<Output> output = co_await runner.Run(context, *list.unit, json::object(), {});
    if (output.ok()) ForEachValue(list, json::parse(output->json, nullptr, false), add);
  }
  co_return std::vector<std::string>(values.begin(), values.end());
}

}  // namespace aima::gateway::mcp
