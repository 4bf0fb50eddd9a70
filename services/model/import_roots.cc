#include "services/model/import_roots.h"

#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>

#include <filesystem>
#include <system_error>

#include "aima/model/v1/model.pb.h"
#include "libs/errors/errors.h"

namespace aima::model {

namespace fs = std::filesystem;

ImportRoots::ImportRoots(std::vector<std::string> roots) {
  for (const std::string& root : roots) {
    std::error_code error;
    const fs::path real = fs::canonical(root, error);
    roots_.push_back(error ? fs::path(root).lexically_normal().string() : real.string());
  }
}

absl::StatusOr<std::string> ImportRoots::Resolve(const std::string& path) const {
  if (path.empty() || path[0] != '/' || path.find('\0') != std::string::npos) {
    return InvalidInput("path", absl::StrCat("'", CleanText(path, 200), "' is not an absolute path"));
  }
  std::error_code error;
  const std::string real = fs::canonical(path, error).string();
  if (error) {
    const bool refused =
        error == std::errc::permission_denied || error == std::errc::too_many_symbolic_link_levels;
    return Error(refused ? v1::MODEL_PATH_REFUSED : v1::MODEL_FILE_NOT_FOUND,
                 absl::StrCat("cannot read '", path, "': ", error.message()), {{"path", path}});
  }
  if (CleanText(real, real.size()) != real) {
    return Error(v1::MODEL_PATH_REFUSED,
                 absl::StrCat("the name of '", CleanText(real, 400), "' is not plain text in UTF-8"), {});
  }
  RETURN_IF_ERROR(CheckBelow(path, real));
  return real;
}

absl::StatusOr<std::unique_ptr<FileBytes>> ImportRoots::Open(const std::string& path) const {
  ASSIGN_OR_RETURN(const std::string resolved, Resolve(path));
  ASSIGN_OR_RETURN(std::unique_ptr<FileBytes> file, FileBytes::Open(resolved));
  ASSIGN_OR_RETURN(const std::string real, file->RealPath());
  RETURN_IF_ERROR(CheckBelow(path, real));
  return file;
}

absl::Status ImportRoots::CheckBelow(const std::string& path, const std::string& real) const {
  if (roots_.empty()) return absl::OkStatus();
  for (const std::string& root : roots_) {
    if (root == "/" || real == root || real.starts_with(root + "/")) return absl::OkStatus();
  }
  return Error(v1::MODEL_PATH_REFUSED,
               absl::StrCat("'", path, "' is not below the directories from which models may be imported (",
                            absl::StrJoin(roots_, ", "), ")"),
               {{"path", path}});
}

}  // namespace aima::model
