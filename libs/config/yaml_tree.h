// YAML text as a plain tree with line numbers. Only what a configuration file needs: aliases, anchors and tags are
// refused, since they make a small file mean a large one.
#pragma once

#include <absl/status/statusor.h>

#include <string>
#include <string_view>
#include <vector>

namespace aima::config {

inline constexpr size_t kMaxFileBytes = 256 * 1024;
inline constexpr size_t kMaxYamlDepth = 16;

// One value.
struct YamlNode {
  enum class Kind { kNull, kScalar, kList, kMap };

  Kind kind = Kind::kNull;
  int line = 0;      // counted from 1; 0 is no file
  std::string key;   // by which the map around it knows it
  std::string text;  // of a scalar
  bool quoted = false;
  std::vector<YamlNode> items;  // of a list or a map, in the order of the file
};

// The single document in `text`; an empty one is kNull. The error names the line.
absl::StatusOr<YamlNode> ParseYaml(std::string_view text);

}  // namespace aima::config
