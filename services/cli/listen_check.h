// Whether this machine can listen where the configuration says.
#pragma once

#include <absl/status/status.h>

#include <string>

namespace aima::cli {

// OK if `address` (host:port) can be listened on. The error says what keeps it from that, and which process has
// the port.
absl::Status CheckFree(const std::string& key, const std::string& address);

}  // namespace aima::cli
