// The cluster of a data directory, seen from outside its supervisor.
#pragma once

#include <absl/status/status.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "libs/base/task.h"

namespace aima::cli {

std::string SupervisorFile(const std::string& data_dir);

// While it is there, a stop of the cluster leaves inference engines running.
std::string KeepEnginesFile(const std::string& data_dir);

// What the supervisor wrote down about its processes, corrected by what really runs.
nlohmann::ordered_json ClusterProcesses(const std::string& data_dir);

// What runs where, as a table.
std::string ProcessTable(const std::string& data_dir);

// aima stop NAME…: ends the engine instances of these names, or of models of these names.
struct Session;
absl::Status StopEngineNamed(Session& session, const std::vector<std::string>& names, bool force);

// Stops every inference engine through the cluster itself, unless KeepEnginesFile is there. Does what it can.
Task<void> StopEngines(Loop& loop, std::string data_dir);

}  // namespace aima::cli
