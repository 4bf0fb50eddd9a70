#include "services/cli/commands.h"

#include "services/cli/unit_call.h"

namespace aima::cli {
namespace {

constexpr char kModels[] = "Models";
constexpr char kTalk[] = "Talk to them";
constexpr char kEngines[] = "What runs";
constexpr char kCluster[] = "The cluster";
constexpr char kAll[] = "Everything that AIMA can do";
constexpr char kHelp[] = "Help";

constexpr char kModelField[] = "model.get#model_id";
constexpr char kYes[] = "do not ask";

std::vector<Command> ModelCommands() {
  return {
      {.name = "pull",
       .group = kModels,
       .usage = "[SOURCE:]NAME[:TAG] [FLAGS]",
       .summary = "fetch a model",
       .run = PullCommand,
       .unit = "model.pull",
       .fields = {"repo"},
       .takes = {"model.pull#repo"},
       .flags = {{"detach", "", "do not wait for its end", "", 'd'},
                 {"timeout", "TIME", "give up waiting after this long"}},
       .details =
           "SOURCE is ollama, huggingface (or hf) or modelscope; without one it is the default source of the "
           "configuration. A pull goes on whatever happens to this command: the same command shows it again, and "
           "`aima cancel MODEL` ends it.",
       .examples = {{"aima pull llama3.2:1b", ""},
                    {"aima pull hf:Qwen/Qwen3-0.6B-GGUF --quantization Q8_0", "one packing of a repository"}}},
      {.name = "ls",
       .group = kModels,
       .usage = "[FLAGS]",
       .summary = "list models",
       .run = ListCommand,
       .unit = "model.list",
       .details =
           "STATE is that of its engine where one serves it. -o wide shows more, -o json what model.list answers.",
       .examples = {{"aima ls --type llm", ""}, {"aima ls -o name", "ids, for scripts"}}},
      {.name = "show",
       .group = kModels,
       .usage = "MODEL",
       .summary = "show one model",
       .run = UnitVerb,
       .unit = "model.get",
       .fields = {"model_id"},
       .takes = {kModelField},
       .examples = {{"aima show smollm2", ""}}},
      {.name = "import",
       .group = kModels,
       .usage = "PATH [FLAGS]",
       .summary = "take a model from files of this machine",
       .run = ImportCommand,
       .unit = "model.import",
       .fields = {"path"},
       .takes = {"file"},
       .examples = {{"aima import /srv/models/smollm2.gguf --name smollm2", ""}}},
      {.name = "search",
       .group = kModels,
       .usage = "WORDS [FLAGS]",
       .summary = "find models, here and where they are published",
       .run = UnitVerb,
       .unit = "model.search",
       .fields = {"query"},
       .examples = {{"aima search qwen3 --source huggingface", ""}}},
      {.name = "rm",
       .group = kModels,
       .usage = "MODEL… [--force]",
       .summary = "delete models",
       .run = RemoveCommand,
       .takes = {kModelField},
       .flags = {{"force", "", "stop what serves it, and delete it even if that cannot be found out", "", 'f'},
                 {"yes", "", kYes, "", 'y'}},
       .details = "Asks before it deletes a model that runs, is pinned or is being pulled. Files that were imported "
                  "where they "
                  "stand stay there.",
       .examples = {{"aima rm smollm2", ""}}},
      {.name = "cancel",
       .group = kModels,
       .usage = "MODEL",
       .summary = "end a pull",
       .run = CancelCommand,
       .unit = "model.cancel_pull",
       .fields = {"model_id"},
       .takes = {"model.cancel_pull#model_id"}},
  };
}

std::vector<Command> TalkCommands() {
  const std::vector<FlagInfo> chat = {
      {"system", "TEXT", "what the model is told first"},
      {"verbose", "", "tell tokens and speed after each answer"},
  };
  std::vector<FlagInfo> run = chat;
  run.push_back({"context", "N", "tokens that it can have in mind, where an engine has to be started; it then serves one "
                                 "request at a time"});
  run.push_back({"no-pull", "", "do not fetch a model that is not here"});
  run.push_back({"yes", "", "install the engine without asking if it is missing", "", 'y'});
  return {
      {.name = "run",
       .group = kTalk,
       .usage = "MODEL [PROMPT]",
       .summary = "fetch a model if need be, start it and talk to it",
       .run = RunCommand,
       .unit = "inference.chat",
       .without = {"model", "messages", "message", "stream"},
       .defaults = {{"max-tokens", "1024"}},
       .takes = {kModelField, ""},
       .flags = run,
       .details = "MODEL is one that `aima ls` shows, a path (./model.gguf), or what `aima pull` takes. What is piped "
                  "in follows "
                  "the prompt. Without a prompt it is a conversation.",
       .examples = {{"aima run smollm2", ""},
                    {"aima run smollm2 \"Name three colours.\" --temperature 0", ""},
                    {"git diff | aima run qwen3 \"Summarize this change.\"", ""}}},
      {.name = "chat",
       .group = kTalk,
       .usage = "[MODEL] [PROMPT]",
       .summary = "talk to a model that is here",
       .run = ChatCommand,
       .unit = "inference.chat",
       .without = {"model", "messages", "message", "stream"},
       .defaults = {{"max-tokens", "1024"}},
       .takes = {kModelField, ""},
       .flags = chat,
       .details = "Without a model, the first one that runs is asked; its engine is started where the configuration "
                  "allows that. "
                  "In a conversation, /help shows what can be typed besides questions.",
       .examples = {{"aima chat", ""}, {"aima chat smollm2 \"Say hello.\"", ""}}},
  };
}

std::vector<Command> EngineCommands() {
  return {
      {.name = "ps",
       .group = kEngines,
       .usage = "[--all]",
       .summary = "list the engines that run",
       .run = ProcessesCommand,
       .flags = {{"all", "", "also those that were stopped or have failed", "", 'a'}},
       .details = "-o json prints what engine.list answers."},
      {.name = "stop",
       .group = kEngines,
       .usage = "[NAME…] [--force] [--keep-engines]",
       .summary = "stop an engine, or without a name the whole cluster",
       .run = StopCommand,
       .takes = {"instance"},
       .flags = {{"force", "", "with a name: kill it at once", "", 'f'},
                 {"keep-engines", "", "without a name: leave inference engines running"}},
       .details = "NAME is an engine's as `aima ps` shows it, or a model's. The next `aima start` takes over the engines "
                  "that were left running.",
       .examples = {{"aima stop smollm2", "one engine"}, {"aima stop", "everything on this machine"}}},
      {.name = "install",
       .group = kEngines,
       .usage = "ENGINE",
       .summary = "install an inference engine",
       .run = UnitVerb,
       .unit = "engine.install",
       .fields = {"name"},
       .takes = {"engine.install#name"},
       .examples = {{"aima install llamacpp", ""}}},
      {.name = "logs",
       .group = kEngines,
       .usage = "[NAME…] [-f] [--since TIME] [--tail N]",
       .summary = "show what services and engines wrote down",
       .run = LogsCommand,
       .takes = {"log"},
       .flags = {{"follow", "", "go on with what comes", "", 'f'},
                 {"since", "TIME", "only what is newer: 10m, 2h, or a time of RFC 3339"},
                 {"tail", "N", "the last N lines; 200 if neither this nor --since is given; all", "", 'n'}},
       .details = "Works while nothing runs. Without a name it shows all services, in the order of time. With -o json "
                  "each line is an object, as in the file or, if it is none there, {time, process, message}.",
       .examples = {{"aima logs gateway -f", ""}, {"aima logs smollm2 --tail 50", "an engine's"}}},
  };
}

std::vector<Command> ClusterCommands() {
  return {
      {.name = "start",
       .group = kCluster,
       .usage = "[--config FILE] [--set SECTION.KEY=VALUE]… [--foreground]",
       .summary = "start the cluster on this machine",
       .run = StartCommand,
       .flags = {{"config", "FILE", "configuration; else config.yaml in the data directory, if it is there", "file"},
                 {"set", "SECTION.KEY=V", "one setting; outranks the file; may be repeated", "config="},
                 {"foreground", "", "stay in the foreground, as systemd and containers want it"},
                 {"print-config", "", "show the configuration that would be used, and start nothing"}},
       .details =
           "Starts every process of AIMA on this machine and, where no database is configured, a private PostgreSQL in "
           "the data directory; returns when everything serves. As root, PostgreSQL runs as the user postgres, or "
           "nobody. If something cannot start, the reason is told and nothing is left running.",
       .examples = {{"aima start", ""},
                    {"aima start --data-dir /srv/aima --set api.listen_addr=127.0.0.1:19090 --set api.grpc_addr=",
                     ""}}},
      {.name = "status", .group = kCluster, .summary = "show what runs, and how it does", .run = StatusCommand},
      {.name = "doctor",
       .group = kCluster,
       .usage = "[CHECK…]",
       .summary = "find what is wrong with this machine, and how to mend it",
       .run = DoctorCommand,
       .takes = {"check"},
       .details =
           "Works while the cluster is down. The exit status is 1 if anything is wrong. A line that begins with $ is a "
           "command that mends it.",
       .examples = {{"aima doctor", ""}, {"aima doctor -o json", ""}}},
      {.name = "config",
       .group = kCluster,
       .usage = "show|get|set|unset|validate|path",
       .summary = "see and change settings",
       .run = ConfigCommand,
       .details = "`aima start` reads config.yaml of the data directory; a setting that is changed holds from the next "
                  "start on.",
       .examples = {{"aima config set model.default_source huggingface", ""}, {"aima config show api", "one section"}},
       .verbs =
           {
               {.name = "show",
                .usage = "[SECTION] [--changed]",
                .summary = "every setting, and where it comes from",
                .takes = {"section"},
                .flags = {{"changed", "", "only settings that are not the default"}}},
               {.name = "get", .usage = "KEY", .summary = "one setting", .takes = {"config"}},
               {.name = "set",
                .usage = "KEY VALUE",
                .summary = "change the file; its comments stay",
                .takes = {"config", ""}},
               {.name = "unset", .usage = "KEY", .summary = "take a setting out of the file", .takes = {"config"}},
               {.name = "validate",
                .usage = "[FILE]",
                .summary = "say what is wrong with the file, by line and key",
                .takes = {"file"}},
               {.name = "path", .summary = "print which file it is"},
           }},
      {.name = "key",
       .group = kCluster,
       .usage = "create|list|revoke",
       .summary = "manage API keys",
       .run = KeyCommand,
       .details = "Changes keys/keys.json in the data directory; a running cluster follows at once. A key is shown "
                  "once and stored "
                  "as a hash.",
       .examples = {{"aima key create --role operate --name laptop", ""}},
       .verbs =
           {
               {.name = "create",
                .usage = "--role ROLE [--name NAME] [--expires TIME]",
                .summary = "make a key and show it",
                .flags = {{"role", "ROLE", "read, operate or admin", "read|operate|admin"},
                          {"name", "NAME", "for people"},
                          {"expires", "TIME", "how long it is valid, such as 720h"}}},
               {.name = "list", .summary = "show the keys without their secrets"},
               {.name = "revoke", .usage = "ID", .summary = "end a key", .takes = {"key"}},
           }},
  };
}

std::vector<Command> UnitCommands() {
  return {
      {.name = "units",
       .group = kAll,
       .usage = "[UNIT|DOMAIN]",
       .summary = "list what the cluster can do",
       .run = UnitsCommand,
       .takes = {"unit"}},
      {.name = "exec",
       .group = kAll,
       .usage = "UNIT [FLAGS]",
       .summary = "run any unit",
       .run = ExecCommand,
       .takes = {"unit", ""},
       .flags = {{"input", "JSON", "the whole input: '{…}', @file or - for standard input; flags come on top"},
                 {"stream", "", "print the output as it arrives (units that stream)"},
                 {"timeout", "TIME", "deadline, such as 30s"},
                 {"async", "",
                  "do not wait: print the operation, which goes on by itself (`aima units operation.wait`)"}},
       .details = "All other flags are fields of the unit's input: --model-id x (- and _ are the same), --force and "
                  "--no-force, "
                  "lists as --stop a --stop b, fields of objects as --config.parallel 2 or --config '{\"parallel\": "
                  "2}', bytes as "
                  "--audio @speech.wav. A flag behind -- is the unit's even if aima has one of this name.",
       .examples = {{"aima exec model.list --type llm", ""},
                    {"aima exec inference.chat --model smollm2 --message \"Hello\" --stream", ""},
                    {"aima exec model.estimate_resources --input @request.json -o json", ""}}},
      {.name = "watch",
       .group = kAll,
       .usage = "[ADDRESS]",
       .summary = "show a resource, and each change of it",
       .run = WatchCommand,
       .takes = {"uri"},
       .details =
           "Without an address it lists them. Goes on after the gateway was away. With -o json each value is a line.",
       .examples = {{"aima watch asms://engines/status", ""}, {"aima watch asms://model/smollm2 -o json", ""}}},
      {.name = "events",
       .group = kAll,
       .usage = "tail [--type TYPE]… [--after CURSOR]",
       .summary = "follow what happens",
       .run = EventsCommand,
       .examples = {{"aima events tail --type engine --type model.created", ""}},
       .verbs = {{.name = "tail",
                  .usage = "[--type TYPE]… [--after CURSOR]",
                  .summary = "events from now on",
                  .flags = {{"type", "TYPE", "a domain or a type of events; may be repeated", "event"},
                            {"after", "CURSOR", "go on behind this event"}}}}},
      {.name = "mcp",
       .group = kAll,
       .usage = "serve|tools",
       .summary = "tools for agents: the Model Context Protocol",
       .run = McpCommand,
       .details = "On this machine an agent may read and operate, like anybody without a key; --key or $AIMA_KEY gives "
                  "it a role. "
                  "The gateway itself serves the same on /mcp of its own address.",
       .examples = {{"claude mcp add aima -- aima mcp serve", ""}, {"aima mcp serve --toolsets all --read-only", ""}},
       .verbs =
           {
               {.name = "serve",
                .usage = "[--transport stdio|http|sse] [--port N] [--toolsets NAMES] [--read-only]",
                .summary = "serve an agent, on standard input and output unless another transport is named",
                .flags = {{"transport", "NAME", "stdio; http on http://127.0.0.1:9091/mcp; sse is deprecated",
                           "stdio|http|sse"},
                          {"port", "N", "another port than 9091"},
                          {"toolsets", "NAMES", "which tools: domains, units, all, and -name for what to leave out"},
                          {"read-only", "", "only tools that change nothing"}}},
               {.name = "tools",
                .usage = "[--toolsets NAMES] [--read-only]",
                .summary = "show what an agent sees",
                .flags = {{"toolsets", "NAMES", "which tools: domains, units, all, and -name for what to leave out"},
                          {"read-only", "", "only tools that change nothing"}}},
           }},
  };
}

std::vector<Command> HelpCommands() {
  return {
      {.name = "help",
       .group = kHelp,
       .usage = "[COMMAND|TOPIC]",
       .summary = "this help, or more about one thing",
       .run = HelpCommand,
       .takes = {"help"}},
      {.name = "man",
       .group = kHelp,
       .usage = "[PAGE]",
       .summary = "show a manual page",
       .run = ManCommand,
       .takes = {"page"},
       .flags = {{"roff", "", "print its source"}, {"write", "DIR", "write all pages below this directory"}},
       .details = "PAGE is a command (pull), a domain (model) or a topic; without one it is aima itself.",
       .examples = {{"aima man pull", ""}, {"aima man model", "all units of a domain"}}},
      {.name = "completion",
       .group = kHelp,
       .usage = "bash|zsh|fish",
       .summary = "print a completion script for a shell",
       .run = CompletionCommand,
       .takes = {"bash|zsh|fish"},
       .examples = {{"source <(aima completion bash)", "in ~/.bashrc"},
                    {"aima completion zsh > ~/.zfunc/_aima", "in a folder of $fpath"},
                    {"aima completion fish > ~/.config/fish/completions/aima.fish", ""}}},
      {.name = "version", .group = kHelp, .summary = "print the version of this program", .run = VersionCommand},
      {.name = "__complete", .run = CompleteCommand, .hidden = true},
  };
}

}  // namespace

const std::vector<Command>& Commands() {
  static const std::vector<Command>* commands = [] {
    auto* all = new std::vector<Command>;
    for (const auto& part :
         {ModelCommands, TalkCommands, EngineCommands, ClusterCommands, UnitCommands, HelpCommands}) {
      for (Command& command : part()) all->push_back(std::move(command));
    }
    return all;
  }();
  return *commands;
}

const std::vector<FlagInfo>& GlobalFlags() {
  static const std::vector<FlagInfo>* flags = new std::vector<FlagInfo>{
      {"output", "FORMAT", "table (default), wide, json, yaml, ndjson or name", "table|wide|json|yaml|ndjson|name",
       'o'},
      {"server", "ADDRESS", "gateway, such as 127.0.0.1:9090; else $AIMA_SERVER, else the one of the data directory"},
      {"key", "KEY", "API key; else $AIMA_KEY, else, on this machine, the admin key of the data directory"},
      {"data-dir", "DIR", "data directory; else $AIMA_DATA_DIR, else ~/.aima", "file"},
      {"no-color", "", "no colours, as with $NO_COLOR; there are none without a terminal anyway"},
      {"help", "", "help about the command", "", 'h'},
  };
  return *flags;
}

const std::vector<Topic>& Topics() {
  static const std::vector<Topic>* topics = new std::vector<Topic>{
      {"exit-status", "Exit status",
       "0 success; 1 failure; 2 wrong usage or invalid input; 3 not found; 4 denied, or no valid key; 5 the cluster "
       "cannot be "
       "reached, or is unavailable; 6 deadline exceeded; 130 interrupted."},
      {"output", "Output",
       "Standard output holds the answer and nothing else; progress, questions and errors go to standard error. table "
       "is for "
       "people: byte counts and times are rounded, its columns may change, and on a terminal columns that have no room "
       "are cut or left out, never the one that names the row; in a pipe nothing is cut. wide "
       "shows "
       "more and cuts nothing. json and yaml are the unit's answer as the gateway gives it: scripts can rely on its "
       "fields. "
       "ndjson is a line for each item of a list, or for each message of a stream. name is the id of each item. With "
       "json and "
       "ndjson an error is one object on standard error: {\"error\": {\"code\", \"message\", \"details\"}, "
       "\"exit_status\"}."},
      {"environment", "Environment",
       "AIMA_DATA_DIR, AIMA_SERVER and AIMA_KEY stand for --data-dir, --server and --key. NO_COLOR, and TERM=dumb, "
       "switch colours "
       "off. PAGER and MANPAGER are those of man(1), which `aima man` calls."},
      {"files", "Files",
       "~/.aima, or the directory that --data-dir or AIMA_DATA_DIR names, holds everything: config.yaml (if you make "
       "it), keys/, "
       "logs/, run/, models/, engines/, engines.d/ for engines of your own, pg/ (the private PostgreSQL) and "
       "chat_history."},
  };
  return *topics;
}

}  // namespace aima::cli
