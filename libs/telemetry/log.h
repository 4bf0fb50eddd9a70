// Logging: one line per event on standard error, as JSON or text. Use spdlog's functions to log.
#pragma once

#include <string>
#include <string_view>

namespace aima {

// Makes spdlog's default logger write lines of `format` ("json" or "text") at `level` and above, marked with the name
// of the process. Messages are escaped: what a caller sent cannot forge a line. Lines below `warning` are written within
// a second; a process that is killed may take the last of them along.
void SetUpLogging(std::string_view process, const std::string& level, const std::string& format);

}  // namespace aima
