#include "services/shim/engine_tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <utility>

namespace aima::shim {
namespace {

// In the child, between fork and exec.
[[noreturn]] void Execute(const Options& options, const CgroupLeaf& cgroup, int output, int parent, int trouble) {
  setsid();
  // Without its shim nobody would read the engine's output or know of its end.
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(127);
  cgroup.Join();
  for (int signal = 1; signal < NSIG; ++signal) ::signal(signal, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  dup2(output, 1);
  dup2(output, 2);
  // Whatever is open besides standard input, output and error closes at exec.
  constexpr unsigned kCloseOnExec = 1u << 2;
  syscall(SYS_close_range, 3u, ~0u, kCloseOnExec);
  execv(options.program[0], options.program);
  const int error = errno;
  (void)!write(trouble, &error, sizeof(error));
  _exit(127);
}

// Process and parent of everything that runs.
std::vector<std::pair<int, int>> ListProcesses() {
  std::vector<std::pair<int, int>> list;
  DIR* proc = opendir("/proc");
  if (!proc) return list;
  while (const dirent* item = readdir(proc)) {
    const int pid = atoi(item->d_name);
    if (pid <= 0) continue;
    char path[64], text[512];
    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) continue;
    const ssize_t count = read(fd, text, sizeof(text) - 1);
    close(fd);
    if (count <= 0) continue;
    text[count] = '\0';
    const char* name_end = nullptr;
    for (const char* at = text; *at; ++at) {
      if (*at == ')') name_end = at;
    }
    int parent = 0;
    if (name_end && sscanf(name_end + 1, " %*c %d", &parent) == 1) list.emplace_back(pid, parent);
  }
  closedir(proc);
  return list;
}

std::vector<int> DescendantsOf(int root) {
  const std::vector<std::pair<int, int>> all = ListProcesses();
  std::vector<int> found = {root};
  for (size_t next = 0; next < found.size(); ++next) {
    for (const auto& [pid, parent] : all) {
      if (parent == found[next]) found.push_back(pid);
    }
  }
  found.erase(found.begin());
  return found;
}

bool DescendsFrom(int pid, int root) {
  for (int depth = 0; pid > 1 && depth < 1000; ++depth) {
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    FILE* file = fopen(path, "re");
    if (!file) return false;
    char text[512];
    const size_t count = fread(text, 1, sizeof(text) - 1, file);
    fclose(file);
    text[count] = '\0';
    const char* name_end = nullptr;
    for (const char* at = text; *at; ++at) {
      if (*at == ')') name_end = at;
    }
    if (!name_end || sscanf(name_end + 1, " %*c %d", &pid) != 1) return false;
    if (pid == root) return true;
  }
  return false;
}

}  // namespace

bool EngineTree::Start(const Options& options, EngineLog& log) {
  int trouble[2];
  if (pipe2(trouble, O_CLOEXEC) != 0) return false;
  const int self = getpid();
  const int pid = fork();
  if (pid == 0) Execute(options, cgroup_, log.writer(), self, trouble[1]);
  const int fork_error = errno;
  close(trouble[1]);
  log.CloseWriter();
  int error = pid < 0 ? fork_error : 0;
  // Closes without a word when the program is executed.
  while (pid > 0 && read(trouble[0], &error, sizeof(error)) < 0 && errno == EINTR) {
  }
  close(trouble[0]);
  if (error == 0) {
    engine_pid_ = pid;
    return true;
  }
  if (pid > 0) waitpid(pid, nullptr, 0);
  errno = error;
  return false;
}

bool EngineTree::Reap(State& state) {
  bool engine_ended = false;
  for (;;) {
    int status = 0;
    const int pid = waitpid(-1, &status, WNOHANG);
    if (pid < 0 && errno == EINTR) continue;
    if (pid < 0) empty_ = true;  // ECHILD
    if (pid <= 0) return engine_ended;
    if (pid != engine_pid_) continue;
    engine_ended = true;
    state.ended_ms = NowMs();
    if (WIFEXITED(status)) state.exit_code = WEXITSTATUS(status);
    if (WIFSIGNALED(status)) state.exit_signal = WTERMSIG(status);
  }
}

void EngineTree::Signal(int signal) const {
  for (const int pid : DescendantsOf(getpid())) {
    const int handle = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
    if (handle < 0) continue;
    // Only now is the number bound to one process; it is proven to be ours before anything is sent.
    if (DescendsFrom(pid, getpid())) syscall(SYS_pidfd_send_signal, handle, signal, nullptr, 0);
    close(handle);
  }
}

void EngineTree::Kill() const {
  cgroup_.Kill();
  Signal(SIGKILL);
}

}  // namespace aima::shim
