// Logging: one line per event on standard error, as JSON or text. Use spdlog's functions to log.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "libs/base/task.h"

namespace spdlog {
class logger;
}

namespace aima {

// Makes spdlog's default logger write lines of `format` ("json" or "text") at `level` and above, marked with the name
// of the process. Messages are escaped: what a caller sent cannot forge a line.
void SetUpLogging(std::string_view process, const std::string& level, const std::string& format);

// While it lives, lines below `warning` are written when the loop's turn ends, those of a turn together: a process that
// is killed takes no more than these along. Without it each line is written at once.
class LogGathering {
 public:
  explicit LogGathering(Loop& loop);
  ~LogGathering();
  LogGathering(const LogGathering&) = delete;
  LogGathering& operator=(const LogGathering&) = delete;

 private:
  void Gather(Loop* loop);

  const std::shared_ptr<spdlog::logger> logger_;
};

}  // namespace aima
