#include "services/model/examination.h"

#include <absl/strings/str_cat.h>

#include "services/model/digest.h"
#include "services/model/inspect.h"

namespace aima::model {

namespace {

// What was found in one file. Empty: it could not be read; nothing is wrong.
struct Finding {
  std::string digest;
  std::string issue;
};

absl::StatusOr<Finding> ExamineFile(const v1::ModelFile& record, v1::ModelFormat format, const ImportRoots& roots,
                                    const std::function<absl::Status()>& go_on) {
  const absl::StatusOr<std::unique_ptr<FileBytes>> file = roots.Open(record.path());
  if (!file.ok()) return Finding{"", std::string(file.status().message())};
  if (static_cast<int64_t>((*file)->size()) != record.size()) {
    return Finding{
        "", absl::StrCat("'", record.path(), "' has ", (*file)->size(), " bytes instead of ", record.size())};
  }
  RETURN_IF_ERROR(go_on());
  const absl::StatusOr<std::string> digest = HashFile(**file, go_on);
  if (!digest.ok()) {
    RETURN_IF_ERROR(go_on());
    return Finding{"", std::string(digest.status().message())};
  }
  if (!record.digest().empty() && record.digest() != *digest) {
    return Finding{*digest, absl::StrCat("'", record.path(), "' has changed: its SHA-256 is ", *digest,
                                         " instead of ", record.digest())};
  }
  return Finding{*digest, std::string(CheckHeader(**file, format).message())};
}

}  // namespace

std::string NameInModel(const v1::Model& model, const std::string& path) {
  if (path.starts_with(model.path() + "/")) return path.substr(model.path().size() + 1);
  return path.substr(path.rfind('/') + 1);
}

absl::StatusOr<Examination> Examine(const v1::Model& model, const ImportRoots& roots,
                                    const std::function<absl::Status()>& go_on) {
  Examination found;
  std::vector<NamedDigest> digests;
  for (const v1::ModelFile& record : model.files()) {
    ASSIGN_OR_RETURN(Finding finding, ExamineFile(record, model.format(), roots, go_on));
    v1::ModelFile& file = found.files.emplace_back(record);
    if (file.digest().empty()) file.set_digest(finding.digest);
    if (!finding.issue.empty()) found.issues.push_back(std::move(finding.issue));
    digests.push_back({NameInModel(model, record.path()), std::move(finding.digest)});
  }
  found.digest = CombinedDigest(std::move(digests));
  return found;
}

}  // namespace aima::model
