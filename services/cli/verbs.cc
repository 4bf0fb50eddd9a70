// Verbs that are one unit each: UnitVerb, and those that take or tell something in words of their own.
#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>
#include <absl/strings/str_replace.h>
#include <absl/strings/str_split.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <iostream>

#include "libs/base/status_macros.h"
#include "services/cli/commands.h"
#include "services/cli/gateway_client.h"
#include "services/cli/models.h"
#include "services/cli/output.h"
#include "services/cli/progress_display.h"
#include "services/cli/schema_flags.h"
#include "services/cli/unit_call.h"
#include "services/cli/unit_description.h"

namespace aima::cli {
namespace {

using nlohmann::ordered_json;

struct Reading {
  std::unique_ptr<GatewayClient> client;
  ordered_json description;
  UnitCall call;
};

// What the usage calls a field: MODEL rather than model_id.
std::string WordFor(const Command& command, const std::string& field) {
  const auto at = std::find(command.fields.begin(), command.fields.end(), field);
  const std::vector<std::string> words = absl::StrSplit(command.usage, ' ');
  const size_t index = static_cast<size_t>(at - command.fields.begin());
  if (at == command.fields.end() || index >= words.size()) return absl::StrCat("--", absl::StrReplaceAll(field, {{"_", "-"}}));
  // Without what may be left out: NAME of [SOURCE:]NAME[:TAG].
  std::string word;
  int depth = 0;
  for (const char c : words[index]) {
    depth += c == '[' ? 1 : 0;
    if (depth == 0) word += c;
    depth -= c == ']' ? 1 : 0;
  }
  return word;
}

// Where this program stands, the gateway does not.
void MakePathsAbsolute(const Command& command, ordered_json& input) {
  for (size_t i = 0; i < command.fields.size() && i < command.takes.size(); ++i) {
    const std::string path = Text(input, command.fields[i].c_str());
    if (command.takes[i] != "file" || path.empty() || path[0] == '/') continue;
    std::error_code error;
    const std::filesystem::path absolute = std::filesystem::absolute(path, error);
    if (!error) input[command.fields[i]] = absolute.lexically_normal().string();
  }
}

// The unit's input from the words and flags of session.command. Fields that are not given are not in it.
absl::StatusOr<Reading> Read(Session& session) {
  const Command& command = *session.command;
  Reading reading;
  reading.call.unit = command.unit;
  ASSIGN_OR_RETURN(reading.client, GatewayClient::Connect(session.loop, session.globals));
  ASSIGN_OR_RETURN(KnownUnit known, Describe(session, *reading.client, command.unit));
  reading.description = std::move(known.description);
  const ordered_json schema = reading.description.value("input_schema", ordered_json::object());
  if (!HasField(schema, "timeout")) {
    ASSIGN_OR_RETURN(const std::optional<std::string> timeout, session.arguments.Value("timeout"));
    reading.call.options.timeout = timeout.value_or("");
  }
  std::vector<std::string> words = session.arguments.words();
  const std::vector<std::string> plain = TakePlainWords(schema, words);
  for (size_t i = 0; i < plain.size(); ++i) {
    if (plain[i].starts_with('-') && plain[i].size() > 1) {
      return UsageOf(command, absl::StrCat("has no flag ", plain[i]));
    }
    if (i >= command.fields.size()) return UsageOf(command, absl::StrCat("does not take ", plain[i]));
    words.push_back(absl::StrCat("--", command.fields[i], "=", plain[i]));
  }
  RETURN_IF_ERROR(ApplyFlags(schema, words, reading.call.input));
  MakePathsAbsolute(command, reading.call.input);
  for (const ordered_json& required : schema.value("required", ordered_json::array())) {
    const std::string field = required.get<std::string>();
    if (!reading.call.input.contains(field)) return UsageOf(command, "needs " + WordFor(command, field));
  }
  RETURN_IF_ERROR(known.reached);
  if (reading.description.value("streaming", false) && TellsProgress(reading.description)) {
    reading.call.stream = true;
    reading.call.progress = session.globals.output != "ndjson";  // whose readers see the progress itself
    reading.call.attaches = reading.description.value("idempotent", false);
  }
  return reading;
}

// Models go by their names, too.
absl::Status FindModel(Session& session, Reading& reading) {
  const std::string name = Text(reading.call.input, "model_id");
  if (name.empty()) return absl::OkStatus();
  const absl::StatusOr<ordered_json> model = ModelCalled(session, *reading.client, name);
  if (model.ok()) reading.call.input["model_id"] = Text(*model, "id");
  return absl::IsFailedPrecondition(model.status()) ? model.status() : absl::OkStatus();
}

// Files that are a model already stay that model: an error if something else was asked for.
absl::Status CheckHeeded(const ordered_json& input, const ordered_json& model) {
  const std::string id = Text(model, "id"), name = Text(input, "name"), type = Text(input, "type");
  std::vector<std::string> unheeded;
  if (!name.empty() && name != id && name != Text(model, "name")) unheeded.push_back("--name " + name);
  if (!type.empty() && type != Text(model, "type")) unheeded.push_back("--type " + type);
  if (input.value("copy", false) && !model.value("stored", false)) unheeded.push_back("--copy");
  if (unheeded.empty()) return absl::OkStatus();
  return WithRemedy(
      absl::AlreadyExistsError(absl::StrCat("these files are the model ", id, " already, and ",
                                            absl::StrJoin(unheeded, " and "),
                                            unheeded.size() == 1 ? " changes" : " change", " nothing about it")),
      absl::StrCat("`aima rm ", id, "` forgets it", model.value("stored", false) ? "" : " and leaves its files",
                   "; then they can be imported anew."));
}

// "ollama:llama3.2:1b" names a source before the first colon; what else stands there belongs to the name.
void SplitSource(const ordered_json& description, ordered_json& input) {
  const std::string repo = Text(input, "repo");
  const size_t colon = repo.find(':');
  if (colon == std::string::npos || input.contains("source")) return;
  std::string source = repo.substr(0, colon);
  if (source == "hf") source = "huggingface";
  for (const FlagHelp& flag : FlagsOf(description.value("input_schema", ordered_json::object()))) {
    if (flag.flag != "--source") continue;
    if (std::find(flag.choices.begin(), flag.choices.end(), source) == flag.choices.end()) return;
    input["source"] = source;
    input["repo"] = repo.substr(colon + 1);
  }
}

}  // namespace

absl::Status UnitVerb(Session& session) {
  ASSIGN_OR_RETURN(Reading reading, Read(session));
  RETURN_IF_ERROR(FindModel(session, reading));
  return RunUnit(session, *reading.client, reading.call);
}

absl::Status CancelCommand(Session& session) {
  ASSIGN_OR_RETURN(Reading reading, Read(session));
  RETURN_IF_ERROR(FindModel(session, reading));
  ASSIGN_OR_RETURN(const ordered_json output, OutputOf(session, *reading.client, reading.call));
  if (session.globals.output != "table") {
    std::cout << Format(output, session.globals.output) << std::flush;
  } else if (output.value("cancelled", false)) {
    std::cout << "ended the pull of " << Text(reading.call.input, "model_id") << std::endl;
  } else {
    std::cerr << "Nothing to cancel: " << Text(reading.call.input, "model_id") << " is not being pulled.\n";
  }
  return absl::OkStatus();
}

absl::Status ImportCommand(Session& session) {
  ASSIGN_OR_RETURN(Reading reading, Read(session));
  ASSIGN_OR_RETURN(const ordered_json output, OutputOf(session, *reading.client, reading.call));
  const ordered_json model = output.value("model", ordered_json::object());
  const std::string id = Text(output, "model_id");
  const bool created = output.value("created", false);
  if (!created) RETURN_IF_ERROR(CheckHeeded(reading.call.input, model));
  if (session.globals.output != "table") {
    std::cout << (session.globals.output == "name" ? id + "\n" : Format(output, session.globals.output)) << std::flush;
    return absl::OkStatus();
  }
  std::cout << (created ? "imported " : "known already: ") << id << " (" << Text(model, "type") << ", "
            << BytesText(model.value("size", 0.0)) << ")"
            << (created && model.value("stored", false) ? "; copied to " : "; its files are at ") << Text(model, "path")
            << std::endl;
  const bool talks = Text(model, "type") == "llm" || Text(model, "type") == "vlm";
  if (talks && isatty(STDERR_FILENO) != 0) std::cerr << "`aima run " << id << "` talks to it.\n";
  return absl::OkStatus();
}

absl::StatusOr<ordered_json> Pull(Session& session) {
  const bool detach = session.arguments.Flag("detach", 'd');
  ASSIGN_OR_RETURN(Reading reading, Read(session));
  UnitCall& call = reading.call;
  const std::string wanted = Text(call.input, "repo");
  SplitSource(reading.description, call.input);
  if (detach) {
    call.input["detach"] = true;
    call.stream = call.progress = false;
  }
  call.on_leave = [&wanted](const ordered_json& last) {
    const std::string model = Text(last, "model_id");
    return absl::StrCat("The pull goes on. `aima pull ", wanted, "` shows it again",
                        model.empty() ? "" : absl::StrCat(", `aima cancel ", model, "` ends it"), ".");
  };
  return OutputOf(session, *reading.client, call);
}

absl::Status PullCommand(Session& session) {
  ASSIGN_OR_RETURN(const ordered_json output, Pull(session));
  if (!output.is_object()) return absl::OkStatus();  // its progress was the output
  std::cout << Format(output, session.globals.output) << std::flush;
  const std::string model = Text(output, "model_id");
  if (isatty(STDERR_FILENO) == 0 || session.globals.output != "table") return absl::OkStatus();
  if (Text(output, "status") == "ready") {
    std::cerr << "`aima run " << model << "` talks to it.\n";
  } else {
    std::cerr << "It goes on by itself. The same command without --detach shows how far it is, `aima cancel " << model
              << "` ends it.\n";
  }
  return absl::OkStatus();
}

}  // namespace aima::cli
