// aima ls, ps, rm and stop MODEL: what is there, what runs, and the end of either.
#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>
#include <absl/time/clock.h>
#include <unistd.h>

#include <algorithm>
#include <iostream>

#include "libs/base/status_macros.h"
#include "services/cli/ask.h"
#include "services/cli/cluster.h"
#include "services/cli/commands.h"
#include "services/cli/models.h"
#include "services/cli/output.h"
#include "services/cli/progress_display.h"
#include "services/cli/schema_flags.h"
#include "services/cli/table.h"
#include "services/cli/unit_call.h"
#include "services/cli/unit_description.h"

namespace aima::cli {
namespace {

using nlohmann::ordered_json;

std::string Age(const std::string& time) {
  absl::Time parsed;
  std::string error;
  if (!absl::ParseTime(absl::RFC3339_full, time, &parsed, &error)) return "";
  return ShortDuration(absl::ToDoubleSeconds(absl::Now() - parsed));
}

std::string Size(const ordered_json& object, const char* key) {
  const double bytes = object.value(key, 0.0);
  return bytes > 0 ? BytesText(bytes) : "";
}

// Times of an instance that a column of its own shows, or that nobody looks at.
bool IsUsual(const std::string& key) { return key == "started_at" || key == "updated_at" || key == "next_start_at"; }

// Whatever else an engine tells of its times, such as when it is stopped for idleness, has a column of its name.
std::vector<std::string> FurtherTimes(const std::vector<ordered_json>& instances) {
  std::vector<std::string> keys;
  for (const ordered_json& instance : instances) {
    for (const auto& [key, value] : instance.items()) {
      const bool time =
          value.is_string() && (key.ends_with("_at") || key.ends_with("_until") || key.ends_with("_time"));
      if (time && !IsUsual(key) && std::find(keys.begin(), keys.end(), key) == keys.end()) keys.push_back(key);
    }
  }
  return keys;
}

std::string Heading(const std::string& key) {
  std::string text = key.substr(0, key.rfind('_'));
  for (char& c : text) c = c == '_' ? ' ' : static_cast<char>(toupper(c));
  return text;
}

std::string StateOf(const ordered_json& instance) {
  const std::string status = Text(instance, "status");
  if (status == "running" && Text(instance, "health") == "unhealthy") return "unhealthy";
  if (status == "failed" && instance.contains("next_start_at")) {
    const std::string when = RelativeTime(Text(instance, "next_start_at"));
    return when == "just now" || when.ends_with(" ago") ? "failed, starting again" : "failed, again " + when;
  }
  return status;
}

// Why a model should not be deleted without asking; empty if nothing speaks against it.
std::string Objection(const ordered_json& model, const std::vector<ordered_json>& users) {
  if (!users.empty()) {
    std::vector<std::string> names;
    for (const ordered_json& user : users) names.push_back(Text(user, "instance_id"));
    return absl::StrCat("it runs (", absl::StrJoin(names, ", "), ")");
  }
  if (Text(model, "status") == "pulling") return "it is being pulled";
  return model.value("pinned", false) ? "it is pinned" : "";
}

absl::StatusOr<ordered_json> StopInstance(Session& session, GatewayClient& client, const std::string& name,
                                          bool force) {
  ordered_json input = {{"name", name}};
  if (force) input["force"] = true;
  return Await(session.loop, client.Execute("engine.stop", input));
}

absl::Status Remove(Session& session, GatewayClient& client, const std::string& name, bool force, bool yes) {
  ASSIGN_OR_RETURN(const ordered_json model, ModelCalled(session, client, name));
  ASSIGN_OR_RETURN(const std::vector<ordered_json> instances, Instances(session, client));
  const std::string id = Text(model, "id");
  std::vector<ordered_json> users;
  for (const ordered_json& instance : instances) {
    if (IsAlive(instance) && Text(instance, "model_id") == id) users.push_back(instance);
  }
  const std::string objection = Objection(model, users);
  if (!objection.empty() && !force && !yes) {
    RETURN_IF_ERROR(
        Confirm(absl::StrCat("Delete ", id, " although ", objection, "?"), absl::StrCat("aima rm --force ", name)));
  }
  for (const ordered_json& user : users) {
    std::cerr << "stopping " << Text(user, "instance_id") << std::endl;
    RETURN_IF_ERROR(StopInstance(session, client, Text(user, "instance_id"), false).status());
  }
  ordered_json input = {{"model_id", id}};
  if (force) input["force"] = true;
  ASSIGN_OR_RETURN(const ordered_json output, Await(session.loop, client.Execute("model.delete", input)));
  if (session.globals.output != "table") {
    std::cout << (session.globals.output == "name" ? id + "\n" : Format(output, session.globals.output)) << std::flush;
    return absl::OkStatus();
  }
  const double freed = output.value("freed_bytes", 0.0);
  std::cout << "deleted " << id;
  if (freed > 0) std::cout << ", " << BytesText(freed) << " freed";
  if (!model.value("stored", false) && !Text(model, "path").empty()) {
    std::cout << "; its files stay at " << Text(model, "path");
  }
  std::cout << std::endl;
  return absl::OkStatus();
}

}  // namespace

absl::Status RemoveCommand(Session& session) {
  const bool force = session.arguments.Flag("force", 'f');
  const bool yes = session.arguments.Flag("yes", 'y');
  const std::vector<std::string> names = session.arguments.words();
  if (names.empty()) return UsageOf(*session.command, "needs a model; `aima ls` shows them");
  for (const std::string& name : names) {
    if (name.starts_with('-')) return UsageOf(*session.command, absl::StrCat("has no flag ", name));
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<GatewayClient> client, GatewayClient::Connect(session.loop, session.globals));
  absl::Status worst;
  for (const std::string& name : names) {
    const absl::Status removed = Remove(session, *client, name, force, yes);
    if (removed.ok()) continue;
    if (names.size() == 1) return removed;
    ReportError(removed, session.globals.output == "json" || session.globals.output == "ndjson");
    if (worst.ok()) worst = QuietFailure(ExitCodeOf(removed));
  }
  return worst;
}

absl::Status StopEngineNamed(Session& session, const std::vector<std::string>& names, bool force) {
  ASSIGN_OR_RETURN(const std::unique_ptr<GatewayClient> client, GatewayClient::Connect(session.loop, session.globals));
  for (const std::string& name : names) {
    ASSIGN_OR_RETURN(const std::vector<ordered_json> instances, Instances(session, *client));
    std::vector<ordered_json> meant = InstancesOf(instances, name);
    if (meant.empty()) {
      const absl::StatusOr<ordered_json> model = ModelCalled(session, *client, name);
      if (model.ok()) meant = InstancesOf(instances, Text(*model, "id"));
    }
    std::vector<std::string> ids;
    for (const ordered_json& instance : meant) ids.push_back(Text(instance, "instance_id"));
    if (ids.empty()) ids = {name};  // an engine's name, or what has stopped already: the unit knows
    for (const std::string& id : ids) {
      const absl::StatusOr<ordered_json> stopped = StopInstance(session, *client, id, force);
      if (stopped.status().code() == absl::StatusCode::kNotFound) {
        return WithRemedy(stopped.status(), "`aima ps` shows what runs; `aima stop` alone stops the whole cluster.");
      }
      RETURN_IF_ERROR(stopped.status());
      std::cout << (session.globals.output == "table" ? id + "\n" : Format(*stopped, session.globals.output))
                << std::flush;
    }
  }
  return absl::OkStatus();
}

absl::Status ListCommand(Session& session) {
  const Command& command = *session.command;
  ASSIGN_OR_RETURN(const std::unique_ptr<GatewayClient> client, GatewayClient::Connect(session.loop, session.globals));
  ASSIGN_OR_RETURN(const KnownUnit unit, Describe(session, *client, command.unit));
  const ordered_json schema = unit.description.value("input_schema", ordered_json::object());
  std::vector<std::string> words = session.arguments.words();
  const std::vector<std::string> plain = TakePlainWords(schema, words);
  ordered_json input = ordered_json::object();
  RETURN_IF_ERROR(ApplyFlags(schema, words, input));
  if (!plain.empty()) return UsageOf(command, absl::StrCat("does not take ", plain[0]));
  RETURN_IF_ERROR(unit.reached);
  ASSIGN_OR_RETURN(ordered_json answer, Await(session.loop, client->Execute(command.unit, input)));
  if (session.globals.output != "table") {
    std::cout << Format(answer, session.globals.output);
    return absl::OkStatus();
  }
  // People see what runs beside what is there; a cluster whose engine service is away still lists its models.
  const absl::StatusOr<std::vector<ordered_json>> instances = Instances(session, *client);
  std::vector<std::vector<std::string>> rows = {{"NAME", "TYPE", "SIZE", "STATE", "AGE"}};
  if (session.globals.wide)
    rows[0].insert(rows[0].end(), {"FORMAT", "QUANTIZATION", "SOURCE", "PINNED", "LAST USED", "PATH"});
  for (const ordered_json& model : answer.value("items", ordered_json::array())) {
    std::string state = Text(model, "status");
    for (const ordered_json& instance : instances.ok() ? *instances : std::vector<ordered_json>()) {
      if (IsAlive(instance) && Text(instance, "model_id") == Text(model, "id")) state = StateOf(instance);
    }
    std::vector<std::string> row = {Text(model, "id"), Text(model, "type"), Size(model, "size"), state,
                                    Age(Text(model, "create_time"))};
    if (session.globals.wide) {
      const std::string repo = Text(model, "repo");
      row.insert(
          row.end(),
          {Text(model, "format"), Text(model.value("details", ordered_json::object()), "quantization"),
           absl::StrCat(Text(model, "source"), repo.empty() ? "" : ":", repo),
           model.value("pinned", false) ? "yes" : "", RelativeTime(Text(model, "use_time")), Text(model, "path")});
    }
    rows.push_back(std::move(row));
  }
  if (rows.size() > 1) std::cout << FormatTable(rows);
  if (rows.size() == 1)
    std::cerr << "There are no models. `aima pull NAME` fetches one, `aima import PATH` takes one from this machine.\n";
  if (!Text(answer, "next_after").empty()) {
    std::cerr << "These are " << rows.size() - 1 << " of " << answer.value("total", int64_t{0})
              << ". The next: aima ls ";
    for (const std::string& word : words) std::cerr << word << " ";
    std::cerr << "--after " << Text(answer, "next_after") << "\n";  // the last --after counts
  }
  return absl::OkStatus();
}

absl::Status ProcessesCommand(Session& session) {
  const bool all = session.arguments.Flag("all", 'a');
  RETURN_IF_ERROR(session.arguments.Done("ps"));
  ASSIGN_OR_RETURN(const std::unique_ptr<GatewayClient> client, GatewayClient::Connect(session.loop, session.globals));
  ordered_json answer;
  ASSIGN_OR_RETURN(std::vector<ordered_json> instances, Instances(session, *client, &answer));
  // What has failed is shown until somebody stops it: `aima doctor` complains of it as long.
  if (!all) std::erase_if(instances, [](const ordered_json& instance) { return Text(instance, "status") == "stopped"; });
  if (session.globals.output == "name" || session.globals.output == "ndjson") {
    std::cout << Format(ordered_json(instances), session.globals.output);
    return absl::OkStatus();
  }
  if (session.globals.output != "table") {
    std::cout << Format(answer, session.globals.output);
    return absl::OkStatus();
  }
  std::vector<std::vector<std::string>> rows = {
      {"NAME", "MODEL", "ENGINE", "STATE", "MEMORY", "PORT", "PID", "UPTIME"}};
  const std::vector<std::string> further = FurtherTimes(instances);
  for (const std::string& key : further) rows[0].push_back(Heading(key));
  if (session.globals.wide) rows[0].insert(rows[0].end(), {"CONTEXT", "PARALLEL", "STARTS", "SLOT", "LOG"});
  for (const ordered_json& instance : instances) {
    const std::string endpoint = Text(instance, "endpoint");
    const int pid = instance.value("process_id", 0);
    std::vector<std::string> row = {Text(instance, "instance_id"),  Text(instance, "model_id"),
                                    Text(instance, "engine"),       StateOf(instance),
                                    Size(instance, "memory_bytes"), endpoint.substr(endpoint.rfind(':') + 1),
                                    pid ? absl::StrCat(pid) : "",   pid ? Age(Text(instance, "started_at")) : ""};
    for (const std::string& key : further) row.push_back(RelativeTime(Text(instance, key.c_str())));
    if (session.globals.wide) {
      const ordered_json config = instance.value("config", ordered_json::object());
      row.insert(row.end(), {config.value("context_length", ordered_json("")).dump(),
                             config.value("parallel", ordered_json("")).dump(),
                             instance.value("generation", ordered_json("")).dump(), Text(instance, "slot_id"),
                             Text(instance, "log_path")});
    }
    rows.push_back(std::move(row));
  }
  if (rows.size() > 1) std::cout << FormatTable(rows);
  if (rows.size() == 1) std::cerr << "Nothing runs. `aima run MODEL` starts one.\n";
  for (const ordered_json& instance : instances) {
    const std::string error = Text(instance, "error");
    if (!error.empty()) std::cerr << Text(instance, "instance_id") << ": " << error.substr(0, error.find('\n')) << "\n";
  }
  return absl::OkStatus();
}

}  // namespace aima::cli
