// Who this machine is.
#pragma once

#include <absl/status/statusor.h>

#include <string>

namespace aima {

// `configured` if it is not empty; else the id kept in the file node_id of `data_dir`, made at the first call by
// whichever process is first. Rows that belong to this machine carry it: names of hosts change.
absl::StatusOr<std::string> LoadNodeId(const std::string& data_dir, const std::string& configured);

}  // namespace aima
