#include "services/inference/large_videos.h"

#include <absl/strings/match.h>
#include <absl/strings/str_cat.h>
#include <absl/time/clock.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <filesystem>
#include <vector>

#include "libs/base/ids.h"
#include "libs/base/status_macros.h"
#include "libs/errors/errors.h"

namespace aima::inference {
namespace {

namespace fs = std::filesystem;

constexpr char kPrefix[] = "video_";
constexpr absl::Duration kBetweenSweeps = absl::Minutes(10);
// What is being written has no ending yet. Nothing has come for so long only where the process has died over it.
constexpr absl::Duration kUnfinished = absl::Hours(1);

struct Found {
  std::string path;
  absl::Time written;
  int64_t size;
  bool finished;
};

std::vector<Found> OldestFirst(const std::string& directory) {
  std::vector<Found> all;
  std::error_code error;
  for (fs::directory_iterator entry(directory, error), end; !error && entry != end; entry.increment(error)) {
    struct stat about;
    const fs::path& path = entry->path();
    if (!absl::StartsWith(path.filename().string(), kPrefix)) continue;
    if (lstat(path.c_str(), &about) != 0 || !S_ISREG(about.st_mode)) continue;
    all.push_back({path.string(), absl::TimeFromTimespec(about.st_mtim), about.st_size, path.has_extension()});
  }
  std::sort(all.begin(), all.end(), [](const Found& a, const Found& b) { return a.written < b.written; });
  return all;
}

}  // namespace

VideoFile::VideoFile(const LargeVideos& large)
    : large_(large), path_(absl::StrCat(large.directory, "/", NewId(kPrefix))) {
  std::error_code error;
  fs::create_directories(large.directory, error);
  file_ = open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (file_ < 0) error_ = errno;
}

VideoFile::~VideoFile() {
  if (file_ >= 0) close(file_);
  if (file_ >= 0 && !kept_) unlink(path_.c_str());
}

absl::Status VideoFile::Failed(int error) const { return absl::ErrnoToStatus(error, absl::StrCat("cannot write ", path_)); }

absl::Status VideoFile::Write(std::string_view bytes) {
  if (error_ != 0) return Failed(error_);
  size_ += static_cast<int64_t>(bytes.size());
  if (size_ > large_.most_bytes) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the video has more than ", large_.most_bytes, " bytes, which is the most that is kept of one"));
  }
  while (!bytes.empty()) {
    const ssize_t written = write(file_, bytes.data(), bytes.size());
    if (written < 0 && errno != EINTR) return Failed(errno);
    if (written > 0) bytes.remove_prefix(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

absl::Status VideoFile::Keep(std::string_view format) {
  const bool plain = std::all_of(format.begin(), format.end(), [](unsigned char c) { return isalnum(c) || c == '-'; });
  const std::string name = absl::StrCat(path_, ".", plain && !format.empty() ? std::string(format) : "video");
  if (rename(path_.c_str(), name.c_str()) != 0) return Failed(errno);
  path_ = name;
  kept_ = true;
  DeleteOldVideos(large_, path_);
  return absl::OkStatus();
}

absl::Status DeleteVideo(const LargeVideos& large, std::string_view name) {
  const fs::path file(name);
  if (!name.starts_with(kPrefix) || file.filename() != file || !file.has_extension()) {
    return InvalidInput("name", "is not that of a video");
  }
  const fs::path path = large.directory / file;
  if (unlink(path.c_str()) == 0 || errno == ENOENT) return absl::OkStatus();
  return absl::ErrnoToStatus(errno, absl::StrCat("cannot delete ", path.string()));
}

void DeleteOldVideos(const LargeVideos& large, std::string_view newest) {
  std::vector<Found> all = OldestFirst(large.directory);
  const absl::Time now = absl::Now();
  std::erase_if(all, [&](const Found& file) {
    const absl::Duration keep = file.finished ? large.keep : std::max(large.keep, kUnfinished);
    return now - file.written > keep && unlink(file.path.c_str()) == 0;
  });
  int64_t together = 0;
  for (const Found& file : all) together += file.size;
  for (const Found& file : all) {
    if (together <= large.most_bytes_together) break;
    if (file.finished && file.path != newest && unlink(file.path.c_str()) == 0) together -= file.size;
  }
}

Task<void> SweepVideos(LargeVideos large) {
  boost::asio::steady_timer timer(co_await boost::asio::this_coro::executor);
  while (true) {
    DeleteOldVideos(large);
    timer.expires_after(absl::ToChronoNanoseconds(kBetweenSweeps));
    co_await timer.async_wait(boost::asio::use_awaitable);
  }
}

}  // namespace aima::inference
