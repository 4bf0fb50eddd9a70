#include "services/cli/files.h"

#include <absl/strings/str_cat.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

namespace aima::cli {
namespace {

namespace fs = std::filesystem;
constexpr size_t kMaxFileBytes = 16 << 20;

absl::Status Failed(const std::string& path, const char* what) {
  return absl::InternalError(absl::StrCat("cannot ", what, " ", path, ": ", std::strerror(errno)));
}

}  // namespace

absl::Status WriteFile(const std::string& path, const std::string& content, mode_t mode) {
  // A name of its own, because two may write at once; the last one wins whole.
  std::string fresh = path + ".new.XXXXXX";
  const int fd = mkostemp(fresh.data(), O_CLOEXEC);
  if (fd < 0) return Failed(fresh, "write");
  // The operator's changes leave a file to the user whose it is, where they may.
  struct stat before = {};
  if (stat(path.c_str(), &before) == 0 && before.st_uid != geteuid() && fchown(fd, before.st_uid, before.st_gid) != 0) {
    errno = 0;
  }
  const bool written = fchmod(fd, mode) == 0 &&
                       write(fd, content.data(), content.size()) == static_cast<ssize_t>(content.size()) &&
                       fsync(fd) == 0;
  close(fd);
  if (written && rename(fresh.c_str(), path.c_str()) == 0) return absl::OkStatus();
  const absl::Status failed = Failed(path, "write");
  unlink(fresh.c_str());
  return failed;
}

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::NotFoundError(absl::StrCat("cannot read ", path, ": ", std::strerror(errno)));
  std::string content;
  char buffer[64 * 1024];
  while (file.read(buffer, sizeof buffer) || file.gcount() > 0) {
    content.append(buffer, static_cast<size_t>(file.gcount()));
    if (content.size() > kMaxFileBytes) return absl::InvalidArgumentError(path + " is larger than 16 MiB");
  }
  return content;
}

absl::Status MakePrivateDirectory(const std::string& path) {
  std::error_code error;
  fs::create_directories(fs::path(path).parent_path(), error);
  if (mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) return Failed(path, "make the directory");
  struct stat info = {};
  if (stat(path.c_str(), &info) != 0) return Failed(path, "use");
  if (!S_ISDIR(info.st_mode)) {
    errno = ENOTDIR;
    return Failed(path, "use");
  }
  if ((info.st_mode & 0777) != 0700 && chmod(path.c_str(), 0700) != 0) return Failed(path, "make private");
  return absl::OkStatus();
}

std::string Tail(const std::string& path, size_t from, int lines) {
  constexpr size_t kMost = 8192;
  std::ifstream file(path, std::ios::binary);
  const size_t size = FileSize(path);
  if (from > size) from = 0;  // it was rotated
  const size_t begin = std::max(from, size > kMost ? size - kMost : 0);
  file.seekg(static_cast<std::streamoff>(begin));
  std::string text(size - begin, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(std::max<std::streamsize>(file.gcount(), 0)));
  while (!text.empty() && text.back() == '\n') text.pop_back();
  size_t start = text.size();
  for (int i = 0; i < lines && start != std::string::npos && start > 0; ++i) start = text.rfind('\n', start - 1);
  return start == std::string::npos || start == 0 ? text : text.substr(start + 1);
}

size_t FileSize(const std::string& path) {
  struct stat info = {};
  return stat(path.c_str(), &info) == 0 ? static_cast<size_t>(info.st_size) : 0;
}

void RotateLog(const std::string& path, size_t max_bytes, int keep) {
  if (FileSize(path) <= max_bytes) return;
  std::error_code ignored;
  for (int i = keep - 1; i >= 1; --i) {
    fs::rename(absl::StrCat(path, ".", i), absl::StrCat(path, ".", i + 1), ignored);
  }
  fs::copy_file(path, path + ".1", fs::copy_options::overwrite_existing, ignored);
  // Writers append, so they go on at the new end.
  fs::resize_file(path, 0, ignored);
}

}  // namespace aima::cli
