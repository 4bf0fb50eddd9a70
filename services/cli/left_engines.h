// Inference engines that run while no cluster does: what a supervisor that was killed has left, or a stop that kept them.
#pragma once

#include <absl/status/status.h>
#include <absl/time/time.h>

#include <string>
#include <vector>

#include "libs/base/task.h"
#include "libs/process/shim.h"

namespace aima::cli {

struct LeftEngine {
  std::string name;       // the instance's
  std::string directory;  // of its run
  process::ShimState state;

  std::string ToString() const;  // smollm2 (pid 42)
};

// By what the shims of this data directory have written down; sorted by name. None while an engine service looks after
// them, whoever started that.
std::vector<LeftEngine> LeftEngines(const std::string& data_dir);

// Ends them with all that they started. DEADLINE_EXCEEDED names what the kernel does not let go.
Task<absl::Status> EndLeftEngines(std::vector<LeftEngine> engines, absl::Duration timeout);

// "a (pid 1), b (pid 2)"
std::string NamesOf(const std::vector<LeftEngine>& engines);

}  // namespace aima::cli
