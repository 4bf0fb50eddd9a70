#include "services/device/system_files.h"

#include <absl/strings/str_cat.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>

namespace aima::device {
namespace {

std::string_view Trim(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return {};
  text = text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
  // Device tree strings end in a zero byte.
  while (!text.empty() && text.back() == '\0') text.remove_suffix(1);
  return text;
}

}  // namespace

SystemFiles::SystemFiles(std::string root) : root_(std::move(root)) {
  while (!root_.empty() && root_.back() == '/') root_.pop_back();
}

std::string SystemFiles::Path(std::string_view path) const { return root_ + std::string(path); }

std::optional<std::string> SystemFiles::Read(std::string_view path, size_t max_bytes) const {
  const int fd = open(Path(path).c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return std::nullopt;
  std::string text;
  char buffer[16384];
  ssize_t got = 0;
  while (text.size() < max_bytes) {
    got = read(fd, buffer, std::min(sizeof(buffer), max_bytes - text.size()));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    text.append(buffer, got);
  }
  close(fd);
  if (got < 0) return std::nullopt;
  return text;
}

std::optional<std::string> SystemFiles::ReadLine(std::string_view path) const {
  std::optional<std::string> text = Read(path);
  if (!text) return std::nullopt;
  return std::string(Trim(*text));
}

std::optional<int64_t> SystemFiles::ReadInt(std::string_view path) const {
  const std::optional<std::string> text = ReadLine(path);
  return text ? ParseInt(*text) : std::nullopt;
}

std::optional<double> SystemFiles::ReadScaled(std::string_view path, double scale) const {
  const std::optional<int64_t> value = ReadInt(path);
  if (!value) return std::nullopt;
  return static_cast<double>(*value) * scale;
}

std::optional<int64_t> SystemFiles::ReadHex(std::string_view path) const {
  const std::optional<std::string> text = ReadLine(path);
  if (!text) return std::nullopt;
  std::string_view digits = *text;
  if (digits.substr(0, 2) == "0x") digits.remove_prefix(2);
  int64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
  if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  return value;
}

bool SystemFiles::Exists(std::string_view path) const { return access(Path(path).c_str(), F_OK) == 0; }

std::vector<std::string> SystemFiles::List(std::string_view directory) const {
  std::vector<std::string> names;
  DIR* dir = opendir(Path(directory).c_str());
  if (dir == nullptr) return names;
  while (const dirent* entry = readdir(dir)) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  closedir(dir);
  std::sort(names.begin(), names.end());
  return names;
}

std::optional<std::string> SystemFiles::LinkName(std::string_view path) const {
  char target[PATH_MAX];
  const ssize_t size = readlink(Path(path).c_str(), target, sizeof(target));
  if (size <= 0) return std::nullopt;
  std::string_view text(target, size);
  const size_t slash = text.rfind('/');
  return std::string(slash == std::string_view::npos ? text : text.substr(slash + 1));
}

absl::Status SystemFiles::Write(std::string_view path, std::string_view text) const {
  const std::string real = Path(path);
  const int fd = open(real.c_str(), O_WRONLY | O_CLOEXEC);
  if (fd < 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot open ", real));
  // A file of a recorded tree keeps no rest of a longer value; on sysfs this does nothing.
  if (!root_.empty() && ftruncate(fd, 0) != 0) {
    const int error = errno;
    close(fd);
    return absl::ErrnoToStatus(error, absl::StrCat("cannot truncate ", real));
  }
  const ssize_t wrote = write(fd, text.data(), text.size());
  const int error = errno;
  close(fd);
  if (wrote == static_cast<ssize_t>(text.size())) return absl::OkStatus();
  return absl::ErrnoToStatus(error, absl::StrCat("cannot write ", real));
}

std::vector<std::string_view> Lines(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    lines.push_back(text.substr(0, end));
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 1);
  }
  return lines;
}

std::vector<std::string_view> Words(std::string_view line) {
  std::vector<std::string_view> words;
  while (true) {
    const size_t begin = line.find_first_not_of(" \t");
    if (begin == std::string_view::npos) return words;
    line.remove_prefix(begin);
    const size_t end = line.find_first_of(" \t");
    words.push_back(line.substr(0, end));
    if (end == std::string_view::npos) return words;
    line.remove_prefix(end);
  }
}

std::optional<int64_t> ParseInt(std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<std::string_view> FindValue(std::string_view text, std::string_view key, char separator) {
  for (std::string_view line : Lines(text)) {
    if (line.substr(0, key.size()) != key) continue;
    std::string_view rest = line.substr(key.size());
    const size_t at = rest.find(separator);
    if (at == std::string_view::npos || !Trim(rest.substr(0, at)).empty()) continue;
    return Trim(rest.substr(at + 1));
  }
  return std::nullopt;
}

}  // namespace aima::device
