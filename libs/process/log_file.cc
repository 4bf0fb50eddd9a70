#include "libs/process/log_file.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

namespace aima::process {
namespace {

// Length of the UTF-8 sequence at the start of `text`; 0 if there is no valid one.
size_t SequenceLength(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return 1;
  const size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || text.size() < length) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
  }
  // Overlong forms, surrogates, and what is beyond the last code point.
  const bool wrong = (lead == 0xE0 && byte(1) < 0xA0) || (lead == 0xED && byte(1) > 0x9F) ||
                     (lead == 0xF0 && byte(1) < 0x90) || (lead == 0xF4 && byte(1) > 0x8F);
  return wrong ? 0 : length;
}

// Closes with its scope.
struct File {
  explicit File(int descriptor) : fd(descriptor) {}
  ~File() {
    if (fd >= 0) close(fd);
  }
  File(const File&) = delete;
  int fd;
};

// The last `max_bytes` of a file.
std::string ReadEnd(int fd, int64_t max_bytes) {
  struct stat info {};
  if (fstat(fd, &info) != 0) return {};
  const int64_t start = std::max<int64_t>(0, info.st_size - max_bytes);
  std::string text(static_cast<size_t>(info.st_size - start), '\0');
  const ssize_t count = pread(fd, text.data(), text.size(), start);
  text.resize(static_cast<size_t>(std::max<ssize_t>(0, count)));
  return text;
}

}  // namespace

std::string CleanText(std::string_view text) {
  std::string clean;
  clean.reserve(text.size());
  while (!text.empty()) {
    const size_t length = SequenceLength(text);
    const unsigned char c = static_cast<unsigned char>(text[0]);
    if (length == 0) {
      clean += "\xEF\xBF\xBD";
    } else if (length > 1 || (c >= 0x20 && c != 0x7F) || c == '\n' || c == '\t') {
      clean += text.substr(0, length);
    }
    text.remove_prefix(std::max<size_t>(length, 1));
  }
  return clean;
}

std::string TailOf(const std::string& path, int max_lines, int max_bytes) {
  const File file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.fd < 0) return {};
  std::string text = ReadEnd(file.fd, max_bytes);
  while (!text.empty() && text.back() == '\n') text.pop_back();
  size_t start = text.size();
  for (int lines = 0; lines < max_lines && start != std::string::npos && start > 0; ++lines) {
    start = text.rfind('\n', start - 1);
  }
  if (start != std::string::npos && start < text.size()) text.erase(0, text[start] == '\n' ? start + 1 : start);
  return CleanText(text);
}

int64_t SizeOf(const std::string& path) {
  struct stat info {};
  return stat(path.c_str(), &info) == 0 ? info.st_size : 0;
}

void StartNewLog(const std::string& path) {
  if (SizeOf(path) > 0) rename(path.c_str(), (path + ".1").c_str());
}

void BoundLog(const std::string& path, int64_t max_bytes) {
  if (SizeOf(path) <= max_bytes) return;
  const File file(open(path.c_str(), O_RDWR | O_CLOEXEC));
  const File copy(open((path + ".1").c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (file.fd < 0 || copy.fd < 0) return;
  const std::string text = ReadEnd(file.fd, max_bytes);
  // A full disk keeps the copy short; the bound holds all the same.
  if (write(copy.fd, text.data(), text.size()) < 0 || ftruncate(file.fd, 0) != 0) return;
}

}  // namespace aima::process
