// Requests of Ollama's API, as units understand them. Fields and options that are not known are ignored, as Ollama
// does; what is known and cannot be done is refused by name.
#pragma once

#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

namespace aima::gateway::ollama {

// A request to generate text.
struct Asked {
  std::string model;     // as the client calls it
  nlohmann::json input;  // of the unit, without the model
  bool stream = true;
  bool raw = false;      // for inference.complete rather than inference.chat
  bool empty = false;    // nothing is asked: the model is to be loaded, or unloaded
  std::optional<absl::Duration> keep_alive;  // for how long the model is to stay in memory; infinite is for ever
};

absl::StatusOr<Asked> ReadChat(const nlohmann::json& body);
absl::StatusOr<Asked> ReadGenerate(const nlohmann::json& body);

// A request for vectors. `input` is of inference.embed, without the model; an empty list is allowed.
absl::StatusOr<Asked> ReadEmbed(const nlohmann::json& body);

// Reads "model", or "name", which older clients send.
absl::StatusOr<std::string> ReadModel(const nlohmann::json& body);

}  // namespace aima::gateway::ollama
