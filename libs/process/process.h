// Starts processes, waits for their end, and ends them with everything that they started.
#pragma once

#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "libs/base/task.h"
#include "libs/process/identity.h"

namespace aima::process {

// What to execute. There is no shell in between.
struct Command {
  std::vector<std::string> argv;  // argv[0] is the path of the program
  std::vector<std::string> env;   // the whole environment, "NAME=value"; nothing is inherited
  std::string working_dir;        // empty is this process's own
  std::string marker;             // becomes AIMA_INSTANCE; empty is none
  std::string log_path;           // standard output and error are appended to it
  int output_fd = -1;             // or go here; neither is /dev/null
};

// How a process ended.
struct Exit {
  std::optional<int> code;    // it returned, or called exit
  std::optional<int> signal;  // it was killed; neither: it was not our child, and nobody can know

  bool Ok() const { return code == 0; }
  // As shells count: 128 + signal; -1 if not known.
  int ShellCode() const;
  // "exited with code 3", "was killed by signal 9 (Killed)", "ended (its exit code is not known)".
  std::string ToString() const;
};

// One process, in a session of its own, with nothing but standard input (empty), output and error. Destroying the
// object leaves the process alone. Used on its loop only.
class Process {
 public:
  // INTERNAL if it cannot be executed, naming the program and the cause.
  static absl::StatusOr<std::unique_ptr<Process>> Spawn(Loop& loop, const Command& command);

  // Takes over a process that an earlier life of this program started. NOT_FOUND if it no longer lives.
  static absl::StatusOr<std::unique_ptr<Process>> Adopt(Loop& loop, const Identity& identity, std::string marker);

  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  const Identity& identity() const { return identity_; }
  const std::string& marker() const { return marker_; }

  // Returns when the process has ended. Any number of callers may wait.
  Task<Exit> Wait();

  // How it ended; nothing while it lives.
  std::optional<Exit> Ended();

  // Sends `signal` to the whole tree, once.
  void Signal(int signal) const;

  // Sends `signal` to the whole tree, and SIGKILL to what is left of it after `grace`. Returns when nothing is left.
  // DEADLINE_EXCEEDED names the processes that the kernel does not let go within ten seconds of SIGKILL.
  Task<absl::Status> End(int signal, absl::Duration grace);

  // Bytes of memory that the tree has in use, shared pages counted with each process.
  int64_t ResidentBytes() const;

 private:
  Process(Loop& loop, int pidfd, Identity identity, std::string marker, bool child);

  boost::asio::posix::stream_descriptor pidfd_;
  const Identity identity_;
  const std::string marker_;
  const bool child_;
};

// Asked before each signal; one that is not there always says yes. See EndTree.
using MaySignal = std::function<bool()>;

// Ends what is left of a tree whose root may be gone already; see Process::End. FAILED_PRECONDITION, with processes left
// as they are, once `may_signal` says no.
Task<absl::Status> EndTree(Identity root, std::string marker, int signal, absl::Duration grace,
                           MaySignal may_signal = nullptr);

}  // namespace aima::process
