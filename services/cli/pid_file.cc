#include "services/cli/pid_file.h"

#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <utility>

#include "libs/process/port.h"
#include "services/cli/files.h"

namespace aima::cli {
namespace {

namespace fs = std::filesystem;

std::string Line(const process::Identity& identity) {
  return absl::StrCat(identity.pid, " ", identity.start_time, " ", identity.boot_id, "\n");
}

// All processes that may be looked at.
std::vector<int> Pids() {
  std::vector<int> pids;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator("/proc", error)) {
    int pid = 0;
    if (absl::SimpleAtoi(entry.path().filename().string(), &pid)) pids.push_back(pid);
  }
  return pids;
}

// A lock on the whole file, or nothing. `fd` stays open while the lock is to last.
bool Lock(int fd, int operation) { return flock(fd, operation | LOCK_NB) == 0; }

}  // namespace

bool WritePidFile(const std::string& path, const process::Identity& identity) {
  return WriteFile(path, Line(identity), 0600).ok();
}

std::optional<process::Identity> ReadPidFile(const std::string& path) {
  std::ifstream file(path);
  process::Identity identity;
  if (!(file >> identity.pid >> identity.start_time >> identity.boot_id) || identity.pid <= 1) return std::nullopt;
  return identity;
}

std::vector<process::Identity> ServersIn(const std::string& path) {
  std::vector<process::Identity> found;
  std::error_code error;
  const fs::path directory = fs::canonical(path, error);
  if (error) return found;
  for (const int pid : Pids()) {
    if (fs::read_symlink(absl::StrCat("/proc/", pid, "/cwd"), error) != directory) continue;
    // A program that was replaced by an upgrade is "… (deleted)".
    const std::string program = fs::read_symlink(absl::StrCat("/proc/", pid, "/exe"), error).filename().string();
    if (program.substr(0, program.find(' ')) != "postgres") continue;
    const std::optional<process::Identity> identity = process::Identify(pid);
    if (identity && process::Lives(*identity)) found.push_back(*identity);
  }
  return found;
}

std::string ListenerOn(int port) {
  std::vector<process::Entry> entries;
  for (const int pid : Pids()) {
    const std::optional<process::Entry> entry = process::ReadEntry(pid);
    if (entry && !entry->Dead()) entries.push_back(*entry);
  }
  if (!process::ListensOn(entries, port)) return "";
  // Each question reads all sockets of the machine, so it is asked of halves rather than of every process.
  while (entries.size() > 1) {
    const auto middle = entries.begin() + static_cast<long>(entries.size() / 2);
    const bool in_first = process::ListensOn({entries.begin(), middle}, port);
    entries = in_first ? std::vector(entries.begin(), middle) : std::vector(middle, entries.end());
  }
  const int pid = entries.front().pid;
  std::string name;
  std::ifstream(absl::StrCat("/proc/", pid, "/comm")) >> name;
  return absl::StrCat(name, " (pid ", pid, ")");
}

std::optional<SupervisorLock> SupervisorLock::TryTake(const std::string& path) {
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return std::nullopt;
  const std::optional<process::Identity> self = process::Identify(getpid());
  if (!self || !Lock(fd, LOCK_EX)) {
    close(fd);
    return std::nullopt;
  }
  // Written in place: the lock is on this very file.
  const std::string line = Line(*self);
  if (ftruncate(fd, 0) != 0 || pwrite(fd, line.data(), line.size(), 0) < 0) {
    close(fd);
    return std::nullopt;
  }
  return SupervisorLock(fd);
}

bool SupervisorLock::IsHeld(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  const bool free = Lock(fd, LOCK_SH);
  close(fd);
  return !free;
}

SupervisorLock::~SupervisorLock() {
  if (fd_ < 0) return;
  if (ftruncate(fd_, 0) != 0) {
    // The lock says enough.
  }
  close(fd_);
}

}  // namespace aima::cli
