// Log files of processes that write them by themselves.
#pragma once

#include <absl/status/status.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace aima::process {

// `text` as valid UTF-8 without control characters other than line ends and tabs.
std::string CleanText(std::string_view text);

// The last lines of a file, cleaned, at most `max_lines` and `max_bytes`; empty if there is none.
std::string TailOf(const std::string& path, int max_lines, int max_bytes = 8192);

// Size of a file; 0 if there is none.
int64_t SizeOf(const std::string& path);

// Moves what is in `path` to `path`.1, whose former content is lost, so that a new run starts with an empty log.
void StartNewLog(const std::string& path);

// Does the same to a file that a living process appends to, if it is larger than `max_bytes`: its end is copied, then
// it is emptied. What is written in between is lost; the process never waits, and never notices.
void BoundLog(const std::string& path, int64_t max_bytes);

}  // namespace aima::process
