// A video that is too large for messages, in the file that inference has put it into.
#pragma once

#include <absl/status/statusor.h>

#include <string>
#include <utility>

namespace aima::gateway::videos {

class VideoFile {
 public:
  // The error says why the file cannot be read.
  static absl::StatusOr<VideoFile> Open(const std::string& path);
  VideoFile(VideoFile&& other) noexcept : file_(std::exchange(other.file_, -1)) {}
  VideoFile& operator=(VideoFile&&) = delete;
  ~VideoFile();

  // The next bytes; empty at the end. A file that is deleted meanwhile is read to its end.
  absl::StatusOr<std::string> Next() const;

 private:
  explicit VideoFile(int file) : file_(file) {}

  int file_;
};

}  // namespace aima::gateway::videos
