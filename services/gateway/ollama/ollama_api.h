// Ollama's API: /api/chat, generate, embed, pull, tags, ps, show, delete and version.
#pragma once

#include "services/gateway/ollama/answer.h"
#include "services/gateway/ollama/request.h"
#include "services/gateway/translation.h"

namespace aima::gateway::ollama {

class OllamaApi : public Translation {
 public:
  using Translation::Translation;

  bool Owns(const http::Request& request, std::string_view path) const override;
  http::Response ErrorAnswer(const absl::Status& status, const std::string& request_id, int http_status) const override;

 protected:
  Task<absl::Status> Serve(TranslatedVisit& visit) override;

 private:
  Task<absl::Status> Text(TranslatedVisit& visit, Kind kind);
  // Loads or unloads a model for a request that asks nothing.
  Task<absl::Status> Load(TranslatedVisit& visit, Kind kind, const Asked& asked);
  // Keeps a model that requests have loaded for as long as this one says. One that somebody started stays as it is.
  Task<void> Keep(TranslatedVisit& visit, const std::string& id, absl::Duration keep_alive);
  Task<absl::Status> Embed(TranslatedVisit& visit, bool one);
  Task<absl::Status> Pull(TranslatedVisit& visit);
  Task<absl::Status> Tags(TranslatedVisit& visit);
  Task<absl::Status> Running(TranslatedVisit& visit);
  Task<absl::Status> Show(TranslatedVisit& visit);
  Task<absl::Status> Delete(TranslatedVisit& visit);

  // All models that are ready.
  Task<absl::StatusOr<nlohmann::json>> Models(TranslatedVisit& visit);
  // Id of the model that a client means.
  Task<absl::StatusOr<std::string>> Find(TranslatedVisit& visit, std::string name);
};

}  // namespace aima::gateway::ollama
