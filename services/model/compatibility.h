// Which engines can serve which models.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "aima/model/v1/model.pb.h"
#include "services/model/estimate.h"

namespace aima::model {

// An engine of this machine, as far as models are concerned. Formats and types are written as in JSON, such as gguf and
// llm.
struct KnownEngine {
  std::string name;
  std::string type;
  bool installed = false;
  std::vector<std::string> formats;
  std::vector<std::string> model_types;
  std::optional<EngineFacts> facts;  // if it tells any
  std::map<std::string, std::string> own_models;  // that it brings along: names with their types, such as tts
};

// The facts of the engine of this name, or without one of an engine that reads the model's format and serves its type,
// an installed one first. Null if there is none, or it tells nothing.
const EngineFacts* FactsFor(const v1::Model& model, const std::string& engine, const std::vector<KnownEngine>& engines);

// Families follow from format and type alone; `engines` are told one by one, with why they cannot run the model.
v1::ModelCompatibility CompatibilityOf(const v1::Model& model, const std::vector<KnownEngine>& engines);

}  // namespace aima::model
