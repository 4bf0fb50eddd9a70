// Reads and writes the small files in which Linux tells of hardware.
#pragma once

#include <absl/status/status.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace aima::device {

// /proc, /sys and /etc beneath a root directory: "/" on a real machine, a recorded tree in tests. Files come and go
// with the hardware, so a file that cannot be read is simply absent.
class SystemFiles {
 public:
  explicit SystemFiles(std::string root = "/");

  // `root` as given, without a slash at its end; empty for the real machine.
  const std::string& root() const { return root_; }
  // Where a path such as /proc/stat really is.
  std::string Path(std::string_view path) const;

  // The first `max_bytes` of a file, or nullopt.
  std::optional<std::string> Read(std::string_view path, size_t max_bytes = 1 << 20) const;
  // The file without space at its ends.
  std::optional<std::string> ReadLine(std::string_view path) const;
  std::optional<int64_t> ReadInt(std::string_view path) const;
  // An integer times `scale`, such as 0.001 for a file in thousandths.
  std::optional<double> ReadScaled(std::string_view path, double scale) const;
  // An integer in hexadecimal, such as 0x10de.
  std::optional<int64_t> ReadHex(std::string_view path) const;

  bool Exists(std::string_view path) const;
  // Names in a directory, sorted; empty if there is none.
  std::vector<std::string> List(std::string_view directory) const;
  // Last segment of what a symbolic link points to, or nullopt.
  std::optional<std::string> LinkName(std::string_view path) const;

  // Writes an existing file, in one write(2) as sysfs wants it. The error is that of the system.
  absl::Status Write(std::string_view path, std::string_view text) const;

 private:
  std::string root_;
};

// Splits `text` into lines.
std::vector<std::string_view> Lines(std::string_view text);
// Splits `line` at spaces and tabs; empty fields are left out.
std::vector<std::string_view> Words(std::string_view line);
// The whole of `text` as a decimal number.
std::optional<int64_t> ParseInt(std::string_view text);
// The value of "key<separator> value" in a file such as /proc/meminfo, without space at its ends.
std::optional<std::string_view> FindValue(std::string_view text, std::string_view key, char separator = ':');

}  // namespace aima::device
