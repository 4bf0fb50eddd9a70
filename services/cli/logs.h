// Where the logs of a cluster are.
#pragma once

#include <string>
#include <vector>

namespace aima::cli {

struct LogPlace {
  std::string name;  // gateway, or the id of an engine instance
  std::string path;
  bool engine = false;
};

// All logs of a data directory: those of services first, then those of engines.
std::vector<LogPlace> LogsOf(const std::string& data_dir);

}  // namespace aima::cli
