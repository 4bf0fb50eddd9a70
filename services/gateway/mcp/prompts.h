// Prompts that people and agents begin with: files in share/aima/configs/prompts, one each.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <string>
#include <vector>

#include "libs/unit/catalogue.h"
#include "services/gateway/mcp/surface.h"
#include "services/gateway/unit_runner.h"

namespace aima::gateway::mcp {

// A file is YAML: name, title, description, arguments (name, description, required, values), and text, in which
// {argument} stands for what was given. `values: model.get.model_id` completes an argument with the values of that field.
class PromptSource : public Source {
 public:
  // A file that cannot be read is left out, and the log says why.
  PromptSource(const std::string& folder, const Catalogue& catalogue, UnitRunner& runner);

  const std::vector<Prompt>& prompts() const override { return prompts_; }
  Task<Outcome> GetPrompt(Call& call, const Prompt& prompt, const Input& input) override;
  Task<Completion> CompleteArgument(Call& call, const Prompt& prompt, const std::string& name,
                                    const std::string& begun) override;

 private:
  struct Argument {
    std::string name;
    std::string description;
    bool required = false;
    std::string values;  // unit and field, as model.get.model_id; empty is free text
  };
  struct File {
    std::string name, title, description, text;
    std::vector<Argument> arguments;
  };
  static absl::StatusOr<File> ReadFile(const std::string& path);

  const Catalogue& catalogue_;
  UnitRunner& runner_;
  std::vector<Prompt> prompts_;
  absl::flat_hash_map<std::string, File> files_;
};

}  // namespace aima::gateway::mcp
