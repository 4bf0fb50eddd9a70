// Answers of Ollama's API, made of those of units.
#pragma once

#include <absl/status/status.h>

#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "services/gateway/translation.h"

namespace aima::gateway::ollama {

// Which request is answered.
enum class Kind { kChat, kGenerate };

// The whole answer to a request for text. `model` is as the client called it.
nlohmann::json WholeAnswer(Kind kind, const nlohmann::json& answer, const std::string& model);

// The answer to a request that asked for nothing: the model was loaded, or unloaded.
nlohmann::json EmptyAnswer(Kind kind, const std::string& model, const char* done_reason);

// {"error": "…"}
nlohmann::json ErrorBody(const absl::Status& status);

// A model in /api/tags, from model.list.
nlohmann::json ListedModel(const nlohmann::json& model);
// A model in /api/ps, from engine.list: an instance that runs, and the model that it serves.
nlohmann::json RunningModel(const nlohmann::json& model, const nlohmann::json& instance);
// /api/show, from model.get.
nlohmann::json ShownModel(const nlohmann::json& model);

// A streamed answer: one JSON object a line. A line with "error" ends one that fails, which clients raise.
class TextLines : public StreamForm {
 public:
  TextLines(Kind kind, std::string model) : kind_(kind), model_(std::move(model)) {}

  const char* content_type() const override { return "application/x-ndjson"; }
  void Add(const nlohmann::json& chunk, std::string& out) override;
  void End(std::string& out) override;
  void Fail(const absl::Status& status, std::string& out) override;

 private:
  const Kind kind_;
  const std::string model_;
  std::string last_;  // the line that ends it all
};

// The progress of a pull.
class PullLines : public StreamForm {
 public:
  const char* content_type() const override { return "application/x-ndjson"; }
  void Begin(std::string& out) override;
  void Add(const nlohmann::json& progress, std::string& out) override;
  void End(std::string& out) override;
  void Fail(const absl::Status& status, std::string& out) override;

 private:
  std::map<std::string, int64_t> told_;  // bytes by name of the file
  bool verifying_ = false;
  bool done_ = false;
};

}  // namespace aima::gateway::ollama
