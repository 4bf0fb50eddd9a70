#include "services/model/disk.h"

#include <absl/strings/str_cat.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <filesystem>

#include "aima/model/v1/model.pb.h"
#include "libs/errors/errors.h"

namespace aima::model {

absl::Status DiskFailure(std::string_view what, const std::string& path, int error) {
  const bool full = error == ENOSPC || error == EDQUOT;
  return Error(full ? v1::MODEL_STORAGE_FULL : v1::MODEL_STORAGE_FAILED,
               absl::StrCat("cannot ", std::string(what), " '", path, "': ", strerror(error)), {{"path", path}});
}

absl::Status SyncDirectory(const std::string& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return DiskFailure("open", path, errno);
  const int result = ::fsync(descriptor);
  const int error = errno;
  ::close(descriptor);
  return result == 0 ? absl::OkStatus() : DiskFailure("write", path, error);
}

absl::Status MakeDirectories(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  return error ? DiskFailure("create", path, error.value()) : absl::OkStatus();
}

}  // namespace aima::model
