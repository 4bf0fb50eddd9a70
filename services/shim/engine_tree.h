// The engine and everything that it starts.
#pragma once

#include <string>
#include <vector>

#include "services/shim/cgroup_leaf.h"
#include "services/shim/engine_log.h"
#include "services/shim/options.h"
#include "services/shim/state_file.h"

namespace aima::shim {

// All descendants of this process: it is their subreaper, so whoever loses its parent becomes its child, and as long as
// one is left there is a child to wait for.
class EngineTree {
 public:
  explicit EngineTree(const CgroupLeaf& cgroup) : cgroup_(cgroup) {}

  // Executes the program with `log` as its output. False with errno if it cannot be executed.
  bool Start(const Options& options, EngineLog& log);
  int engine_pid() const { return engine_pid_; }

  // Collects what has ended. True if the engine itself is among it: then `state` has how.
  bool Reap(State& state);
  // Nothing is left, and nothing can come.
  bool Empty() const { return empty_; }

  void Signal(int signal) const;
  // SIGKILL; to be repeated until Empty, because a process may be born between a look and the signal.
  void Kill() const;

 private:
  const CgroupLeaf& cgroup_;
  int engine_pid_ = 0;
  bool empty_ = false;
};

}  // namespace aima::shim
