// What is known of an engine, kept where a later life of the engine service finds it.
#pragma once

#include <string>

namespace aima::shim {

// Which process: with the boot of the machine, this is never another one.
struct Identity {
  int pid = 0;
  long long start_time = 0;  // clock ticks after boot
};

struct State {
  std::string instance;
  Identity shim;
  Identity engine;  // pid 0 until it is started
  std::string cgroup;
  long long started_ms = 0;  // since 1970
  long long ended_ms = 0;    // 0 while it runs
  int exit_code = -1;        // it returned this
  int exit_signal = 0;       // or was killed by this
  bool gone = false;         // nothing of its tree is left
};

Identity Identify(int pid);
long long NowMs();

// Replaces the file `state` in the directory; what was written survives a crash of the machine. False with errno.
bool WriteState(int directory_fd, const State& state);

}  // namespace aima::shim
