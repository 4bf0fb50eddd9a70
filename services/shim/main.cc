// aima-shim: starts one engine, stays with it, and tells how it ended. See README.md.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "services/shim/cgroup_leaf.h"
#include "services/shim/engine_log.h"
#include "services/shim/engine_tree.h"
#include "services/shim/options.h"
#include "services/shim/state_file.h"
#include "services/shim/tenure.h"

namespace aima::shim {
namespace {

constexpr int kCannotStart = 126;
constexpr int kKillAgainMs = 50;

// Not set back by anybody.
long long SteadyMs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

// The shim's life once the engine runs.
class Watch {
 public:
  Watch(const Options& options, int directory, EngineTree& tree, EngineLog& log, State& state)
      : options_(options), directory_(directory), tree_(tree), log_(log), state_(state) {}

  void Run(int signals) {
    while (!tree_.Empty()) {
      pollfd watched[2] = {{signals, POLLIN, 0}, {log_.reader(), POLLIN, 0}};
      poll(watched, 2, Timeout());
      if (watched[1].revents) log_.Drain();
      signalfd_siginfo info;
      while (read(signals, &info, sizeof(info)) == sizeof(info)) {
        if (info.ssi_signo != SIGCHLD) Stop(info);
      }
      if (tree_.Reap(state_)) EngineEnded();
      if (kill_at_ >= 0 && SteadyMs() >= kill_at_) {
        tree_.Kill();
        kill_at_ = SteadyMs() + kKillAgainMs;
        killing_ = true;
      }
    }
  }

 private:
  int Timeout() const {
    if (kill_at_ < 0) return -1;
    const long long left = kill_at_ - SteadyMs();
    return left > 0 ? static_cast<int>(left) : 0;
  }

  void Stop(const signalfd_siginfo& info) {
    const bool is_ours = static_cast<int>(info.ssi_signo) == SIGRTMIN && info.ssi_code == SI_QUEUE;
    // One that was in office before, was stopped, and does not know yet that it is not any more.
    if (is_ours && !IsInOffice(options_.tenure_path, static_cast<int>(info.ssi_pid))) return;
    const bool has_grace = is_ours && info.ssi_int >= 0;
    const long grace = has_grace ? info.ssi_int : options_.grace_ms;
    const long long at = SteadyMs() + grace;
    if (kill_at_ < 0 && grace > 0) tree_.Signal(options_.stop_signal);
    if (!killing_ && (kill_at_ < 0 || at < kill_at_)) kill_at_ = at;
  }

  // What it has left behind serves nobody. Its last words are in the log before its end is told.
  void EngineEnded() {
    log_.Drain();
    WriteState(directory_, state_);
    kill_at_ = SteadyMs();
  }

  const Options& options_;
  const int directory_;
  EngineTree& tree_;
  EngineLog& log_;
  State& state_;
  long long kill_at_ = -1;  // -1: never
  bool killing_ = false;
};

int BlockSignals() {
  sigset_t handled;
  sigemptyset(&handled);
  for (const int signal : {SIGTERM, SIGINT, SIGRTMIN, SIGCHLD}) sigaddset(&handled, signal);
  sigprocmask(SIG_BLOCK, &handled, nullptr);
  // These must not end it: its engine would end with it.
  for (const int signal : {SIGHUP, SIGPIPE, SIGQUIT, SIGUSR1, SIGUSR2, SIGALRM}) ::signal(signal, SIG_IGN);
  return signalfd(-1, &handled, SFD_CLOEXEC | SFD_NONBLOCK);
}

int CannotStart(const char* what, const char* which) {
  printf("cannot %s %s: %s\n", what, which, strerror(errno));
  fflush(stdout);
  return kCannotStart;
}

// Whoever reads standard output learns that the engine runs.
void CloseOutput() {
  const int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (nothing < 0) return;
  dup2(nothing, 1);
  dup2(nothing, 2);
  close(nothing);
}

int Run(const Options& options) {
  if (!IsInOffice(options.tenure_path, getppid())) {
    printf("the process that wanted this has been superseded\n");
    return kCannotStart;
  }
  const int directory = open(options.directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (directory < 0) return CannotStart("use the directory", options.directory);
  const int signals = BlockSignals();
  if (signals < 0 || prctl(PR_SET_CHILD_SUBREAPER, 1) != 0) return CannotStart("watch", options.program[0]);
  EngineLog log(options.log_path, options.log_bytes);
  if (!log.Open()) return CannotStart("open the log", options.log_path);

  State state;
  state.instance = options.instance;
  state.shim = Identify(getpid());
  const CgroupLeaf cgroup = options.use_cgroup ? CgroupLeaf(options.instance) : CgroupLeaf();
  state.cgroup = cgroup.path();
  state.started_ms = NowMs();
  // Before there is an engine, so that one is never without a record of its shim.
  if (!WriteState(directory, state)) return CannotStart("write to", options.directory);

  EngineTree tree(cgroup);
  if (!tree.Start(options, log)) {
    const int failed = CannotStart("execute", options.program[0]);
    cgroup.Remove();
    return failed;
  }
  state.engine = Identify(tree.engine_pid());
  if (!WriteState(directory, state)) {
    const int failed = CannotStart("write to", options.directory);
    tree.Kill();
    return failed;
  }
  CloseOutput();
  Watch(options, directory, tree, log, state).Run(signals);
  log.Drain();
  // A cgroup counts a process for a moment longer than its parent does.
  for (int tries = 0; tries < 100 && !cgroup.Remove(); ++tries) usleep(1000);
  state.gone = true;
  WriteState(directory, state);
  return 0;
}

}  // namespace
}  // namespace aima::shim

int main(int argc, char** argv) {
  aima::shim::Options options;
  if (!aima::shim::ParseOptions(argc, argv, options)) return aima::shim::kCannotStart;
  return aima::shim::Run(options);
}
