// Short commands: run one, hear its lines, get its end.
#pragma once

#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <functional>
#include <string>
#include <string_view>

#include "libs/process/process.h"

namespace aima::process {

// What came of a command.
struct RunResult {
  Exit exit;
  bool timed_out = false;  // it was killed for taking too long
  std::string output;      // the last 64 KiB of standard output and error, mixed, as valid UTF-8
};

// Runs `command` (whose log_path and output_fd are not used) and calls `on_line` for each line that it writes. After
// `timeout` it is killed with everything that it started. An error means that it could not be executed at all. If the
// caller is cancelled, the command is killed.
Task<absl::StatusOr<RunResult>> Run(Loop& loop, Command command, absl::Duration timeout,
                                    std::function<void(std::string_view line)> on_line = {});

}  // namespace aima::process
