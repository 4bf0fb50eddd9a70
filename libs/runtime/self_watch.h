// How a process shows that it serves: it calls itself, through its own listener.
#pragma once

#include <absl/status/status.h>

#include <functional>
#include <string>

#include "libs/base/task.h"

namespace aima::rpc {
class Client;
}

namespace aima::runtime {

// Asks the process that listens on the socket of `domain` for its health.
Task<absl::Status> DialSelf(rpc::Client& rpc, std::string domain);

// Dials every five seconds until `ending` says true, and tells whoever started this process each time that it answers
// (WATCHDOG=1), who starts it again if it falls silent. A listener that does not answer twice in a row, such as for want of
// descriptors, ends the process.
Task<void> WatchSelf(Loop& loop, rpc::Client& rpc, std::string domain, std::function<bool()> ending);

}  // namespace aima::runtime
