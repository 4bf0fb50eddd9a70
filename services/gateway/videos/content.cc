#include "services/gateway/videos/content.h"

#include <absl/status/status.h>
#include <absl/time/clock.h>
#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>

#include "aima/inference/v1/inference.pb.h"
#include "libs/errors/errors.h"

namespace aima::gateway::videos {
namespace {

// Little enough that the loop does not wait for a disk for long; the system reads ahead.
constexpr uint64_t kPiece = 256 << 10;
constexpr absl::Duration kPatience = absl::Seconds(5);

}  // namespace

absl::StatusOr<Content> Content::Of(inference::v1::GenerateVideoResponse made) {
  if (made.path().empty()) return Content(std::move(*made.mutable_video()));
  const int file = open(made.path().c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (file < 0) return absl::ErrnoToStatus(errno, "it cannot be opened");
  Content content(file);
  struct stat about;
  if (fstat(file, &about) != 0) return absl::ErrnoToStatus(errno, "it cannot be looked at");
  if (!S_ISREG(about.st_mode)) return absl::FailedPreconditionError("it is no file");
  content.size_ = static_cast<uint64_t>(about.st_size);
  posix_fadvise(file, 0, 0, POSIX_FADV_SEQUENTIAL);
  return content;
}

Content::~Content() {
  if (file_ >= 0) close(file_);
}

absl::StatusOr<std::string> Content::Read(uint64_t begin, uint64_t most) const {
  most = std::min(most, kPiece);
  if (file_ < 0) return bytes_.substr(std::min<uint64_t>(begin, bytes_.size()), most);
  std::string bytes(most, '\0');
  ssize_t got = -1;
  do {
    got = pread(file_, bytes.data(), bytes.size(), static_cast<off_t>(begin));
  } while (got < 0 && errno == EINTR);
  if (got < 0) return absl::ErrnoToStatus(errno, "it cannot be read");
  bytes.resize(static_cast<size_t>(got));
  return bytes;
}

Task<void> DeleteFile(rpc::Client& rpc, CallContext call, const operations::Operation& operation) {
  inference::v1::GenerateVideoResponse made;
  if (operation.unit != kUnit || !made.ParseFromString(operation.result) || made.path().empty()) co_return;
  inference::v1::DeleteVideoRequest request;
  request.set_name(std::filesystem::path(made.path()).filename().string());
  call.idempotency_key.clear();  // of another command
  call.deadline = std::min(call.deadline, absl::Now() + kPatience);
  const absl::Status status = (co_await rpc.Call<inference::v1::DeleteVideoResponse>(call, request)).status();
  if (!status.ok()) spdlog::warn("{} stays until it is old: {}", made.path(), DetailsOf(status).message);
}

}  // namespace aima::gateway::videos
