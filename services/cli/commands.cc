#include "services/cli/commands.h"

#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>

#include <iostream>

#include "libs/base/nearest.h"
#include "libs/base/status_macros.h"
#include "services/cli/private_postgres.h"
#include "services/cli/table.h"

namespace aima::cli {
namespace {

constexpr char kExitCodes[] = R"(
Exit status:
  0 success              1 failure                  2 wrong usage or invalid input
  3 not found            4 denied, or no valid key  5 the cluster cannot be reached, or is unavailable
  6 deadline exceeded    130 interrupted
)";

constexpr char kGlobals[] = R"(
Flags of every command:
  -o, --output FORMAT   table (default), json, yaml or ndjson
  --server ADDRESS      gateway, such as 127.0.0.1:9090; else $AIMA_SERVER, else the one of the data directory
  --key KEY             API key; else $AIMA_KEY, else, on this machine, the admin key of the data directory
  --data-dir DIR        data directory; else $AIMA_DATA_DIR, else ~/.aima
)";

constexpr char kExec[] = R"(
Flags are computed from the unit's schema (`aima exec UNIT --help`):
  --model-id x          a field; - and _ are the same
  --force, --no-force   booleans
  --stop a --stop b     lists
  --config.parallel 2   a field of an object; or --config '{"parallel": 2}'
and besides:
  --input JSON          the whole input: '{…}', @file or - for standard input; flags come on top
  --stream              print the output as it arrives (units that stream)
  --timeout 30s         deadline
  --async               do not wait: print the operation, which goes on by itself (`aima units operation.wait`)
A flag behind -- is the unit's even if aima has one of this name.

Examples:
  aima exec model.list --type llm
  aima exec inference.chat --model smollm2-135m-instruct --message "Hello" --stream
  aima exec model.estimate_resources --input @request.json -o json
)";

constexpr char kStart[] = R"(
  --config FILE         configuration; else config.yaml in the data directory, if it is there. aima.yaml in
                        share/aima/configs shows every key with its default
  --set SECTION.KEY=V   one setting; outranks the file; may be repeated
  --foreground          stay in the foreground, as systemd and containers want it
  --print-config        show the configuration that would be used, and start nothing

Starts every process of AIMA on this machine and, where no database is configured, a private PostgreSQL in the data
directory; returns when everything serves. As root, PostgreSQL runs as the user postgres, or nobody. If something cannot
start, the reason is told and nothing is left running.

Examples:
  aima start
  aima start --data-dir /srv/aima --set api.listen_addr=127.0.0.1:19090 --set api.grpc_addr=127.0.0.1:15051
)";

constexpr char kChat[] = R"(
  --system TEXT         what the model is told first
  --max-tokens N        longest answer; 1024 if not given
  --temperature T       0 gives the likeliest answer, always the same; more gives more variety
Without a prompt it is a conversation. Without a model, the first one that runs is asked.
)";

constexpr char kKey[] = R"(
  aima key create --role read|operate|admin [--name NAME] [--expires 720h]
  aima key list
  aima key revoke ID
Changes <data-dir>/keys/keys.json; a running cluster follows at once. A key is shown once and stored as a hash.
)";

absl::Status RunHelp(Session& session) {
  const std::optional<std::string> name = session.arguments.Next();
  if (!name) {
    std::cout << GeneralHelp();
    return absl::OkStatus();
  }
  const Command* command = FindCommand(*name);
  if (!command) return UsageError("there is no command " + *name);
  std::cout << HelpOf(*command);
  return absl::OkStatus();
}

}  // namespace

const std::vector<Command>& Commands() {
  static const std::vector<Command>* commands = new std::vector<Command>{
      {"start", "[--config FILE] [--set SECTION.KEY=VALUE]… [--foreground]", "start the cluster on this machine",
       kStart, StartCommand},
      {"stop", "[--keep-engines]", "stop it", "\n  --keep-engines        leave inference engines running\n",
       StopCommand},
      {"status", "", "what runs, and how it does", "", StatusCommand},
      {"units", "[UNIT]", "what the cluster can do", "", UnitsCommand},
      {"exec", "UNIT [FLAGS]", "run a unit", kExec, ExecCommand},
      {"chat", "[MODEL] [PROMPT]", "talk to a model", kChat, ChatCommand},
      {"events", "tail [--type TYPE]… [--after CURSOR]", "follow what happens", "", EventsCommand},
      {"key", "create|list|revoke", "API keys", kKey, KeyCommand},
      {"completion", "bash|zsh", "completion for a shell: source <(aima completion bash)", "", CompletionCommand},
      {"version", "", "version of this program", "", VersionCommand},
      {"help", "[COMMAND]", "this help", "", RunHelp},
      {"complete", "", "", "", CompleteCommand, /*hidden=*/true},
  };
  return *commands;
}

const Command* FindCommand(const std::string& name) {
  for (const Command& command : Commands()) {
    if (command.name == name) return &command;
  }
  return nullptr;
}

std::vector<std::string> CommandNames() {
  std::vector<std::string> names;
  for (const Command& command : Commands()) {
    if (!command.hidden) names.push_back(command.name);
  }
  return names;
}

std::string GeneralHelp() {
  std::vector<std::vector<std::string>> rows;
  for (const Command& command : Commands()) {
    if (!command.hidden) rows.push_back({"  " + command.name + " " + command.usage, command.summary});
  }
  return absl::StrCat("aima: run AI models on your own machines.\n\nCommands:\n", FormatTable(rows),
                      "\n`aima help COMMAND` tells more.\n", kGlobals, kExitCodes);
}

std::string HelpOf(const Command& command) {
  return absl::StrCat("aima ", command.name, command.usage.empty() ? "" : " ", command.usage, "\n  ",
                      command.summary, "\n", command.details, kGlobals, kExitCodes);
}

absl::Status VersionCommand(Session& session) {
  RETURN_IF_ERROR(session.arguments.Done("version"));
  std::cout << "aima " << AIMA_VERSION << std::endl;
  return absl::OkStatus();
}

int RunCommandLine(int argc, char** argv) {
  std::vector<std::string> words(argv + 1, argv + argc);
  if (!words.empty() && words[0] == "run-as") return RunAs({words.begin() + 1, words.end()});
  // What completion asks about is not this command's own.
  const bool completing = !words.empty() && words[0] == "complete";
  Arguments arguments(completing ? std::vector<std::string>{} : words);
  absl::StatusOr<Globals> globals = TakeGlobals(arguments);
  if (!globals.ok()) return ReportError(globals.status());
  if (completing) arguments = Arguments({words.begin() + 1, words.end()});
  const std::string name = completing ? words[0] : arguments.Next().value_or("help");
  if (name == "--help" || name == "-h") {
    std::cout << GeneralHelp();
    return kOk;
  }
  const Command* command = FindCommand(name == "--version" ? "version" : name);
  if (!command) {
    const std::vector<std::string> near = Nearest(name, CommandNames(), 2);
    return ReportError(
        UsageError(absl::StrCat("there is no command '", name, "'",
                                near.empty() ? "" : "; did you mean " + absl::StrJoin(near, " or ") + "?")));
  }
  if (name != "exec" && !completing && (arguments.Flag("help") || arguments.Flag("h"))) {
    std::cout << HelpOf(*command);
    return kOk;
  }
  if (name == "exec" && (arguments.words() == std::vector<std::string>{"--help"})) {
    std::cout << HelpOf(*command);
    return kOk;
  }
  Loop loop;
  Session session{loop, *std::move(globals), std::move(arguments)};
  return ReportError(command->run(session));
}

}  // namespace aima::cli
