// The cluster of a data directory, seen from outside its supervisor.
#pragma once

#include <string>

#include "libs/base/task.h"

namespace aima::cli {

std::string SupervisorFile(const std::string& data_dir);

// While it is there, a stop of the cluster leaves inference engines running.
std::string KeepEnginesFile(const std::string& data_dir);

// What runs where, as a table.
std::string ProcessTable(const std::string& data_dir);

// Stops every inference engine through the cluster itself, unless KeepEnginesFile is there. Does what it can.
Task<void> StopEngines(Loop& loop, std::string data_dir);

}  // namespace aima::cli
