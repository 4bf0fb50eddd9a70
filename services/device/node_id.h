// Who this machine is.
#pragma once

#include <absl/status/statusor.h>

#include <string>

namespace aima::device {

// `configured` if it is not empty; else the id kept in the file node_id of `data_dir`, made at the first call.
absl::StatusOr<std::string> LoadNodeId(const std::string& data_dir, const std::string& configured);

}  // namespace aima::device
