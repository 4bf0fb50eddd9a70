// Units as tools and views as resources, computed over the catalogue: no line of code is about any one unit.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <string>
#include <vector>

#include "libs/unit/catalogue.h"
#include "services/gateway/mcp/surface.h"
#include "services/gateway/mcp/tool_names.h"
#include "services/gateway/resource_watch.h"
#include "services/gateway/unit_runner.h"

namespace aima::gateway::mcp {

class UnitSource : public Source {
 public:
  UnitSource(const Catalogue& catalogue, UnitRunner& runner, ResourceWatch& watch);

  const ToolNames& names() const { return names_; }

  const std::vector<Tool>& tools() const override { return tools_; }
  const std::vector<Resource>& resources() const override { return resources_; }

  Task<Outcome> CallTool(Call& call, const Tool& tool, const Input& input) override;

  bool Owns(std::string_view uri) const override;
  Task<absl::StatusOr<std::string>> Read(Call& call, const std::string& uri) override;
  absl::Status MayRead(const Caller& caller, const std::string& uri) const override;
  Task<absl::Status> Watch(CallContext call, std::string uri, std::function<void()> ready,
                           std::function<Task<absl::Status>()> changed) override;
  Task<Completion> CompleteVariable(Call& call, const Resource& resource, const std::string& name,
                                    const std::string& begun) override;

 private:
  Task<absl::StatusOr<std::string>> Run(Call& call, const UnitInfo& unit, const json& arguments);
  Task<absl::StatusOr<std::string>> RunFolded(Call& call, const UnitInfo& unit, const json& arguments);
  Task<absl::StatusOr<std::string>> Gather(Call& call, const UnitInfo& unit, const json& arguments);

  const Catalogue& catalogue_;
  UnitRunner& runner_;
  ResourceWatch& watch_;
  const ToolNames names_;
  std::vector<Tool> tools_;
  std::vector<Resource> resources_;
};

// What a model reads about a call that failed: what is wrong, with which fields, and what to do about it.
Outcome ErrorOutcome(const absl::Status& status, const ToolNames& names);

// The entry of a unit in tools/list, which names other units as `model.list`.
std::string ToolEntry(const UnitInfo& unit, const std::string& name);

}  // namespace aima::gateway::mcp
