// Log files of a cluster, as people read them.
#pragma once

#include <absl/time/time.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace aima::cli {

// One line of the log of a process.
struct LogLine {
  std::string text;                // as it is in the file
  std::string message;             // of a line that is not JSON: without its time and the name of its process
  std::optional<absl::Time> time;  // that it bears, or the line before it
  bool stamped = false;            // it bears a time itself
};
LogLine ReadLogLine(std::string text, const std::string& process = "");

// Lines of one file, in their order. One without a time has that of the line before, those at the beginning have the
// first that there is.
std::vector<LogLine> ReadLogLines(std::vector<std::string> texts, const std::string& process);

// A line for people: "12:03:11 warn  what happened  key=value", without what would drive the terminal.
std::string ForPeople(const LogLine& line, bool colours);

// A line for programs, always one JSON object: {"time", "process", "message"} if it is none in the file.
std::string ForPrograms(const LogLine& line, const std::string& process);

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
