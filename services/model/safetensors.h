// Headers of safetensors files.
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "services/model/byte_source.h"

namespace aima::model {

// What a safetensors file holds.
struct Safetensors {
  uint64_t tensors = 0;
  uint64_t parameters = 0;
  uint64_t tensor_bytes = 0;
  std::map<std::string, uint64_t> parameters_by_type;  // such as BF16

  // The type of most numbers.
  std::string MainType() const;
};

// Reads the header and checks that its tensors fill the file exactly, without gap or overlap. MODEL_FILE_CORRUPT or
// MODEL_FORMAT_UNSUPPORTED says what is wrong and where.
absl::StatusOr<Safetensors> ReadSafetensors(const ByteSource& source);

// File names that model.safetensors.index.json names, sorted, each once. They are plain names, never paths.
absl::StatusOr<std::vector<std::string>> ReadShardNames(const ByteSource& index);

}  // namespace aima::model
