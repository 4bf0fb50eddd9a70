// The gateway as a whole.
#pragma once

#include <absl/status/status.h>

#include <string>
#include <vector>

#include "aima/config/v1/config.pb.h"

namespace aima::gateway {

namespace mcp {
class Source;
}

// Serves HTTP and gRPC until SIGTERM or SIGINT, then drains. The error says why it cannot serve. `mcp_sources` are shown
// over MCP besides the units; they outlive the call.
absl::Status Serve(const config::v1::Config& config, const std::string& share_dir,
                   const std::vector<mcp::Source*>& mcp_sources = {});

}  // namespace aima::gateway
