// Videos that no answer can hold: each is a file of its own, whose path the answer tells. Most callers never ask for their
// deletion, or leave before they learn the path; so what is old goes, and the oldest when there is too much.
#pragma once

#include <absl/status/status.h>
#include <absl/time/time.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "libs/base/task.h"
#include "services/inference/exchange.h"

namespace aima::inference {

struct LargeVideos {
  std::string directory;
  size_t above = kMaxWholeAnswer;
  int64_t most_bytes = int64_t{2} << 30;        // of one: ten minutes, the longest to be asked for, at 28 Mbit/s
  int64_t most_bytes_together = int64_t{20} << 30;
  absl::Duration keep = absl::Hours(24);
};

// Takes one video; gone with this object unless it is kept.
class VideoFile {
 public:
  explicit VideoFile(const LargeVideos& large);
  ~VideoFile();
  VideoFile(const VideoFile&) = delete;
  VideoFile& operator=(const VideoFile&) = delete;

  // After an error there is no use in writing on.
  absl::Status Write(std::string_view bytes);
  // Under a name that ends as files of this format do. The oldest others make room for it.
  absl::Status Keep(std::string_view format);

  const std::string& path() const { return path_; }
  int64_t size() const { return size_; }

 private:
  absl::Status Failed(int error) const;

  const LargeVideos& large_;
  std::string path_;
  int file_ = -1;
  int error_ = 0;  // of opening it
  int64_t size_ = 0;
  bool kept_ = false;
};

// Deletes the file of this name in the directory; OK also if there is none. Nothing that has not the name of a whole video.
absl::Status DeleteVideo(const LargeVideos& large, std::string_view name);

// Deletes what is older than `keep`; then, without `newest`, the oldest until the rest is not too much together. Knows the
// files by their names and leaves what others have put there.
void DeleteOldVideos(const LargeVideos& large, std::string_view newest = "");

// Does so now and every few minutes.
Task<void> SweepVideos(LargeVideos large);

}  // namespace aima::inference
