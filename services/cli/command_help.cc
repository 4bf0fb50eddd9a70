// The help about commands, and how a command line becomes one (commands.h).
#include <absl/strings/match.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>
#include <unistd.h>

#include <algorithm>
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

std::string FlagText(const FlagInfo& flag) {
  return absl::StrCat("  ", flag.letter ? absl::StrCat("-", std::string(1, flag.letter), ", ") : "", "--", flag.name,
                      flag.value.empty() ? "" : " ", flag.value);
}

std::string ListOfFlags(const std::vector<FlagInfo>& flags) {
  std::vector<std::vector<std::string>> rows;
  for (const FlagInfo& flag : flags) rows.push_back({FlagText(flag), flag.what});
  return TwoColumns(rows);
}

// The flags that are fields of the command's unit; those that are words are told by the usage.
std::string UnitFlags(const Command& command) {
  const auto rows = FlagRows(FieldFlags(command));
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

std::vector<FlagHelp> FieldFlags(const Command& command) {
  const nlohmann::ordered_json unit = command.unit.empty() ? nlohmann::ordered_json() : DescribeLocally(command.unit);
  if (!unit.is_object()) return {};
  std::vector<FlagHelp> flags = FlagsOf(unit["input_schema"]);
  std::erase_if(flags, [&command](const FlagHelp& flag) {
    std::string field = flag.flag.substr(2);
    std::replace(field.begin(), field.end(), '-', '_');
    const auto in = [&field](const std::vector<std::string>& names) {
      return std::find(names.begin(), names.end(), field) != names.end();
    };
    const bool own = std::any_of(command.flags.begin(), command.flags.end(),
                                 [&flag](const FlagInfo& mine) { return "--" + mine.name == flag.flag; });
    return own || field == "idempotency_key" || in(command.fields) || in(command.without);
  });
  for (FlagHelp& flag : flags) {
    for (const auto& [name, value] : command.defaults) {
      if (flag.flag == "--" + name) absl::StrAppend(&flag.limits, flag.limits.empty() ? "" : "; ", "default ", value);
    }
  }
  return flags;
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
  if (const std::vector<const UnitInfo*> units = UnitsOf(*name); !units.empty()) {
    std::vector<std::vector<std::string>> rows;
    for (const UnitInfo* unit : units) rows.push_back({"  " + unit->name, FirstSentence(unit->description)});
    Print(absl::StrCat(Painted(*name, Colour::kBold, STDOUT_FILENO), "\n", TwoColumns(rows), "\n`aima help ",
                       units[0]->name, "` tells more of one, `aima man ", *name, "` of all.\n"));
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
