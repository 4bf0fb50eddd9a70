// The bytes of a video, wherever inference has put them.
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <string>
#include <utility>

#include "aima/inference/v1/media.pb.h"
#include "libs/base/call_context.h"
#include "libs/base/task.h"
#include "libs/operations/operation.h"
#include "libs/rpc/client.h"

namespace aima::gateway::videos {

// The unit that makes them.
inline constexpr char kUnit[] = "inference.generate_video";

// Taken out of the answer, or in the file that the answer names because no message holds it.
class Content {
 public:
  // The error says why the file cannot be read.
  static absl::StatusOr<Content> Of(inference::v1::GenerateVideoResponse made);
  Content(Content&& other) noexcept
      : bytes_(std::move(other.bytes_)), file_(std::exchange(other.file_, -1)), size_(other.size_) {}
  Content& operator=(Content&&) = delete;
  ~Content();

  uint64_t size() const { return size_; }
  // Some bytes from `begin` on, `most` at most; none at the end. A file that is deleted meanwhile is read all the same.
  absl::StatusOr<std::string> Read(uint64_t begin, uint64_t most) const;

 private:
  explicit Content(std::string bytes) : bytes_(std::move(bytes)), size_(bytes_.size()) {}
  explicit Content(int file) : file_(file) {}

  std::string bytes_;
  int file_ = -1;
  uint64_t size_ = 0;
};

// Has inference delete the file of a video, if this operation was one that has a file. Where that fails, the file stays
// until inference sweeps it away.
Task<void> DeleteFile(rpc::Client& rpc, CallContext call, const operations::Operation& operation);

}  // namespace aima::gateway::videos
