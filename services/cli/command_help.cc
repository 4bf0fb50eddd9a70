// The help about commands, and how a command line becomes one (commands.h).
#include <absl/strings/match.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>
#include <absl/strings/str_split.h>
#include <unistd.h>

#include <iostream>

#include "libs/base/nearest.h"
#include "libs/base/status_macros.h"
#include "libs/unit/unit_names.h"
#include "services/cli/commands.h"
#include "services/cli/private_postgres.h"
#include "services/cli/table.h"
#include "services/cli/terminal.h"
#include "services/cli/unit_description.h"

namespace aima::cli {
namespace {

std::string Heading(const std::string& text) {
  return absl::StrCat("\n", Painted(text, Colour::kBold, STDOUT_FILENO), "\n");
}

// Words in lines of at most `width` columns, each after `indent`.
std::string Wrapped(const std::string& text, const std::string& indent) {
  const size_t terminal = TerminalWidth(STDOUT_FILENO);
  const size_t width = terminal > 30 && terminal < 100 ? terminal : 100;
  std::string out, line = indent;
  for (const absl::string_view word : absl::StrSplit(text, ' ', absl::SkipEmpty())) {
    if (line.size() > indent.size() && DisplayWidth(line) + 1 + word.size() > width) {
      absl::StrAppend(&out, line, "\n");
      line = indent;
    }
    absl::StrAppend(&line, line.size() > indent.size() ? " " : "", word);
  }
  return line.size() > indent.size() ? absl::StrCat(out, line, "\n") : out;
}

std::string FlagText(const FlagInfo& flag) {
  return absl::StrCat("  ", flag.letter ? absl::StrCat("-", std::string(1, flag.letter), ", ") : "", "--", flag.name,
                      flag.value.empty() ? "" : " ", flag.value);
}

// Two columns, of which the second is wrapped, not cut: help is read as a whole.
std::string TwoColumns(const std::vector<std::vector<std::string>>& rows) {
  size_t first = 0;
  for (const std::vector<std::string>& row : rows) first = std::max(first, DisplayWidth(row[0]));
  first = std::min<size_t>(first, 30) + 2;
  std::string text;
  for (const std::vector<std::string>& row : rows) {
    std::string rest = Wrapped(row.back(), std::string(first, ' '));
    const size_t width = DisplayWidth(row[0]);
    if (rest.empty()) rest = "\n";
    if (width + 2 <= first) {
      if (rest.size() >= first) rest.erase(0, width);
      absl::StrAppend(&text, row[0], rest);
    } else {
      absl::StrAppend(&text, row[0], "\n", rest);
    }
  }
  return text;
}

std::string ListOfFlags(const std::vector<FlagInfo>& flags) {
  std::vector<std::vector<std::string>> rows;
  for (const FlagInfo& flag : flags) rows.push_back({FlagText(flag), flag.what});
  return TwoColumns(rows);
}

// The flags that are fields of the command's unit; those that are words are told by the usage.
std::string UnitFlags(const Command& command) {
  if (command.unit.empty()) return "";
  const nlohmann::ordered_json unit = DescribeLocally(command.unit);
  if (!unit.is_object()) return "";
  std::vector<std::string> without = {"--idempotency-key"};
  for (const std::string& field : command.fields) without.push_back("--" + field);
  for (std::string& name : without) std::replace(name.begin(), name.end(), '_', '-');
  if (command.unit == "inference.chat") {
    for (const char* name : {"--model", "--messages", "--message", "--stream"}) without.emplace_back(name);
  }
  std::vector<std::vector<std::string>> rows;
  for (const std::vector<std::string>& row : FlagRows(unit, without)) {
    rows.push_back({row[0] + (row[1] == "string" || row[1] == "boolean" ? "" : " " + row[1]), row[2]});
  }
  return rows.empty() ? "" : absl::StrCat(Heading("Fields of " + command.unit + ":"), TwoColumns(rows));
}

std::string ListOfExamples(const std::vector<Example>& examples) {
  std::string text;
  for (const Example& example : examples) {
    absl::StrAppend(&text, "  ", example.line, example.what.empty() ? "" : "   # " + example.what, "\n");
  }
  return text;
}

void Print(std::string_view text) { std::cout << text << std::flush; }

// True for a command whose words may be anything, so that a --help among them is not for aima unless it comes first.
bool WantsHelp(Arguments& arguments, const Command& command) {
  if (command.name == "exec" && !arguments.empty() && !arguments.words()[0].starts_with('-')) return false;
  return arguments.Flag("help") || arguments.Flag("h");
}

}  // namespace

const Command* FindCommand(const std::string& name) {
  for (const Command& command : Commands()) {
    if (command.name == name) return &command;
  }
  return nullptr;
}

std::string InCommands(std::string_view text) {
  return ShowUnits(text, [](std::string_view unit) -> std::string {
    // Commands that do more than call one unit.
    if (unit == "model.delete") return "aima rm";
    if (unit == "engine.stop") return "aima stop NAME";
    for (const Command& command : Commands()) {
      if (command.unit == unit) return "aima " + command.name;
    }
    return "aima exec " + std::string(unit);
  });
}

std::vector<std::string> CommandNames() {
  std::vector<std::string> names;
  for (const Command& command : Commands()) {
    if (!command.hidden) names.push_back(command.name);
  }
  return names;
}

std::string GeneralHelp() {
  std::string text = absl::StrCat(Painted("aima", Colour::kBold, STDOUT_FILENO),
                                  ": run AI models on your own machines.\n\n  aima start            then\n"
                                  "  aima run smollm2      or the name of any other model\n");
  std::string group;
  std::vector<std::vector<std::string>> rows;
  const auto flush = [&] {
    if (!rows.empty()) absl::StrAppend(&text, Heading(group), FormatTable(rows, TableStyle::ForOutput(false)));
    rows.clear();
  };
  for (const Command& command : Commands()) {
    if (command.hidden) continue;
    if (command.group != group) flush();
    group = command.group;
    rows.push_back({"  " + command.name + std::string(command.name.size() < 12 ? 12 - command.name.size() : 0, ' '),
                    command.summary});
  }
  flush();
  std::vector<std::string> topics;
  for (const Topic& topic : Topics()) topics.push_back(topic.name);
  absl::StrAppend(&text, "\n`aima help COMMAND` tells more; so does `aima help` ", absl::StrJoin(topics, ", "), ".\n");
  return text;
}

std::string HelpOf(const Command& command) {
  std::string text = absl::StrCat(Painted("aima " + command.name, Colour::kBold, STDOUT_FILENO),
                                  command.usage.empty() ? "" : " ", command.usage, "\n  ", command.summary, "\n");
  if (!command.examples.empty()) absl::StrAppend(&text, Heading("Examples:"), ListOfExamples(command.examples));
  if (!command.details.empty()) absl::StrAppend(&text, "\n", Wrapped(command.details, ""));
  for (const Command& verb : command.verbs) {
    absl::StrAppend(&text, "\naima ", command.name, " ", verb.name, verb.usage.empty() ? "" : " ", verb.usage, "\n  ",
                    verb.summary, "\n", ListOfFlags(verb.flags));
  }
  if (!command.flags.empty()) absl::StrAppend(&text, Heading("Flags:"), ListOfFlags(command.flags));
  absl::StrAppend(&text, UnitFlags(command), Heading("Flags of every command:"), ListOfFlags(GlobalFlags()));
  return text;
}

absl::Status UsageOf(const Command& command, std::string_view what) {
  const std::string text(what);
  return WithRemedy(absl::InvalidArgumentError(absl::StrCat("aima ", command.name, " ", text)),
                    absl::StrCat("Usage: aima ", command.name, command.usage.empty() ? "" : " ", command.usage,
                                 command.examples.empty() ? "" : "\n  Example: " + command.examples[0].line));
}

absl::Status HelpCommand(Session& session) {
  const std::optional<std::string> name = session.arguments.Next();
  if (!name) {
    Print(GeneralHelp());
    return absl::OkStatus();
  }
  if (const Command* command = FindCommand(*name)) {
    Print(HelpOf(*command));
    return absl::OkStatus();
  }
  std::vector<std::string> names = CommandNames();
  for (const Topic& topic : Topics()) {
    names.push_back(topic.name);
    if (topic.name != *name) continue;
    Print(absl::StrCat(Painted(topic.title, Colour::kBold, STDOUT_FILENO), "\n", Wrapped(topic.text, "  ")));
    return absl::OkStatus();
  }
  if (const nlohmann::ordered_json unit = DescribeLocally(*name); unit.is_object()) {
    Print(UnitHelp(unit));
    return absl::OkStatus();
  }
  const std::vector<std::string> near = Nearest(*name, names, 2);
  return UsageError(absl::StrCat("there is no help about '", *name, "'",
                                 near.empty() ? "" : "; did you mean " + absl::StrJoin(near, " or ") + "?"));
}

absl::Status VersionCommand(Session& session) {
  RETURN_IF_ERROR(session.arguments.Done("version"));
  if (session.globals.output == "json") {
    Print(absl::StrCat("{\"version\":\"", AIMA_VERSION, "\"}\n"));
  } else {
    Print(absl::StrCat("aima ", AIMA_VERSION, "\n"));
  }
  return absl::OkStatus();
}

int RunCommandLine(int argc, char** argv) {
  std::vector<std::string> words(argv + 1, argv + argc);
  if (!words.empty() && words[0] == "run-as") return RunAs({words.begin() + 1, words.end()});
  // What completion asks about is not this command's own.
  const bool completing = !words.empty() && words[0] == "__complete";
  Arguments arguments(completing ? std::vector<std::string>{} : words);
  absl::StatusOr<Globals> globals = TakeGlobals(arguments);
  if (!globals.ok()) return ReportError(globals.status());
  SetAppearance({.colours = globals->colour, .cut = !globals->wide});
  const bool as_json = globals->output == "json" || globals->output == "ndjson";
  if (completing) arguments = Arguments({words.begin() + 1, words.end()});
  const std::string name = completing ? words[0] : arguments.Next().value_or("help");
  if (name == "--help" || name == "-h") {
    Print(GeneralHelp());
    return kOk;
  }
  const Command* command = FindCommand(name == "--version" || name == "-V" || name == "-v" ? "version" : name);
  if (!command) {
    const std::vector<std::string> near = Nearest(name, CommandNames(), 2);
    std::string meant = near.empty() ? "" : "; did you mean " + absl::StrJoin(near, " or ") + "?";
    // A unit's name is what somebody types who forgets exec.
    const Catalogue* catalogue = LocalCatalogue();
    if (catalogue && catalogue->Find(name)) meant = absl::StrCat("; did you mean aima exec ", name, "?");
    return ReportError(UsageError(absl::StrCat("there is no command '", name, "'", meant)), as_json);
  }
  if (!completing && WantsHelp(arguments, *command)) {
    Print(HelpOf(*command));
    return kOk;
  }
  Loop loop;
  Session session{loop, *std::move(globals), std::move(arguments), command};
  return ReportError(command->run(session), as_json);
}

}  // namespace aima::cli
