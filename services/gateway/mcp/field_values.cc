#include "services/gateway/mcp/field_values.h"

#include <absl/strings/match.h>
#include <absl/strings/str_cat.h>

#include <set>

#include "libs/unit/json_codec.h"
#include "libs/unit/rules.h"

namespace aima::gateway::mcp {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;

// True if the output has a list whose items have a text field of this name.
bool ListsItemsWith(const Descriptor& output, const std::string& name) {
  for (int i = 0; i < output.field_count(); ++i) {
    const FieldDescriptor& list = *output.field(i);
    if (!list.is_repeated() || list.is_map() || !list.message_type()) continue;
    const FieldDescriptor* field = list.message_type()->FindFieldByName(name);
    if (field && field->type() == FieldDescriptor::TYPE_STRING && !field->is_repeated()) return true;
  }
  return false;
}

bool NeedsInput(const Descriptor& input) {
  for (int i = 0; i < input.field_count(); ++i) {
    if (RulesOf(*input.field(i)).required()) return true;
  }
  return false;
}

}  // namespace

ListOfValues FindListOf(const Catalogue& catalogue, const UnitInfo& unit, const std::string& field) {
  std::vector<std::string> names = {field};
  if (absl::EndsWith(field, "_id")) names.push_back("id");
  // A unit that is called a list is one; another will do.
  for (const bool lists : {true, false}) {
    for (const std::string& name : names) {
      for (const UnitInfo& candidate : catalogue.units()) {
        if (candidate.domain != unit.domain || candidate.command() || !candidate.unary) continue;
        if (candidate.options.access() == unit::v1::INTERNAL || NeedsInput(*candidate.unary->input_type())) continue;
        if (lists && !absl::EndsWith(candidate.name, ".list")) continue;
        if (ListsItemsWith(*candidate.unary->output_type(), name)) return {&candidate, name};
      }
    }
  }
  return {};
}

Task<std::vector<std::string>> FieldValues(const Catalogue& catalogue, UnitRunner& runner, const Call& call,
                                           const UnitInfo& unit, std::string field, std::string begun) {
  std::set<std::string> values;
  const auto add = [&](const std::string& value) {
    if (absl::StartsWith(value, begun)) values.insert(value);
  };
  const FieldDescriptor* described = unit.method().input_type()->FindFieldByName(field);
  const ListOfValues list = FindListOf(catalogue, unit, field);
  if (described && described->enum_type()) {
    for (const std::string& text : EnumTexts(*described->enum_type())) add(text);
  } else if (list.unit && Access::Check(call.caller(), list.unit->options.access(), list.unit->name).ok()) {
    CallContext context = call.context();
    const absl::StatusOr<Output> output = co_await runner.Run(context, *list.unit, json::object(), {});
    const json items = output.ok() ? json::parse(output->json, nullptr, false) : json();
    for (const auto& [key, value] : items.items()) {
      if (!value.is_array()) continue;
      for (const json& item : value) add(TextMember(item, list.item_field));
    }
    values.erase("");
  }
  co_return std::vector<std::string>(values.begin(), values.end());
}

}  // namespace aima::gateway::mcp
