// aima chat and aima run: a model answers, after it was fetched and started if need be.
#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <iterator>

#include "libs/base/nearest.h"
#include "libs/base/status_macros.h"
#include "services/cli/ask.h"
#include "services/cli/commands.h"
#include "services/cli/conversation.h"
#include "services/cli/gateway_client.h"
#include "services/cli/models.h"
#include "services/cli/output.h"
#include "services/cli/unit_call.h"
#include "services/cli/unit_description.h"

namespace aima::cli {
namespace {

using nlohmann::ordered_json;

// Ids of the models that chat, running ones first; `names` gets their names besides.
absl::StatusOr<std::vector<std::string>> ChatModels(Session& session, GatewayClient& client,
                                                    std::vector<std::string>& names) {
  ASSIGN_OR_RETURN(const ordered_json data,
                   Await(session.loop, client.Execute("inference.models", ordered_json::object())));
  std::vector<std::string> running, others;
  for (const ordered_json& model : data.value("models", ordered_json::array())) {
    const std::string type = Text(model, "type");
    if (!type.empty() && type != "llm" && type != "vlm") continue;
    (model.value("running", false) ? running : others).push_back(Text(model, "id"));
    names.push_back(Text(model, "id"));
    names.push_back(Text(model, "name"));
  }
  running.insert(running.end(), others.begin(), others.end());
  return running;
}

// What is piped in; nothing from a terminal, nor from what never ends and has no more to say than /dev/null.
std::string PipedText() {
  struct stat input = {};
  if (isatty(STDIN_FILENO) != 0 || fstat(STDIN_FILENO, &input) != 0) return "";
  if (!S_ISFIFO(input.st_mode) && !S_ISREG(input.st_mode) && !S_ISSOCK(input.st_mode)) return "";
  std::string text(std::istreambuf_iterator<char>(std::cin), {});
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

// A unit that works for long, its progress on standard error.
absl::StatusOr<ordered_json> Work(Session& session, GatewayClient& client, const std::string& unit, ordered_json input,
                                  const std::string& on_leave) {
  UnitCall call;
  call.unit = unit;
  call.input = std::move(input);
  call.stream = call.progress = call.attaches = true;
  call.on_leave = [on_leave](const ordered_json&) { return on_leave; };
  return OutputOf(session, client, call);
}

// Id of the model that `name` means here: one that is there, a file that becomes one, or one to be fetched.
absl::StatusOr<std::string> FindOrFetch(Session& session, GatewayClient& client, const std::string& name, bool pull) {
  ASSIGN_OR_RETURN(const ordered_json known,
                   Await(session.loop, client.Execute("inference.models", ordered_json::object())));
  std::vector<std::string> names;
  for (const ordered_json& model : known.value("models", ordered_json::array())) {
    if (Text(model, "id") == name) return name;
    names.push_back(Text(model, "id"));
  }
  std::error_code ignored;
  if (name.find('/') != std::string::npos && std::filesystem::exists(name, ignored)) {
    const std::string path = std::filesystem::canonical(name, ignored);
    ASSIGN_OR_RETURN(const ordered_json imported,
                     Await(session.loop, client.Execute("model.import", {{"path", path}})));
    return Text(imported, "model_id");
  }
  const absl::StatusOr<ordered_json> model = ModelCalled(session, client, name);
  if (absl::IsFailedPrecondition(model.status())) return model.status();  // which of several, only people know
  if (model.ok() && Text(*model, "status") == "ready") return Text(*model, "id");
  if (!pull) {
    const std::vector<std::string> near = Nearest(name, names, 2);
    return WithRemedy(absl::NotFoundError(absl::StrCat("there is no model '", name, "'",
                                                       near.empty() ? "" : "; did you mean " + near[0] + "?")),
                      absl::StrCat("`aima ls` shows the models; `aima pull ", name, "` fetches it."));
  }
  if (model.ok() && Text(*model, "status") == "error") {
    return absl::FailedPreconditionError(absl::StrCat(name, ": ", Text(*model, "error")));
  }
  std::cerr << "There is no model " << name << " here; fetching it." << std::endl;
  const std::vector<std::string> near = Nearest(name, names, 1);
  const Command* command = FindCommand("pull");
  Session pulling{session.loop, session.globals, Arguments({name}), command};
  absl::StatusOr<ordered_json> pulled = Pull(pulling);
  if (!pulled.ok() && !near.empty()) {
    return WithRemedy(pulled.status(), absl::StrCat("Did you mean ", near[0], "? ", RemedyOf(pulled.status())));
  }
  RETURN_IF_ERROR(pulled.status());
  return Text(*pulled, "model_id");
}

// Refuses what is known to hold fewer than `context` tokens of one request: an engine may share its context out among
// those that it serves at once.
absl::Status CheckContext(const ordered_json& instance, const std::string& model, int context) {
  const ordered_json config = instance.value("config", ordered_json::object());
  const int all = config.value("context_length", 0), parallel = std::max(1, config.value("parallel", 1));
  if (all == 0 || all / parallel >= context) return absl::OkStatus();
  return WithRemedy(
      absl::FailedPreconditionError(absl::StrCat(model, " runs already, with a context of ", all, " tokens for ",
                                                 parallel, parallel == 1 ? " request" : " requests", " at once")),
      absl::StrCat("`aima stop ", model, "` ends it; then the same command starts it with --context ", context, "."));
}

// Starts what serves the model, with `context` tokens for one request at a time unless that is 0; an engine that is
// missing is installed if the user says so.
absl::Status Start(Session& session, GatewayClient& client, const std::string& model, bool yes, int context) {
  ASSIGN_OR_RETURN(const std::vector<ordered_json> instances, Instances(session, client));
  for (const ordered_json& instance : instances) {
    const bool serves = Text(instance, "status") == "running" && Text(instance, "health") != "unhealthy";
    if (serves && Text(instance, "model_id") == model) return CheckContext(instance, model, context);
  }
  // As for a request that needs it, what nobody uses makes room.
  ordered_json input = {{"model_id", model}, {"evict_idle", true}};
  if (context > 0) input["config"] = {{"context_length", context}, {"parallel", 1}};
  const std::string on_leave = absl::StrCat("The start goes on. `aima ps` shows it, `aima stop ", model, "` ends it.");
  const auto start = [&] { return Work(session, client, "engine.start", input, on_leave); };
  absl::StatusOr<ordered_json> started = start();
  const ordered_json error = ordered_json::parse(ErrorObjectOf(started.status()), nullptr, false);
  if (Text(error, "code") != "ENGINE_NOT_INSTALLED") return started.status();
  const std::string engine = Text(error.value("details", ordered_json::object()), "engine");
  const std::string name = engine.empty() ? "llamacpp" : engine;
  if (!yes) {
    const absl::Status confirmed = Confirm(absl::StrCat("The engine ", name, " is not installed. Install it now?"),
                                           absl::StrCat("aima install ", name, ", or aima run --yes ", model));
    RETURN_IF_ERROR(confirmed);
  }
  const absl::StatusOr<ordered_json> installed =
      Work(session, client, "engine.install", {{"name", name}},
           absl::StrCat("The installation goes on. `aima install ", name, "` shows it."));
  RETURN_IF_ERROR(installed.status());
  return start().status();
}

std::string Joined(const std::vector<std::string>& words, size_t from) {
  return from < words.size() ? absl::StrJoin(words.begin() + static_cast<long>(from), words.end(), " ") : "";
}

}  // namespace

absl::Status RunCommand(Session& session) {
  const bool yes = session.arguments.Flag("yes", 'y');
  const bool no_pull = session.arguments.Flag("no-pull");
  ASSIGN_OR_RETURN(const std::optional<std::string> context_text, session.arguments.Value("context"));
  int context = 0;
  if (context_text && (!absl::SimpleAtoi(*context_text, &context) || context < 64)) {
    return UsageOf(*session.command, "--context takes a number of tokens, such as 8192; 64 at least");
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<GatewayClient> client, GatewayClient::Connect(session.loop, session.globals));
  ASSIGN_OR_RETURN(const KnownUnit unit, Describe(session, *client, "inference.chat"));
  ASSIGN_OR_RETURN(const ChatFlags flags, TakeChatFlags(session, unit.description));
  if (flags.words.empty()) return UsageOf(*session.command, "needs a model; `aima ls` shows those that are here");
  RETURN_IF_ERROR(unit.reached);
  std::string prompt = Joined(flags.words, 1);
  const std::string piped = PipedText();
  if (!piped.empty()) absl::StrAppend(&prompt, prompt.empty() ? "" : "\n\n", piped);
  ASSIGN_OR_RETURN(const std::string model, FindOrFetch(session, *client, flags.words[0], !no_pull));
  ASSIGN_OR_RETURN(const ordered_json record, Await(session.loop, client->Execute("model.get", {{"model_id", model}})));
  const std::string type = Text(record, "type");
  if (type != "llm" && type != "vlm") {
    RETURN_IF_ERROR(Start(session, *client, model, yes, context));
    std::cerr << model << " runs. It does not chat: it is of type " << type
              << ". `aima units` shows what can be asked of it.\n";
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(Start(session, *client, model, yes, context));
  Conversation conversation(session, *client, model, flags.options, flags.verbose);
  conversation.SetSystem(flags.system);
  return prompt.empty() && isatty(STDIN_FILENO) != 0 ? conversation.Converse()
         : prompt.empty()                            ? absl::OkStatus()
                                                     : conversation.Ask(prompt);
}

absl::Status ChatCommand(Session& session) {
  ASSIGN_OR_RETURN(const std::unique_ptr<GatewayClient> client, GatewayClient::Connect(session.loop, session.globals));
  ASSIGN_OR_RETURN(const KnownUnit unit, Describe(session, *client, "inference.chat"));
  ASSIGN_OR_RETURN(const ChatFlags flags, TakeChatFlags(session, unit.description));
  RETURN_IF_ERROR(unit.reached);
  std::optional<std::string> model;
  if (!flags.words.empty()) model = flags.words[0];
  std::string prompt = Joined(flags.words, 1);
  if (!model || prompt.empty()) {
    std::vector<std::string> names;
    ASSIGN_OR_RETURN(const std::vector<std::string> models, ChatModels(session, *client, names));
    if (models.empty()) {
      return WithRemedy(absl::NotFoundError("there is no model to talk to"),
                        "`aima pull NAME` fetches one, `aima import PATH` takes one from this machine.");
    }
    const bool known = model && std::find(names.begin(), names.end(), *model) != names.end();
    if (model && !known) {
      // A sentence is a question to the model that is there; a word is a model that is not.
      if (model->find(' ') == std::string::npos) {
        const std::vector<std::string> near = Nearest(*model, names, 2);
        return WithRemedy(absl::NotFoundError(absl::StrCat("there is no model '", *model, "'",
                                                           near.empty() ? "" : "; did you mean " + near[0] + "?")),
                          "`aima ls` lists them. To ask one word: aima chat MODEL WORD");
      }
      prompt = *model;
      model.reset();
    }
    if (!model) model = models.front();
  }
  Conversation conversation(session, *client, *model, flags.options, flags.verbose);
  conversation.SetSystem(flags.system);
  return prompt.empty() ? conversation.Converse() : conversation.Ask(prompt);
}

}  // namespace aima::cli
