// Compares the files of a model with its record.
#pragma once

#include <absl/status/statusor.h>

#include <functional>
#include <string>
#include <vector>

#include "aima/model/v1/model.pb.h"
#include "services/model/import_roots.h"

namespace aima::model {

// What was found.
struct Examination {
  std::vector<v1::ModelFile> files;  // those of the record, with the digests that it lacked
  std::string digest;                // of the files as they are; empty if one cannot be read
  std::vector<std::string> issues;   // each naming a file
};

// Reads every file of the model: is it there, has it its size and its SHA-256, is its header right? A digest that
// the record lacks is computed. Fails only with the error of `go_on`. Blocks.
absl::StatusOr<Examination> Examine(const v1::Model& model, const ImportRoots& roots,
                                    const std::function<absl::Status()>& go_on);

// Name of a file within its model: its path below the model's directory, or its bare name.
std::string NameInModel(const v1::Model& model, const std::string& path);

}  // namespace aima::model
