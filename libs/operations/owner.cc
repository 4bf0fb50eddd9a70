#include "libs/operations/owner.h"

#include <absl/strings/str_cat.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "libs/base/ids.h"

namespace aima::operations {

absl::StatusOr<Owner> Owner::Take(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return absl::UnavailableError(absl::StrCat("cannot open ", path, ": ", strerror(errno)));
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    ::close(fd);
    return Owner(-1, NewId("owner_"));
  }
  Owner owner(fd, "");
  char text[64];
  const ssize_t size = ::pread(fd, text, sizeof(text), 0);
  if (size > 0) owner.name_.assign(text, size);
  // What is not a whole name was being written when the power failed.
  if (owner.name_.size() == NewId("owner_").size() && owner.name_.rfind("owner_", 0) == 0) return owner;
  owner.name_ = NewId("owner_");
  if (::ftruncate(fd, 0) != 0 ||
      ::pwrite(fd, owner.name_.data(), owner.name_.size(), 0) != static_cast<ssize_t>(owner.name_.size())) {
    return absl::UnavailableError(absl::StrCat("cannot write ", path, ": ", strerror(errno)));
  }
  return owner;
}

Owner::Owner(Owner&& other) noexcept : fd_(std::exchange(other.fd_, -1)), name_(std::move(other.name_)) {}

Owner::~Owner() {
  if (fd_ >= 0) ::close(fd_);
}

}  // namespace aima::operations
