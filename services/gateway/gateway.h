// The gateway as a whole.
#pragma once

#include <absl/status/status.h>

#include <string>

#include "aima/config/v1/config.pb.h"

namespace aima::gateway {

// Serves HTTP and gRPC until SIGTERM or SIGINT, then drains. The error says why it cannot serve.
absl::Status Serve(const config::v1::Config& config, const std::string& share_dir);

}  // namespace aima::gateway
