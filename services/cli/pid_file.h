// "PID START_TIME BOOT_ID" in a file: which process it was, proof against reuse of the number.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "libs/process/identity.h"

namespace aima::cli {

bool WritePidFile(const std::string& path, const process::Identity& identity);

// The process in the file, whether or not it still runs; nothing if the file is not there or not readable.
std::optional<process::Identity> ReadPidFile(const std::string& path);

// Living servers of PostgreSQL whose working directory is `path`: not the shell of somebody who looks around there.
std::vector<process::Identity> ServersIn(const std::string& path);

// Living processes that listen on a TCP port, as "name (pid 42)"; empty if they cannot be told.
std::string ListenerOn(int port);

// Held by the one supervisor of a data directory for as long as it lives.
class SupervisorLock {
 public:
  // Nothing if another process holds it.
  static std::optional<SupervisorLock> TryTake(const std::string& path);
  // True while somebody holds the lock.
  static bool IsHeld(const std::string& path);

  SupervisorLock(SupervisorLock&& other) : fd_(other.fd_) { other.fd_ = -1; }
  ~SupervisorLock();

 private:
  explicit SupervisorLock(int fd) : fd_(fd) {}
  int fd_;
};

}  // namespace aima::cli
