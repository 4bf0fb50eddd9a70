// Runs one request for a video from beginning to end.
#pragma once

#include <functional>

#include "services/inference/dispatcher.h"
#include "services/inference/large_videos.h"

namespace aima::inference {

// Begins a job, looks at it until it is done, and fetches the video. `progress` hears of each step; an error from it,
// like a caller that leaves, ends the job.
Task<absl::StatusOr<v1::GenerateVideoResponse>> MakeVideo(
    CallContext call, Router& router, Dispatcher& dispatcher, RequestLog& log, const v1::GenerateVideoRequest& request,
    LargeVideos large, std::function<Task<absl::Status>(const v1::GenerateVideoProgress&)> progress);

}  // namespace aima::inference
