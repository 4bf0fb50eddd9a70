// Headers of GGUF files.
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "services/model/byte_source.h"

namespace aima::model {

// What a GGUF file says of itself. Numbers are checked against the file's size; names and texts are as they stand
// in the file.
struct Gguf {
  uint32_t version = 0;
  uint64_t tensors = 0;
  uint64_t parameters = 0;    // numbers in all tensors
  uint64_t tensor_bytes = 0;  // bytes of all tensors
  uint64_t data_offset = 0;   // where tensors begin
  std::string main_type;      // packing of most numbers, such as Q4_K
  bool classifier = false;    // has tensors that turn a text into a score

  std::map<std::string, int64_t, std::less<>> integers;                // also booleans
  std::map<std::string, std::string, std::less<>> texts;               // of at most 64 KiB
  std::map<std::string, std::vector<int64_t>, std::less<>> lists;      // of at most 1 024 integers or booleans
  std::map<std::string, uint64_t, std::less<>> lengths;                // of every text and array

  // The value of a key, or `otherwise` if there is none.
  int64_t Integer(std::string_view key, int64_t otherwise = 0) const;
  std::string Text(std::string_view key) const;
};

// Reads the header. Takes memory in proportion to what it keeps, never to what the file claims. Versions 2 and 3.
// MODEL_FILE_CORRUPT or MODEL_FORMAT_UNSUPPORTED says what is wrong and where.
absl::StatusOr<Gguf> ReadGguf(const ByteSource& source);

}  // namespace aima::model
