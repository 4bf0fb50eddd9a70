// All commands, and the help about them.
#pragma once

#include <string>
#include <vector>

#include "services/cli/session.h"

namespace aima::cli {

struct Command {
  std::string name;
  std::string usage;  // what follows the name
  std::string summary;
  std::string details;  // flags and examples; may be empty
  CommandFunction run;
  bool hidden = false;
};

const std::vector<Command>& Commands();

// Null if there is none.
const Command* FindCommand(const std::string& name);

std::vector<std::string> CommandNames();

// `aima help`, and `aima help <command>`.
std::string GeneralHelp();
std::string HelpOf(const Command& command);

// The whole program; returns the exit status.
int RunCommandLine(int argc, char** argv);

}  // namespace aima::cli
