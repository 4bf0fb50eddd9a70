// All commands: one table, from which follow the help, the manual pages and the completion.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "services/cli/schema_flags.h"
#include "services/cli/session.h"

namespace aima::cli {

// A flag that a command takes besides those of all commands and those of its unit.
struct FlagInfo {
  std::string name;      // without dashes
  std::string value;     // what it takes, for people; empty for a switch
  std::string what;      // what it does
  std::string values{};  // where its values come from, as in Command::takes
  char letter = 0;       // -f
};

struct Example {
  std::string line;
  std::string what;
};

struct Command {
  std::string name;
  std::string group;    // heading in the overview
  std::string usage;    // what follows the name
  std::string summary;  // on one line
  CommandFunction run = nullptr;
  // Unit that it runs: its fields are flags, with the descriptions of its proto.
  std::string unit{};
  // Fields of that unit that are given as words, in this order.
  std::vector<std::string> fields{};
  // Fields of that unit that it gives itself: they are no flags of it.
  std::vector<std::string> without{};
  // Flags and what they are here if they are not given, where the unit has no such default.
  std::vector<std::pair<std::string, std::string>> defaults{};
  // Where the values of its words come from: "command", "unit", "uri", "log", "config", "service", "file", "a|b|c" for
  // these very words, or "model.delete#model_id" for the values of a field. The last one holds for all that follow.
  std::vector<std::string> takes{};
  std::vector<FlagInfo> flags{};
  std::string details{};  // paragraphs
  std::vector<Example> examples{};
  std::vector<Command> verbs{};  // aima key create …
  bool hidden = false;
};

const std::vector<Command>& Commands();

// Null if there is none.
const Command* FindCommand(const std::string& name);

std::vector<std::string> CommandNames();

// The text with commands in place of the units that it names (libs/unit/unit_names.h): `aima ls` for `model.list`.
std::string InCommands(std::string_view text);

// The flags of every command.
const std::vector<FlagInfo>& GlobalFlags();

// The fields of its unit that are flags of a command besides its own, as this installation knows them.
std::vector<FlagHelp> FieldFlags(const Command& command);

// Titles and texts of what concerns all commands: exit-status, output, environment, files.
struct Topic {
  std::string name, title, text;
};
const std::vector<Topic>& Topics();

// `aima`, and `aima help <command>`.
std::string GeneralHelp();
std::string HelpOf(const Command& command);

// Error of a command that was not given what it needs: tells its usage and an example.
absl::Status UsageOf(const Command& command, std::string_view what);

// The whole program; returns the exit status.
int RunCommandLine(int argc, char** argv);

}  // namespace aima::cli
