// From where model files may be read.
#pragma once

#include <absl/status/statusor.h>

#include <memory>
#include <string>
#include <vector>

#include "services/model/byte_source.h"

namespace aima::model {

// Resolves and opens paths. What decides is where an open file really is, not what its path looked like before: a
// link that is swapped between check and use gains nothing.
class ImportRoots {
 public:
  // `roots` are absolute directories; none allows everything.
  explicit ImportRoots(std::vector<std::string> roots);

  // The path without links. MODEL_FILE_NOT_FOUND, or MODEL_PATH_REFUSED if it leads out of the roots.
  absl::StatusOr<std::string> Resolve(const std::string& path) const;

  // Opens a regular file below the roots; links are followed.
  absl::StatusOr<std::unique_ptr<FileBytes>> Open(const std::string& path) const;

 private:
  absl::Status CheckBelow(const std::string& path, const std::string& real) const;

  std::vector<std::string> roots_;  // without links, where they exist
};

}  // namespace aima::model
