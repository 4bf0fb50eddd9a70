#include "services/shim/state_file.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

namespace aima::shim {
namespace {

constexpr char kDraft[] = "state.new";

std::string ReadSmall(const char* path) {
  char text[1024];
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return {};
  const ssize_t count = read(fd, text, sizeof(text));
  close(fd);
  return count > 0 ? std::string(text, static_cast<size_t>(count)) : std::string();
}

}  // namespace

Identity Identify(int pid) {
  char path[64];
  snprintf(path, sizeof(path), "/proc/%d/stat", pid);
  const std::string text = ReadSmall(path);
  // The second field is the program's name in parentheses, which may contain anything.
  const size_t name_end = text.rfind(')');
  long long start = 0;
  if (name_end == std::string::npos ||
      sscanf(text.c_str() + name_end + 1,
             " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %lld", &start) != 1) {
    return {};
  }
  return {pid, start};
}

long long NowMs() {
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

bool WriteState(int directory_fd, const State& state) {
  char text[2048];
  std::string boot = ReadSmall("/proc/sys/kernel/random/boot_id");
  while (!boot.empty() && boot.back() == '\n') boot.pop_back();
  const int length = snprintf(text, sizeof(text),
                              "instance %s\nboot_id %s\nshim_pid %d\nshim_start_time %lld\npid %d\nstart_time %lld\n"
                              "cgroup %s\nstarted_ms %lld\nended_ms %lld\nexit_code %d\nexit_signal %d\ngone %d\n",
                              state.instance.c_str(), boot.c_str(), state.shim.pid, state.shim.start_time,
                              state.engine.pid, state.engine.start_time, state.cgroup.c_str(), state.started_ms,
                              state.ended_ms, state.exit_code, state.exit_signal, state.gone ? 1 : 0);
  if (length < 0 || length >= static_cast<int>(sizeof(text))) return false;
  const int fd = openat(directory_fd, kDraft, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return false;
  const bool written = write(fd, text, static_cast<size_t>(length)) == length && fsync(fd) == 0;
  close(fd);
  return written && renameat(directory_fd, kDraft, directory_fd, "state") == 0 && fsync(directory_fd) == 0;
}

}  // namespace aima::shim
