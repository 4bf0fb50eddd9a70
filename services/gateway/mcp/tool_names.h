// Names of units as tools, and back: by a table, since a unit's own name may hold "_".
#pragma once

#include <absl/container/flat_hash_map.h>

#include <string>
#include <string_view>
#include <vector>

namespace aima::gateway::mcp {

// model.estimate_resources is model_estimate_resources. Two units whose names would be one (a.b_c and a_b.c) are told
// apart: the one that comes later in the alphabet gets "__" for its dot.
class ToolNames {
 public:
  explicit ToolNames(std::vector<std::string> units);

  // Empty if there is none.
  std::string ToolOf(std::string_view unit) const;
  std::string UnitOf(std::string_view tool) const;

  // The text with tools in place of the units that it names (libs/unit/unit_names.h).
  std::string InTools(std::string_view text) const;

 private:
  absl::flat_hash_map<std::string, std::string> tools_;
  absl::flat_hash_map<std::string, std::string> units_;
};

}  // namespace aima::gateway::mcp
