// Hugging Face's Hub and ModelScope: repositories of files.
#pragma once

#include <functional>
#include <string>

#include "aima/model/v1/model.pb.h"
#include "services/model/file_choice.h"
#include "services/model/source.h"
#include "services/model/web.h"

namespace aima::model {

// Lists a repository with sizes and digests at one commit, and fetches its files at that commit.
class HuggingFaceSource : public Source {
 public:
  // `token_file` is read at each pull; its token is sent to `url` only, never to a mirror.
  HuggingFaceSource(http::Outbound& web, std::string url, std::string token_file)
      : web_(web), url_(std::move(url)), token_file_(std::move(token_file)) {}

  Task<absl::StatusOr<v1::PullPlan>> Plan(const Wish& wish) override;
  Task<absl::StatusOr<std::vector<v1::Offer>>> Search(const std::string& words, int limit) override;
  Task<absl::StatusOr<http::Headers>> Credentials(const Wish& wish) override;

 private:
  absl::StatusOr<http::Headers> Headers(const std::string& mirror) const;

  http::Outbound& web_;
  const std::string url_;
  const std::string token_file_;
};

class ModelScopeSource : public Source {
 public:
  ModelScopeSource(http::Outbound& web, std::string url) : web_(web), url_(std::move(url)) {}

  Task<absl::StatusOr<v1::PullPlan>> Plan(const Wish& wish) override;
  Task<absl::StatusOr<std::vector<v1::Offer>>> Search(const std::string& words, int limit) override;
  Task<absl::StatusOr<http::Headers>> Credentials(const Wish& wish) override;

 private:
  http::Outbound& web_;
  const std::string url_;
};

// The plan for a choice of files: names and digests are checked. `url_of` makes the address of a file.
absl::StatusOr<v1::PullPlan> PlanOfFiles(const std::string& base, const Wish& wish, const FileChoice& choice,
                                         const std::function<std::string(const std::string& name)>& url_of);

// What a model of this task does, as Hugging Face calls tasks.
v1::ModelType TypeOfTask(const std::string& task);

}  // namespace aima::model
