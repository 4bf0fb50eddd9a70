// All tools, resources and prompts of all sources, and the lists of them as each kind of caller sees them: computed once.
#pragma once

#include <absl/container/flat_hash_map.h>
#include <absl/container/flat_hash_set.h>
#include <absl/status/statusor.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "services/gateway/mcp/surface.h"
#include "services/gateway/mcp/toolsets.h"

namespace aima::gateway::mcp {

// What a role sees of a selection of tools.
struct ToolView {
  std::string list;  // {"tools": […]}
  absl::flat_hash_map<std::string, const Tool*> by_name;  // aliases too
};

class Directory {
 public:
  // The sources outlive the directory.
  Directory(std::vector<Source*> sources, std::string default_toolsets);

  // INVALID_INPUT if the selection names what there is not.
  absl::StatusOr<const ToolView*> Tools(Role role, const std::string& selection);
  // The tool of this name for any caller and selection; null if there is none.
  const Tool* FindTool(const std::string& name) const;
  Source& SourceOf(const Tool& tool) const { return *tool_sources_.at(&tool); }

  // {"resources": […]}, {"resourceTemplates": […]}, {"prompts": […]}
  const std::string& Resources(Role role) { return List("resources", role); }
  const std::string& Templates(Role role) { return List("resourceTemplates", role); }
  const std::string& Prompts(Role role) { return List("prompts", role); }

  // The source of an address; null if there is none.
  Source* FindSource(std::string_view uri) const;

  struct FoundPrompt {
    const Prompt* prompt = nullptr;
    Source* source = nullptr;
  };
  FoundPrompt FindPrompt(const std::string& name, Role role) const;
  struct FoundResource {
    const Resource* resource = nullptr;
    Source* source = nullptr;
  };
  FoundResource FindTemplate(const std::string& uri, Role role) const;

  // True if lists may change. Listeners are told which: tools, prompts or resources.
  bool lists_change() const { return lists_change_; }
  int Listen(std::function<void(std::string_view list)> listener);
  void Forget(int listener) { listeners_.erase(listener); }

 private:
  void Index();
  const std::string& List(const char* kind, Role role);

  const std::vector<Source*> sources_;
  const std::string default_toolsets_;
  bool lists_change_ = false;
  std::unique_ptr<Toolsets> toolsets_;
  absl::flat_hash_map<const Tool*, Source*> tool_sources_;
  absl::flat_hash_map<std::string, const Tool*> tools_;
  std::map<std::pair<Role, std::string>, std::unique_ptr<ToolView>> views_;
  std::map<std::pair<Role, std::string>, std::string> lists_;
  std::map<int, std::function<void(std::string_view)>> listeners_;
  int next_listener_ = 1;
};

// True if a caller with this role may use what needs `access`.
bool MayUse(Role role, unit::v1::Access access);

}  // namespace aima::gateway::mcp
