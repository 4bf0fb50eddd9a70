// What the shim is told to do.
#pragma once

#include <sys/types.h>

namespace aima::shim {

struct Options {
  const char* instance = nullptr;   // names the run; also in the environment, as AIMA_INSTANCE
  const char* directory = nullptr;  // for the state file
  const char* log_path = nullptr;   // standard output and error of the engine
  off_t log_bytes = 16 << 20;       // at which the log is rotated; one older part is kept
  int stop_signal = 0;              // by which the engine is asked to end
  long grace_ms = 5000;             // how long it may take then
  bool use_cgroup = true;
  const char* tenure_path = nullptr;  // of the file that names the only process that this one obeys
  char** program = nullptr;  // with its arguments, null at the end
};

// The command line; false if it is wrong, after saying so on standard output.
bool ParseOptions(int argc, char** argv, Options& options);

}  // namespace aima::shim
