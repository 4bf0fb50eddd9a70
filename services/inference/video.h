// Runs one request for a video from beginning to end.
#pragma once

#include <functional>
#include <string>

#include "services/inference/dispatcher.h"
#include "services/inference/exchange.h"

namespace aima::inference {

// Where videos are put that no answer can hold.
struct LargeVideos {
  std::string directory;
  size_t above = kMaxWholeAnswer;
};

// Begins a job, looks at it until it is done, and fetches the video. `progress` hears of each step; an error from it,
// like a caller that leaves, ends the job.
Task<absl::StatusOr<v1::GenerateVideoResponse>> MakeVideo(
    CallContext call, Router& router, Dispatcher& dispatcher, RequestLog& log, const v1::GenerateVideoRequest& request,
    LargeVideos large, std::function<Task<absl::Status>(const v1::GenerateVideoProgress&)> progress);

}  // namespace aima::inference
