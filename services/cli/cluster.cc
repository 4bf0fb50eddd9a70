// aima stop, aima status, and what they share with aima start.
#include "services/cli/cluster.h"

#include <absl/strings/str_cat.h>
#include <absl/time/clock.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <iostream>
#include <nlohmann/json.hpp>

#include "libs/base/status_macros.h"
#include "services/cli/commands.h"
#include "services/cli/files.h"
#include "services/cli/gateway_client.h"
#include "services/cli/left_engines.h"
#include "services/cli/output.h"
#include "services/cli/pid_file.h"
#include "services/cli/session.h"
#include "services/cli/supervisor.h"
#include "services/cli/table.h"
#include "services/cli/unit_description.h"

namespace aima::cli {
namespace {

using nlohmann::ordered_json;

std::vector<std::string> Row(const ordered_json& item) {
  const int pid = item.value("pid", 0);
  const double seconds = (absl::ToUnixMillis(absl::Now()) - item.value("since_ms", int64_t{0})) / 1000.0;
  const std::string user = Text(item, "user");
  return {Text(item, "name"),
          Text(item, "state"),
          pid ? absl::StrCat(pid) : "-",
          pid ? ShortDuration(seconds) : "-",
          absl::StrCat(item.value("restarts", 0)),
          Text(item, "address") + (user.empty() ? "" : " (user " + user + ")")};
}

// Health by service as the gateway sees it; empty if it does not answer.
ordered_json Health(Session& session) {
  const absl::StatusOr<std::unique_ptr<GatewayClient>> client =
      GatewayClient::Connect(session.loop, session.globals);
  if (!client.ok()) return ordered_json::object();
  const absl::StatusOr<ordered_json> data = Await(session.loop, (*client)->Get("health", absl::Seconds(3)));
  if (!data.ok() || !data->is_object()) return ordered_json::object();
  return data->value("services", ordered_json::object());
}

// True if a supervisor has noted this process and it runs.
bool Runs(const std::string& data_dir, const char* name) {
  const std::optional<process::Identity> identity = ReadPidFile(absl::StrCat(data_dir, "/run/", name, ".pid"));
  return identity && process::Lives(*identity);
}

// Once no service looks after the engines: ends them, or tells that they stay.
absl::Status EndEngines(Session& session, bool keep) {
  const std::vector<LeftEngine> engines = LeftEngines(session.globals.data_dir);
  if (engines.empty()) return absl::OkStatus();
  if (keep) {
    std::cerr << "Engines that stay: " << NamesOf(engines)
              << ". `aima start` takes them over, `aima stop` ends them.\n";
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(Await(session.loop, EndLeftEngines(engines, absl::Seconds(30))));
  for (const LeftEngine& engine : engines) std::cerr << "stopped engine " << engine.ToString() << "\n";
  return absl::OkStatus();
}

Task<bool> Pause(absl::Duration time) {
  boost::asio::steady_timer timer(co_await boost::asio::this_coro::executor, absl::ToChronoNanoseconds(time));
  boost::system::error_code ignored;
  co_await timer.async_wait(boost::asio::redirect_error(boost::asio::use_awaitable, ignored));
  co_return true;
}

}  // namespace

std::string SupervisorFile(const std::string& data_dir) { return data_dir + "/run/supervisor.pid"; }
std::string KeepEnginesFile(const std::string& data_dir) { return data_dir + "/run/keep-engines"; }

ordered_json ClusterProcesses(const std::string& data_dir) {
  const absl::StatusOr<std::string> text = ReadFile(StateFile(data_dir));
  ordered_json state = text.ok() ? ordered_json::parse(*text, nullptr, false) : ordered_json();
  ordered_json list = state.is_object() ? state.value("processes", ordered_json::array()) : ordered_json::array();
  for (ordered_json& item : list) {
    const std::optional<process::Identity> identity =
        ReadPidFile(absl::StrCat(data_dir, "/run/", Text(item, "name"), ".pid"));
    if (identity && process::Lives(*identity)) continue;
    item["pid"] = 0;
    if (Text(item, "state") == "ready" || Text(item, "state") == "starting") item["state"] = "down";
  }
  return list;
}

std::string ProcessTable(const std::string& data_dir) {
  std::vector<std::vector<std::string>> rows = {{"PROCESS", "STATE", "PID", "UPTIME", "RESTARTS", "ADDRESS"}};
  for (const ordered_json& item : ClusterProcesses(data_dir)) rows.push_back(Row(item));
  return FormatTable(rows);
}

Task<void> StopEngines(Loop& loop, std::string data_dir) {
  if (access(KeepEnginesFile(data_dir).c_str(), F_OK) == 0) co_return;
  Globals globals;
  globals.data_dir = data_dir;
  const absl::StatusOr<std::unique_ptr<GatewayClient>> client = GatewayClient::Connect(loop, globals);
  if (!client.ok()) co_return;
  const absl::StatusOr<ordered_json> engines =
      co_await (*client)->Execute("engine.list", ordered_json::object(), {.timeout = "5s"});
  if (!engines.ok() || !engines->is_object()) co_return;
  for (const ordered_json& engine : engines->value("items", ordered_json::array())) {
    for (const ordered_json& instance : engine.value("instances", ordered_json::array())) {
      const std::string status = Text(instance, "status");
      // A failed one may be about to be started again.
      if (status == "stopped" || (status == "failed" && !instance.contains("next_start_at"))) continue;
      std::cerr << "stopping engine " << Text(instance, "instance_id") << std::endl;
      const ordered_json input = {{"name", Text(instance, "instance_id")}};
      const absl::StatusOr<ordered_json> stopped =
          co_await (*client)->Execute("engine.stop", input, {.timeout = "60s"});
      if (!stopped.ok()) std::cerr << "  " << stopped.status().message() << std::endl;
    }
  }
}

absl::Status StopCommand(Session& session) {
  const bool keep_engines = session.arguments.Flag("keep-engines");
  const bool force = session.arguments.Flag("force", 'f');
  if (!session.arguments.empty() && !session.arguments.words()[0].starts_with('-')) {
    if (keep_engines)
      return UsageOf(*session.command, "stops either what is named, or the cluster without its engines");
    return StopEngineNamed(session, session.arguments.words(), force);
  }
  RETURN_IF_ERROR(session.arguments.Done("stop"));
  if (force) return UsageOf(*session.command, "takes --force with the name of an engine or a model only");
  const std::string& data_dir = session.globals.data_dir;
  const std::optional<process::Identity> supervisor = ReadPidFile(SupervisorFile(data_dir));
  if (supervisor && process::Lives(*supervisor) && SupervisorLock::IsHeld(SupervisorFile(data_dir))) {
    if (keep_engines) RETURN_IF_ERROR(WriteFile(KeepEnginesFile(data_dir), "", 0600));
    std::cerr << "Stopping AIMA in " << data_dir << std::endl;
    if (!process::SendSignal(*supervisor, SIGTERM) && process::Lives(*supervisor)) {
      return absl::PermissionDeniedError(
          absl::StrCat("the supervisor (pid ", supervisor->pid, ") belongs to another user"));
    }
    const absl::Time end = absl::Now() + absl::Minutes(5);
    while (process::Lives(*supervisor)) {
      if (absl::Now() > end) {
        return absl::DeadlineExceededError(
            absl::StrCat("the supervisor (pid ", supervisor->pid, ") does not end"));
      }
      Await(session.loop, Pause(absl::Milliseconds(50)));
    }
    RETURN_IF_ERROR(EndEngines(session, keep_engines));
    std::cerr << "Stopped." << std::endl;
    return absl::OkStatus();
  }
  const bool engines = !LeftEngines(data_dir).empty();
  if (!keep_engines) {
    unlink(KeepEnginesFile(data_dir).c_str());
    // The services know best how their engines end, and note it.
    if (Runs(data_dir, "gateway") && Runs(data_dir, "engine")) {
      Await(session.loop, [](Loop& loop, std::string directory) -> Task<bool> {
        co_await StopEngines(loop, std::move(directory));
        co_return true;
      }(session.loop, data_dir));
    }
  }
  const std::vector<std::string> ended = Await(session.loop, EndLeftovers(data_dir, absl::Seconds(30)));
  for (const std::string& process : ended) std::cerr << "stopped " << process << ", whose supervisor was gone\n";
  RETURN_IF_ERROR(EndEngines(session, keep_engines));
  if (ended.empty() && !engines) std::cerr << "Nothing of AIMA runs in " << data_dir << ".\n";
  return absl::OkStatus();
}

absl::Status StatusCommand(Session& session) {
  RETURN_IF_ERROR(session.arguments.Done("status"));
  const std::string& data_dir = session.globals.data_dir;
  const bool supervised = SupervisorLock::IsHeld(SupervisorFile(data_dir));
  const std::optional<process::Identity> supervisor = ReadPidFile(SupervisorFile(data_dir));
  ordered_json processes = ClusterProcesses(data_dir);
  const ordered_json health = supervised ? Health(session) : ordered_json::object();
  bool any_runs = false;
  bool all_well = supervised && !processes.empty();
  std::vector<std::vector<std::string>> rows = {
      {"PROCESS", "STATE", "PID", "UPTIME", "RESTARTS", "HEALTH", "ADDRESS"}};
  for (ordered_json& item : processes) {
    const auto found = health.find(Text(item, "name"));
    const bool told = found != health.end();
    const std::string state = told ? (found->is_string() ? found->get<std::string>() : found->dump()) : "";
    any_runs = any_runs || item.value("pid", 0) != 0;
    item["health"] = told ? *found : ordered_json();
    all_well = all_well && Text(item, "state") == "ready" && (state.empty() || state == "serving");
    std::vector<std::string> row = Row(item);
    row.insert(row.end() - 1, state.empty() ? "-" : state);
    rows.push_back(std::move(row));
  }
  const std::vector<LeftEngine> engines = supervised ? std::vector<LeftEngine>() : LeftEngines(data_dir);
  const std::string summary = all_well           ? "everything serves"
                              : supervised       ? "not everything serves"
                              : any_runs         ? "the supervisor is gone, its processes still run"
                              : !engines.empty() ? "AIMA is not running, but engines still run: " + NamesOf(engines)
                                                 : "AIMA is not running";
  ordered_json left = ordered_json::array();
  for (const LeftEngine& engine : engines) left.push_back({{"name", engine.name}, {"pid", engine.state.program.pid}});
  if (session.globals.output != "table") {
    const ordered_json report = {{"data_dir", data_dir},
                                 {"running", supervised},
                                 {"healthy", all_well},
                                 {"supervisor_pid", supervised && supervisor ? supervisor->pid : 0},
                                 {"processes", processes},
                                 {"left_engines", left}};
    std::cout << Format(report, session.globals.output);
  } else {
    if (processes.empty() || !(supervised || any_runs)) rows.clear();
    std::cout << data_dir << ": " << summary
              << (supervised && supervisor ? absl::StrCat(" (supervisor: pid ", supervisor->pid, ")") : "") << "\n"
              << FormatTable(rows);
    for (const ordered_json& item : processes) {
      if (Text(item, "state") != "ready" && !Text(item, "last_exit").empty()) {
        std::cout << "  " << Text(item, "name") << ": " << Text(item, "last_exit")
                  << "; log: " << Text(item, "log") << "\n";
      }
    }
  }
  if (all_well) return absl::OkStatus();
  const std::string remedy = supervised                       ? "The logs tell more."
                             : any_runs || !engines.empty() ? "`aima stop` ends what still runs; `aima start` starts "
                                                              "the cluster, and takes the engines over."
                                                            : "`aima start` starts it.";
  if (session.globals.output != "table") return WithRemedy(absl::UnavailableError(summary), remedy);
  // The first line has said what there is to say.
  std::cerr << "  " << remedy << std::endl;
  return QuietFailure(kUnavailable);
}

}  // namespace aima::cli
