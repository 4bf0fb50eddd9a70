#include "libs/base/node_id.h"

#include <absl/strings/str_cat.h>
#include <absl/strings/ascii.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include <fstream>

#include "libs/base/ids.h"

namespace aima {
namespace {

std::string ReadLine(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return std::string(absl::StripAsciiWhitespace(line));
}

}  // namespace

absl::StatusOr<std::string> LoadNodeId(const std::string& data_dir, const std::string& configured) {
  if (!configured.empty()) return configured;
  const std::string path = absl::StrCat(data_dir, "/node_id");
  if (const std::string kept = ReadLine(path); !kept.empty()) return kept;
  const std::string made = NewId("node_");
  const std::string draft = absl::StrCat(path, ".", getpid());
  const int fd = open(draft.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot make ", draft));
  const std::string line = made + "\n";
  const bool written = write(fd, line.data(), line.size()) == static_cast<ssize_t>(line.size()) && fsync(fd) == 0;
  close(fd);
  // link(2) does not replace: of two processes that make an id at once, one wins and both read the winner's.
  const bool linked = written && link(draft.c_str(), path.c_str()) == 0;
  unlink(draft.c_str());
  if (linked) return made;
  if (const std::string kept = ReadLine(path); !kept.empty()) return kept;
  return absl::InternalError(absl::StrCat("cannot write ", path));
}

}  // namespace aima
