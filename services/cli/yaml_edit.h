// Changes of single settings in a configuration file that people wrote: everything else stays as it is, comments
// included.
#pragma once

#include <absl/status/statusor.h>

#include <optional>
#include <string>
#include <string_view>

namespace aima::cli {

// `text` with `section`.`key` set to `value`, which is YAML on one line; or without that setting if there is no value.
// A section that is not there is added at the end. The error tells why a file cannot be edited this way, and which line
// is in the way.
absl::StatusOr<std::string> EditYaml(std::string_view text, const std::string& section, const std::string& key,
                                     const std::optional<std::string>& value);

}  // namespace aima::cli
