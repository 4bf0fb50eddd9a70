// Ollama's registry: Docker's protocol with layers of its own kinds.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "services/model/source.h"
#include "services/model/web.h"

namespace aima::model {

class OllamaSource : public Source {
 public:
  OllamaSource(http::Outbound& web, std::string url) : web_(web), url_(std::move(url)) {}

  Task<absl::StatusOr<v1::PullPlan>> Plan(const Wish& wish) override;
  // Only registries that list their catalogue can be searched; Ollama's own does not.
  Task<absl::StatusOr<std::vector<v1::Offer>>> Search(const std::string& words, int limit) override;
  Task<absl::StatusOr<http::Headers>> Credentials(const Wish& wish) override;

 private:
  std::string BaseOf(const Wish& wish) const { return wish.mirror.empty() ? url_ : wish.mirror; }
  // Asks, and asks again with a token where the registry wants one from everybody.
  Task<absl::StatusOr<http::Response>> Ask(std::string url, http::Headers headers, std::string& token);

  http::Outbound& web_;
  const std::string url_;
};

// The plan that a manifest makes. `base` is where its blobs are.
absl::StatusOr<v1::PullPlan> PlanOfManifest(const Wish& wish, const std::string& base, const std::string& manifest);

}  // namespace aima::model
