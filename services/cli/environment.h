// Where this program is, and what it was started with.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace aima::cli {

// Where the programs and files of AIMA are: beside this program, in the build tree as in an installation.
struct Places {
  std::string program;  // this one
  std::string libexec;  // aima-<domain>
  std::string share;    // configs, units.binpb …
};
Places FindPlaces();

// This process's environment with some variables set.
std::vector<std::string> EnvironmentWith(const std::map<std::string, std::string>& variables);

// A variable, or `otherwise` if it is not set or empty.
std::string Variable(const char* name, const std::string& otherwise = "");

}  // namespace aima::cli
