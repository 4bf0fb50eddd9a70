// TCP ports on this machine.
#pragma once

#include <absl/status/statusor.h>
#include <sys/types.h>

#include <set>
#include <string>
#include <vector>

#include "libs/process/identity.h"

namespace aima::process {

// A port on 127.0.0.1 that nobody listens on just now. Somebody may take it before it is used.
absl::StatusOr<int> FreePort();

// True if nobody listens on 127.0.0.1:port.
bool PortIsFree(int port);

// The users whose processes listen on the port, on any address of this machine.
std::set<uid_t> UsersWhoListenOn(int port);

// True if one of these processes listens on the port, on any address of this machine.
bool ListensOn(const std::vector<Entry>& processes, int port);

}  // namespace aima::process
