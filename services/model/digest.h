// SHA-256 of files.
#pragma once

#include <absl/status/statusor.h>

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "services/model/byte_source.h"

namespace aima::model {

// SHA-256 of the whole file in lower-case hexadecimal. `go_on` is asked before each MiB; hashing ends with its
// error.
absl::StatusOr<std::string> HashFile(const FileBytes& file, const std::function<absl::Status()>& go_on);

// Both names that a file may have at a source: its SHA-256, and its id in git ("blob", its size, its bytes).
struct FileDigests {
  std::string sha256;
  std::string git_id;  // empty if it was not asked for
};
absl::StatusOr<FileDigests> HashBlob(const FileBytes& file, bool git_id, const std::function<absl::Status()>& go_on);

// SHA-256 of a text.
std::string HashText(std::string_view text);

// The digest of a model of these files: of the file if there is one, else of the lines "<digest>  <file name>" in
// order of the names. Empty if the digest of a file is not known.
struct NamedDigest {
  std::string name;
  std::string digest;
};
std::string CombinedDigest(std::vector<NamedDigest> files);

}  // namespace aima::model
