// Small files and directories of the data directory.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <sys/types.h>

#include <string>

namespace aima::cli {

// Replaces a file in one step: a reader sees the old content or the new, never a part.
absl::Status WriteFile(const std::string& path, const std::string& content, mode_t mode);

// At most 16 MiB.
absl::StatusOr<std::string> ReadFile(const std::string& path);

// Makes a directory that only its owner may enter; one that is there is narrowed to that.
absl::Status MakePrivateDirectory(const std::string& path);

// The last lines of a file from byte `from` on, at most `lines` of them.
std::string Tail(const std::string& path, size_t from, int lines);

size_t FileSize(const std::string& path);

// Keeps a log that others append to bounded: beyond `max_bytes` it is copied to path.1 (path.1 to path.2 …, `keep`
// old ones in all) and emptied in place.
void RotateLog(const std::string& path, size_t max_bytes, int keep);

}  // namespace aima::cli
