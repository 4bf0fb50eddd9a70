// The flags that every process of AIMA takes.
#pragma once

#include <absl/status/statusor.h>

#include <string>
#include <string_view>
#include <vector>

#include "libs/config/config.h"

namespace aima::runtime {

struct Flags {
  config::Sources config;
  std::string share_dir;  // absolute; found beside the program if it is not given
  bool print_config = false;
};

// Reads --config FILE, --set key=value (repeatable), --share-dir DIR and --print-config. The error says what is
// wrong and what there is.
absl::StatusOr<Flags> ReadFlags(int argc, char** argv);

}  // namespace aima::runtime
