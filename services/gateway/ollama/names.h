// Names of models as Ollama's clients use them: [host/][namespace/]model[:tag].
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

namespace aima::gateway::ollama {

// Id of the model that a name means: what model.pull makes of the same name, unless another model has that id already.
// Without a tag, or with the tag latest, it is the model's own name.
std::string ModelIdOf(const std::string& name);

// The repository that a name of Hugging Face means (hf.co/organisation/repository[:packing]); nullopt if it is no such
// name.
struct HubName {
  std::string repo;
  std::string packing;
};
std::optional<HubName> HubNameOf(const std::string& name);

// Whether this is how Ollama's clients see the model, with or without its host, `library/` and `:latest`.
bool IsListedAs(const nlohmann::json& model, const std::string& name);

// True if `model`, as model.list shows it, came from there.
bool IsFrom(const nlohmann::json& model, const HubName& name);

// Input of model.pull.
nlohmann::json PullInput(const std::string& name);

// The name of a model in lists; it has a tag in any case.
std::string ListedName(const nlohmann::json& model);

}  // namespace aima::gateway::ollama
