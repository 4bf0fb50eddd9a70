// Programs that outlive whoever started them: each runs under a process of its own, aima-shim (services/shim).
#pragma once

#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <memory>
#include <optional>
#include <string>

#include "libs/process/process.h"

namespace aima::process {

// What a shim is to run.
struct ShimOrder {
  Command command;            // its marker names the run, its log_path the log that the shim writes
  std::string directory;      // of this run alone; made if it is not there
  int64_t log_bytes = 16 << 20;
  int stop_signal = 15;       // by which the program is asked to end
  std::string tenure_file;    // begins with the number of the only process that the shim obeys; empty: it obeys everybody
  absl::Duration grace = absl::Seconds(5);  // how long it may take, unless Stop says otherwise
};

// What a shim has written down about its run.
struct ShimState {
  std::string instance;  // the marker
  Identity shim;
  Identity program;              // pid 0 until it is started
  std::string cgroup;            // empty if it has none
  std::optional<Exit> exit;      // once the program has ended
  absl::Time ended_at = absl::InfiniteFuture();
};

// The program aima-shim: beside this program, or in ../bin.
absl::StatusOr<std::string> FindShim();

// Nothing if there is no readable state in the directory.
std::optional<ShimState> ReadShimState(const std::string& directory);

// One program under its shim. Destroying the object leaves both alone. Used on its loop only.
class Shim {
 public:
  // Returns when the program runs. INTERNAL says what could not be executed, and why.
  static Task<absl::StatusOr<std::unique_ptr<Shim>>> Start(Loop& loop, std::string shim_program, ShimOrder order);

  // Takes over the run of this directory and marker, whoever started it. NOT_FOUND if its shim no longer lives.
  static Task<absl::StatusOr<std::unique_ptr<Shim>>> Adopt(Loop& loop, std::string directory, std::string marker);

  const Identity& identity() const { return process_->identity(); }
  const Identity& program() const { return program_; }

  // Returns when the program and everything that it started are gone. Any number of callers may wait.
  Task<Exit> Wait();
  // How the program ended; nothing while its shim lives.
  std::optional<Exit> Ended();

  // Tells the shim to end the program, with SIGKILL after the grace. A second call can only shorten it.
  void Stop(absl::Duration grace) const;

  // The same, and returns when nothing is left; see EndRun.
  Task<absl::Status> End(absl::Duration grace, MaySignal may_signal = nullptr);

  // Bytes of memory that the tree has in use, shared pages counted with each process.
  int64_t ResidentBytes() const { return process_->ResidentBytes(); }

 private:
  Shim(std::unique_ptr<Process> process, std::string directory, Identity program);

  std::unique_ptr<Process> process_;
  const std::string directory_;
  const Identity program_;
};

// Ends what is left of a run, with its shim if that lives and without it otherwise. DEADLINE_EXCEEDED names the
// processes that the kernel does not let go. Shims know by themselves whom they obey; what none looks after any more is
// signalled only while `may_signal` says so (EndTree).
Task<absl::Status> EndRun(Identity shim, std::string marker, std::string directory, absl::Duration grace,
                          MaySignal may_signal = nullptr);

}  // namespace aima::process
