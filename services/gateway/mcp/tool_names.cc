#include "services/gateway/mcp/tool_names.h"

#include <absl/strings/str_replace.h>

#include <algorithm>

#include "libs/unit/unit_names.h"

namespace aima::gateway::mcp {
namespace {

std::string Find(const absl::flat_hash_map<std::string, std::string>& map, std::string_view key) {
  const auto found = map.find(std::string(key));
  return found == map.end() ? "" : found->second;
}

}  // namespace

ToolNames::ToolNames(std::vector<std::string> units) {
  std::sort(units.begin(), units.end());
  for (const std::string& unit : units) {
    std::string name = absl::StrReplaceAll(unit, {{".", "_"}});
    if (units_.contains(name)) name = absl::StrReplaceAll(unit, {{".", "__"}});
    while (units_.contains(name)) name += '_';
    units_[name] = unit;
    tools_[unit] = name;
  }
}

std::string ToolNames::ToolOf(std::string_view unit) const { return Find(tools_, unit); }
std::string ToolNames::UnitOf(std::string_view tool) const { return Find(units_, tool); }
std::string ToolNames::InTools(std::string_view text) const {
  return ShowUnits(text, [this](std::string_view unit) { return ToolOf(unit); });
}

}  // namespace aima::gateway::mcp
