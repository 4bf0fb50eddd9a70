// Tools, resources and prompts that the official conformance suite of MCP looks for. Only the test program
// mcp_conformance_gateway has them; no package contains it.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "services/gateway/mcp/surface.h"

namespace aima::gateway::mcp {

class Fixtures : public Source {
 public:
  Fixtures();

  const std::vector<Tool>& tools() const override { return tools_; }
  const std::vector<Resource>& resources() const override { return resources_; }
  const std::vector<Prompt>& prompts() const override { return prompts_; }
  bool lists_change() const override { return true; }
  void OnChange(std::function<void(std::string_view list)> on_change) override { on_change_ = std::move(on_change); }

  Task<Outcome> CallTool(Call& call, const Tool& tool, const Input& input) override;
  Task<Outcome> GetPrompt(Call& call, const Prompt& prompt, const Input& input) override;
  bool Owns(std::string_view uri) const override { return uri.substr(0, 7) == "test://"; }
  Task<absl::StatusOr<std::string>> Read(Call& call, const std::string& uri) override;
  absl::Status MayRead(const Caller& caller, const std::string& uri) const override { return absl::OkStatus(); }
  Task<absl::Status> Watch(CallContext call, std::string uri, std::function<void()> ready,
                           std::function<Task<absl::Status>()> changed) override;

 private:
  using Function = std::function<Task<Outcome>(Call& call, const Input& input)>;

  void AddTool(std::string name, Function function, json schema = nullptr, TaskUse tasks = TaskUse::kNever);
  void AddContentTools();
  void AddWaitingTools();
  void AddLegacyAskingTools();
  void AddAskingTools();
  void AddTaskTools();
  void AddResourcesAndPrompts();

  std::vector<Tool> tools_;
  std::map<std::string, Function> functions_;
  std::vector<Resource> resources_;
  std::vector<Prompt> prompts_;
  std::function<void(std::string_view)> on_change_;
};

}  // namespace aima::gateway::mcp
