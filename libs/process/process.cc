#include "libs/process/process.h"

#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>
#include <absl/time/clock.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>

// glibc 2.36 forgets to say that these are C.
extern "C" {
#include <sys/pidfd.h>
}

namespace aima::process {
namespace {

constexpr absl::Duration kUnkillableAfter = absl::Seconds(10);

// The two halves of posix_spawn's instructions.
class SpawnPlan {
 public:
  SpawnPlan() {
    posix_spawnattr_init(&attributes_);
    posix_spawn_file_actions_init(&actions_);
    sigset_t all, none;
    sigfillset(&all);
    sigemptyset(&none);
    posix_spawnattr_setsigdefault(&attributes_, &all);
    posix_spawnattr_setsigmask(&attributes_, &none);
    posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
  }
  ~SpawnPlan() {
    posix_spawnattr_destroy(&attributes_);
    posix_spawn_file_actions_destroy(&actions_);
  }
  SpawnPlan(const SpawnPlan&) = delete;

  void Output(int fd) {
    posix_spawn_file_actions_addopen(&actions_, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions_, fd, 1);
    posix_spawn_file_actions_adddup2(&actions_, 1, 2);
    posix_spawn_file_actions_addclosefrom_np(&actions_, 3);
  }
  void Directory(const std::string& path) { posix_spawn_file_actions_addchdir_np(&actions_, path.c_str()); }

  int Run(pid_t& pid, const std::vector<std::string>& argv, const std::vector<std::string>& env) {
    const auto pointers = [](const std::vector<std::string>& texts) {
      std::vector<char*> list;
      for (const std::string& text : texts) list.push_back(const_cast<char*>(text.c_str()));
      list.push_back(nullptr);
      return list;
    };
    return posix_spawn(&pid, argv[0].c_str(), &actions_, &attributes_, pointers(argv).data(), pointers(env).data());
  }

 private:
  posix_spawnattr_t attributes_;
  posix_spawn_file_actions_t actions_;
};

absl::Status Failure(const Command& command, const char* what, int error) {
  return absl::InternalError(absl::StrCat("cannot ", what, " ", command.argv.empty() ? "" : command.argv[0], ": ",
                                          strerror(error)));
}

Task<void> Pause(absl::Duration time) {
  boost::asio::steady_timer timer(co_await boost::asio::this_coro::executor, absl::ToChronoNanoseconds(time));
  boost::system::error_code error;
  co_await timer.async_wait(boost::asio::redirect_error(boost::asio::use_awaitable, error));
}

// Signals the tree and says who is left of it; nothing if it may not be signalled any more.
std::optional<std::vector<Entry>> SignalTree(const Identity& root, const std::string& marker, int signal,
                                             const MaySignal& may_signal) {
  std::vector<Entry> tree = TreeOf(root, marker);
  for (const Entry& entry : tree) {
    if (may_signal && !may_signal()) return std::nullopt;
    SendSignal({BootId(), entry.pid, entry.start_time}, signal);
  }
  return tree;
}

}  // namespace

int Exit::ShellCode() const { return code ? *code : signal ? 128 + *signal : -1; }

std::string Exit::ToString() const {
  if (code) return absl::StrCat("exited with code ", *code);
  if (signal) return absl::StrCat("was killed by signal ", *signal, " (", strsignal(*signal), ")");
  return "ended (its exit code is not known)";
}

Process::Process(Loop& loop, int pidfd, Identity identity, std::string marker, bool child)
    : pidfd_(loop, pidfd), identity_(std::move(identity)), marker_(std::move(marker)), child_(child) {}

Process::~Process() {
  // Leaves no zombie of a child that has ended.
  siginfo_t info{};
  if (child_) waitid(P_PID, identity_.pid, &info, WEXITED | WNOHANG);
}

absl::StatusOr<std::unique_ptr<Process>> Process::Spawn(Loop& loop, const Command& command) {
  if (command.argv.empty()) return absl::InvalidArgumentError("no program to execute");
  int output = command.output_fd;
  int opened = -1;
  if (output < 0) {
    const char* path = command.log_path.empty() ? "/dev/null" : command.log_path.c_str();
    opened = output = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (output < 0) return Failure(command, "open the log of", errno);
  }
  SpawnPlan plan;
  plan.Output(output);
  if (!command.working_dir.empty()) plan.Directory(command.working_dir);
  std::vector<std::string> env = command.env;
  if (!command.marker.empty()) env.push_back(absl::StrCat("AIMA_INSTANCE=", command.marker));
  pid_t pid = 0;
  const int error = plan.Run(pid, command.argv, env);
  if (opened >= 0) close(opened);
  if (error != 0) return Failure(command, "execute", error);

  // A child keeps its number until it is reaped, so none of this can meet another process.
  const std::optional<Identity> identity = Identify(pid);
  const int pidfd = pidfd_open(pid, 0);
  if (!identity || pidfd < 0) {
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
    return Failure(command, "watch", errno);
  }
  return std::unique_ptr<Process>(new Process(loop, pidfd, *identity, command.marker, /*child=*/true));
}

absl::StatusOr<std::unique_ptr<Process>> Process::Adopt(Loop& loop, const Identity& identity, std::string marker) {
  const int pidfd = identity.pid > 0 ? pidfd_open(identity.pid, 0) : -1;
  if (pidfd >= 0 && Lives(identity)) {
    return std::unique_ptr<Process>(new Process(loop, pidfd, identity, std::move(marker), /*child=*/false));
  }
  if (pidfd >= 0) close(pidfd);
  return absl::NotFoundError(absl::StrCat("process ", identity.pid, " no longer lives"));
}

Task<Exit> Process::Wait() {
  for (;;) {
    if (std::optional<Exit> exit = Ended()) co_return *exit;
    boost::system::error_code error;
    co_await pidfd_.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                               boost::asio::redirect_error(boost::asio::use_awaitable, error));
    if (error) co_return Exit{};
  }
}

