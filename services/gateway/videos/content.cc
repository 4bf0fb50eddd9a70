#include "services/gateway/videos/video_file.h"

#include <absl/status/status.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

namespace aima::gateway::videos {
namespace {

// Little enough that the loop does not wait for a disk for long; the system reads ahead.
constexpr size_t kPiece = 256 << 10;

}  // namespace

absl::StatusOr<VideoFile> VideoFile::Open(const std::string& path) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (file < 0) return absl::ErrnoToStatus(errno, "it cannot be opened");
  VideoFile video(file);
  struct stat about;
  if (fstat(file, &about) != 0) return absl::ErrnoToStatus(errno, "it cannot be looked at");
  if (!S_ISREG(about.st_mode)) return absl::FailedPreconditionError("it is no file");
  posix_fadvise(file, 0, 0, POSIX_FADV_SEQUENTIAL);
  return video;
}

VideoFile::~VideoFile() {
  if (file_ >= 0) close(file_);
}

absl::StatusOr<std::string> VideoFile::Next() const {
  std::string bytes(kPiece, '\0');
  ssize_t got = -1;
  do {
    got = read(file_, bytes.data(), bytes.size());
  } while (got < 0 && errno == EINTR);
  if (got < 0) return absl::ErrnoToStatus(errno, "it cannot be read");
  bytes.resize(static_cast<size_t>(got));
  return bytes;
}

}  // namespace aima::gateway::videos
