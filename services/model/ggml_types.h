// How GGUF packs numbers.
#pragma once

#include <cstdint>
#include <string_view>

namespace aima::model {

// A way of packing numbers in blocks.
struct GgmlType {
  std::string_view name;
  uint32_t block = 0;  // numbers in a block
  uint32_t bytes = 0;  // bytes of a block
};

// Null if the type is not known.
const GgmlType* FindGgmlType(uint32_t type);

// Name of a `general.file_type`, such as Q4_K_M; empty if it is not known.
std::string_view GgufFileTypeName(int64_t file_type);

}  // namespace aima::model
