// Directories that hold a model.
#pragma once

#include "services/model/inspect.h"

namespace aima::model {

// Inspects a directory without links in its path: weights as Hugging Face lays them out, whole or in shards; a
// diffusers pipeline; or one GGUF model with what belongs to it. Its files are those that an engine reads.
absl::StatusOr<Inspection> InspectDirectory(const ImportRoots& roots, const std::string& directory);

// A GGUF file and, if it is the first of several parts, the others beside it.
absl::StatusOr<Inspection> InspectGguf(const ImportRoots& roots, const std::string& path);

// Adds the sums of a file.
template <class Header>
void AddTensors(const Header& header, v1::Details& details) {
  details.set_parameters(details.parameters() + static_cast<int64_t>(header.parameters));
  details.set_tensor_bytes(details.tensor_bytes() + static_cast<int64_t>(header.tensor_bytes));
  details.set_tensors(details.tensors() + static_cast<int64_t>(header.tensors));
}

}  // namespace aima::model
