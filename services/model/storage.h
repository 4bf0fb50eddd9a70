// AIMA's own copies of model files.
#pragma once

#include <absl/status/statusor.h>

#include <functional>
#include <string>

#include "aima/model/v1/model.pb.h"
#include "services/model/inspect.h"

namespace aima::model {

// A directory with one directory per model in it, named after the model's digest. A copy is made under another
// name, read back, and renamed when it is whole and on the disk: what has its final name is right. Blocks;
// thread-safe.
class Storage {
 public:
  // `directory` is made when it is first needed.
  explicit Storage(std::string directory) : directory_(std::move(directory)) {}

  const std::string& directory() const { return directory_; }

  // Copies the files of an inspection and returns the model that the copies are: path, files with digests, digest
  // and size. Copies of the same files that are there already are used if they are right. MODEL_STORAGE_FAILED
  // says why not.
  absl::StatusOr<v1::Model> Adopt(const ImportRoots& roots, const Inspection& found,
                                  const std::function<absl::Status()>& go_on) const;

  // Removes the copies of a stored model. Returns the bytes that were freed; files outside of the storage stay.
  absl::StatusOr<int64_t> Remove(const v1::Model& model) const;

  // Removes what interrupted copies left behind. For the start, when none is being made.
  void Sweep() const;

 private:
  std::string directory_;
};

}  // namespace aima::model