std::optional<Exit> Process::Ended() {
  if (!child_) return Lives(identity_) ? std::nullopt : std::optional<Exit>(Exit{});
  siginfo_t info{};
  // The zombie stays: its number proves that the session is still ours.
  if (waitid(P_PID, identity_.pid, &info, WEXITED | WNOHANG | WNOWAIT) != 0) return Exit{};
  if (info.si_pid == 0) return std::nullopt;
  Exit exit;
  (info.si_code == CLD_EXITED ? exit.code : exit.signal) = info.si_status;
  return exit;
}

void Process::Signal(int signal) const { SignalTree(identity_, marker_, signal, nullptr); }

Task<absl::Status> Process::End(int signal, absl::Duration grace) {
  return EndTree(identity_, marker_, signal, grace);
}

int64_t Process::ResidentBytes() const {
  int64_t pages = 0;
  for (const Entry& entry : TreeOf(identity_, marker_)) pages += entry.resident_pages;
  return pages * sysconf(_SC_PAGESIZE);
}

Task<absl::Status> EndTree(Identity root, std::string marker, int signal, absl::Duration grace,
                           MaySignal may_signal) {
  const absl::Status not_any_more = absl::FailedPreconditionError("these processes are another's business now");
  const absl::Time kill_at = absl::Now() + grace;
  std::optional<std::vector<Entry>> signalled = SignalTree(root, marker, signal, may_signal);
  if (!signalled) co_return not_any_more;
  std::vector<Entry> left = *std::move(signalled);
  absl::Duration pause = absl::Milliseconds(2);
  // One empty look is not enough: a process may be born between two reads of /proc.
  for (int empty_looks = left.empty() ? 1 : 0; empty_looks < 2;) {
    co_await Pause(pause);
    pause = std::min(pause * 2, absl::Milliseconds(50));
    if (absl::Now() >= kill_at) {
      signalled = SignalTree(root, marker, SIGKILL, may_signal);
      if (!signalled) co_return not_any_more;
      left = *std::move(signalled);
    } else {
      left = TreeOf(root, marker);
    }
    empty_looks = left.empty() ? empty_looks + 1 : 0;
    if (!left.empty() && absl::Now() >= kill_at + kUnkillableAfter) {
      std::vector<int> pids;
      for (const Entry& entry : left) pids.push_back(entry.pid);
      co_return absl::DeadlineExceededError(
          absl::StrCat("processes survive SIGKILL: ", absl::StrJoin(pids, ", ")));
    }
  }
  co_return absl::OkStatus();
}

}  // namespace aima::process
