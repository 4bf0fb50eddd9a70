// Tells whoever started this process how it is doing, by the protocol of systemd's sd_notify: a datagram of
// VAR=value lines to the socket that $NOTIFY_SOCKET names. Does nothing where there is none.
#pragma once

#include <string>

namespace aima::runtime {

// "READY=1", "STOPPING=1", "STATUS=waiting for PostgreSQL", "WATCHDOG=1".
void Notify(const std::string& state);

}  // namespace aima::runtime
