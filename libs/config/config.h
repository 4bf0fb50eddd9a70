// Configuration: defaults from config.proto, then a YAML file, then --set key=value, in this order of rank.
#pragma once

#include <absl/status/statusor.h>

#include <string>
#include <vector>

#include "aima/config/v1/config.pb.h"

namespace aima::config {

// Where settings come from.
struct Sources {
  std::string file;               // YAML; empty is none
  std::vector<std::string> sets;  // "api.listen_addr=127.0.0.1:19090"
};

// The whole configuration with every default filled in, `~` expanded and checked against the rules of its proto.
// INVALID_INPUT names each wrong or unknown key, with its line when it is in the file.
absl::StatusOr<v1::Config> Load(const Sources& sources);

// As YAML that Load reads back to the same configuration. Secrets are written only if `with_secrets`.
std::string ToYaml(const v1::Config& config, bool with_secrets);

}  // namespace aima::config
