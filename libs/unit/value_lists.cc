#include "libs/unit/value_lists.h"

#include <absl/strings/match.h>

namespace aima {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;

bool HasText(const Descriptor& message, const std::string& name) {
  const FieldDescriptor* field = message.FindFieldByName(name);
  return field && field->type() == FieldDescriptor::TYPE_STRING && !field->is_repeated();
}

// The path to the lists, at most `depth` of them, whose items have a text field of this name; the shortest one.
bool FindLists(const Descriptor& message, const std::string& name, int depth, std::vector<std::string>& path) {
  for (const bool deeper : {false, true}) {
    for (int i = 0; i < message.field_count(); ++i) {
      const FieldDescriptor& list = *message.field(i);
      if (!list.is_repeated() || list.is_map() || !list.message_type()) continue;
      path.push_back(list.name());
      if (!deeper && HasText(*list.message_type(), name)) return true;
      if (deeper && depth > 1 && FindLists(*list.message_type(), name, depth - 1, path)) return true;
      path.pop_back();
    }
  }
  return false;
}

bool NeedsInput(const Descriptor& input) {
  for (int i = 0; i < input.field_count(); ++i) {
    if (RulesOf(*input.field(i)).required()) return true;
  }
  return false;
}

// In one domain: a unit that is called a list is one; another will do.
ValueList FindIn(const Catalogue& catalogue, const std::string& domain, const std::vector<std::string>& names,
                 int depth) {
  for (const bool called_list : {true, false}) {
    for (const std::string& name : names) {
      for (const UnitInfo& candidate : catalogue.units()) {
        if (candidate.domain != domain || candidate.command() || !candidate.unary) continue;
        if (candidate.options.access() == unit::v1::INTERNAL || NeedsInput(*candidate.unary->input_type())) continue;
        if (called_list && !absl::EndsWith(candidate.name, ".list")) continue;
        ValueList found{&candidate, {}, name};
        if (FindLists(*candidate.unary->output_type(), name, depth, found.lists)) return found;
      }
    }
  }
  return {};
}

}  // namespace

ValueList FindValueList(const Catalogue& catalogue, const UnitInfo& unit, const std::string& field) {
  const bool id = absl::EndsWith(field, "_id");
  std::vector<std::string> names = {field};
  if (id) names.push_back("id");
  const std::string noun = id ? field.substr(0, field.size() - 3) : field;
  for (const UnitInfo& candidate : catalogue.units()) {
    if (candidate.name != noun + ".list" || !candidate.unary || NeedsInput(*candidate.unary->input_type())) continue;
    for (const std::string& name : {field, std::string("id")}) {
      ValueList found{&candidate, {}, name};
      if (FindLists(*candidate.unary->output_type(), name, 1, found.lists)) return found;
    }
  }
  for (const int depth : {1, 2}) {
    if (depth == 2) names.resize(1);  // an `id` deep inside is that of something else
    if (ValueList found = FindIn(catalogue, unit.domain, names, depth); found.unit) return found;
  }
  return {};
}

}  // namespace aima
