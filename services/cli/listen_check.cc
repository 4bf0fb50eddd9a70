#include "services/cli/listen_check.h"

#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "services/cli/command_line.h"
#include "services/cli/pid_file.h"

namespace aima::cli {
namespace {

// Binds and listens, and gives the address back at once. errno tells why not.
bool TryListen(const addrinfo& address) {
  const int fd = socket(address.ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return false;
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  const bool free = bind(fd, address.ai_addr, address.ai_addrlen) == 0 && listen(fd, 1) == 0;
  const int error = errno;
  close(fd);
  errno = error;
  return free;
}

}  // namespace

absl::Status CheckFree(const std::string& key, const std::string& address) {
  const size_t colon = address.rfind(':');
  int port = 0;
  if (colon == std::string::npos || !absl::SimpleAtoi(address.substr(colon + 1), &port) || port < 1 ||
      port > 65535) {
    return UsageError(absl::StrCat(key, ": ", address, " is not an address; write host:port"));
  }
  std::string host = address.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  const int error =
      getaddrinfo(host == "*" ? nullptr : host.c_str(), std::to_string(port).c_str(), &hints, &found);
  if (error != 0) return UsageError(absl::StrCat(key, ": cannot resolve ", host, ": ", gai_strerror(error)));
  const bool free = TryListen(*found);
  const int reason = errno;
  freeaddrinfo(found);
  if (free) return absl::OkStatus();
  std::string text = absl::StrCat("cannot listen on ", address, ": ", std::strerror(reason));
  if (reason == EADDRINUSE) {
    const std::string who = ListenerOn(port);
    text = absl::StrCat("port ", port, " is taken", who.empty() ? "" : " by ", who, "; ", key, " is ", address);
  }
  return WithRemedy(absl::FailedPreconditionError(text),
                    absl::StrCat("Free it, or choose another: --set ", key, "=HOST:PORT"));
}

}  // namespace aima::cli
