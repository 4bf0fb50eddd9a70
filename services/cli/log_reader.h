// Log files of a cluster, as people read them.
#pragma once

#include <absl/time/time.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace aima::cli {

// One line of a log.
struct LogLine {
  std::string text;                // as it is in the file
  std::optional<absl::Time> time;  // that it bears
};
LogLine ReadLogLine(std::string text);

// A line for people: "12:03:11 warn  what happened  key=value". Lines that are not JSON stay as they are, without what
// would drive the terminal.
std::string ForPeople(const LogLine& line, bool colours);

// A file that grows, is rotated (copied away and emptied) and may not be there yet.
class LogFile {
 public:
  explicit LogFile(std::string path) : path_(std::move(path)) {}

  const std::string& path() const { return path_; }

  // The last `lines` whole lines, and those of the rotated file before it as far as needed. Later calls of More go on
  // there.
  std::vector<std::string> Last(size_t lines);

  // The whole lines that were added since.
  std::vector<std::string> More();

 private:
  const std::string path_;
  size_t offset_ = 0;
  std::string rest_;  // of a line that is not whole
};

}  // namespace aima::cli
