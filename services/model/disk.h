// Calls to the system for files that must be on the disk.
#pragma once

#include <absl/status/status.h>

#include <string>
#include <string_view>

namespace aima::model {

// MODEL_STORAGE_FULL if `error` (an errno) means that there is no room, else MODEL_STORAGE_FAILED.
absl::Status DiskFailure(std::string_view what, const std::string& path, int error);

// Returns when the names in a directory are on the disk.
absl::Status SyncDirectory(const std::string& path);

// Makes a directory and those above it.
absl::Status MakeDirectories(const std::string& path);

}  // namespace aima::model
