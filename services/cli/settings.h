// The configuration of a data directory, setting by setting.
#pragma once

#include <absl/status/statusor.h>

#include <string>
#include <vector>

#include "libs/config/config.h"
#include "services/cli/command_line.h"

namespace aima::cli {

struct Setting {
  std::string key;    // api.listen_addr
  std::string value;  // as YAML; empty for a secret that is set
  std::string from;   // default, FILE:LINE, $AIMA_DATA_DIR, --data-dir
  bool is_default = false;
  bool secret = false;
  std::string what;  // its description
};

// The file that `aima start` reads: config.yaml of the data directory.
std::string ConfigFileOf(const std::string& data_dir);

// What `aima start` would use now. Without a file, `file` may be empty.
absl::StatusOr<config::v1::Config> LoadSettings(const Globals& globals, const std::string& file);
absl::StatusOr<std::vector<Setting>> Settings(const Globals& globals, const std::string& file);

}  // namespace aima::cli
