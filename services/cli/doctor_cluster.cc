// Checks of the cluster's processes and ports (doctor.h).
#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "libs/process/port.h"
#include "services/cli/cluster.h"
#include "services/cli/doctor.h"
#include "services/cli/environment.h"
#include "services/cli/left_engines.h"
#include "services/cli/listen_check.h"
#include "services/cli/pid_file.h"
#include "services/cli/unit_description.h"

namespace aima::cli {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

int PortOf(const std::string& address) {
  int port = 0;
  const size_t colon = address.rfind(':');
  return colon != std::string::npos && absl::SimpleAtoi(address.substr(colon + 1), &port) ? port : 0;
}

// The next port above `port` that nobody has, so that the command which mends can be copied as it is.
std::string FreeAddress(const std::string& key, const std::string& address) {
  const std::string host = address.substr(0, address.rfind(':'));
  for (int port = PortOf(address) + 1; port < 65536; ++port) {
    const std::string candidate = absl::StrCat(host, ":", port);
    if (CheckFree(key, candidate).ok()) return candidate;
  }
  return address;
}

// What every pid file of the data directory names.
struct Noted {
  std::string name;
  std::optional<process::Identity> identity;
  bool alive = false;
};
std::vector<Noted> PidFiles(const std::string& data_dir) {
  std::vector<Noted> noted;
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::directory_iterator(data_dir + "/run", ignored)) {
    if (entry.path().extension() != ".pid" || entry.path().stem() == "supervisor") continue;
    Noted one{entry.path().stem(), ReadPidFile(entry.path())};
    one.alive = one.identity && process::Lives(*one.identity);
    noted.push_back(std::move(one));
  }
  std::sort(noted.begin(), noted.end(), [](const Noted& a, const Noted& b) { return a.name < b.name; });
  return noted;
}

// The process of this cluster that listens on a port, as ListenerOn writes it; empty if none does. Looking at these few
// is quick; looking through all processes of a busy machine is not.
std::string OurListener(const Patient& patient, int port) {
  std::vector<Noted> noted = PidFiles(patient.data_dir);
  std::partition(noted.begin(), noted.end(), [](const Noted& one) { return one.name == "gateway"; });
  for (const Noted& one : noted) {
    const std::optional<process::Entry> entry = one.alive ? process::ReadEntry(one.identity->pid) : std::nullopt;
    if (entry && process::ListensOn({*entry}, port)) return absl::StrCat("aima-", one.name, " (pid ", entry->pid, ")");
  }
  return "";
}

}  // namespace

Findings CheckPorts(Patient& patient) {
  Findings findings;
  for (const auto& [key, address] :
       {std::pair<std::string, std::string>{"api.listen_addr", patient.config.api().listen_addr()},
        {"api.grpc_addr", patient.config.api().grpc_addr()}}) {
    if (address.empty()) continue;
    const absl::Status free = CheckFree(key, address);
    const std::string holder = free.ok() ? "" : OurListener(patient, PortOf(address));
    const bool ours = !holder.empty();
    if (free.ok()) {
      if (patient.supervised) {
        findings.push_back({Verdict::kFailure,
                            absl::StrCat("the cluster runs, but nobody listens on ", address, " (", key, ")"),
                            {LookWith(patient, "logs gateway --tail 20")}});
      } else {
        findings.push_back({Verdict::kOk, absl::StrCat(address, " (", key, ") is free")});
      }
    } else if (ours && patient.supervised) {
      findings.push_back({Verdict::kOk, absl::StrCat(address, " (", key, ") is served by ", holder)});
    } else if (ours) {
      findings.push_back({Verdict::kFailure,
                          absl::StrCat(address, " (", key, ") is held by ", holder, ", whose supervisor is gone"),
                          {AimaCommand(patient, "stop")}});
    } else if (patient.gateway && patient.local) {
      findings.push_back({Verdict::kOk, absl::StrCat(address, " (", key, ") is served by an AIMA that something else runs, such as systemd")});
    } else {
      findings.push_back({Verdict::kFailure,
                          std::string(free.message()),
                          {"Stop that program, or let AIMA listen elsewhere:",
                           AimaCommand(patient, absl::StrCat("config set ", key, " ", FreeAddress(key, address)))}});
    }
  }
  return findings;
}

Findings CheckProcesses(Patient& patient) {
  Findings findings;
  const std::vector<Noted> noted = PidFiles(patient.data_dir);
  if (!patient.supervised) {
    std::vector<std::string> alive, dead;
    for (const Noted& one : noted) {
      (one.alive ? alive : dead)
          .push_back(one.alive ? absl::StrCat(one.name, " (pid ", one.identity->pid, ")") : one.name);
    }
    if (!alive.empty()) {
      findings.push_back(
          {Verdict::kFailure,
           absl::StrCat("the supervisor is gone, but its processes still run: ", absl::StrJoin(alive, ", ")),
           {AimaCommand(patient, "stop")}});
    } else if (const std::vector<LeftEngine> engines = LeftEngines(patient.data_dir); !engines.empty()) {
      findings.push_back({Verdict::kWarning,
                          absl::StrCat("AIMA is not running, but its engines still run: ", NamesOf(engines)),
                          {AimaCommand(patient, "start"), "It takes them over; `aima stop` ends them."}});
    } else if (!dead.empty()) {
      findings.push_back(
          {Verdict::kWarning,
           absl::StrCat("AIMA ended without being stopped; pid files of ", absl::StrJoin(dead, ", "), " are left"),
           {AimaCommand(patient, "stop")}});
    } else if (patient.gateway) {
      findings.push_back({Verdict::kSkipped, "the cluster that answers is run by something else, such as systemd or another user"});
    } else {
      findings.push_back({Verdict::kWarning,
                          absl::StrCat("AIMA is not running in ", patient.data_dir),
                          {AimaCommand(patient, "start")}});
    }
    return findings;
  }
  int ready = 0;
  for (const ordered_json& item : patient.processes) {
    const std::string name = Text(item, "name"), state = Text(item, "state");
    const int restarts = item.value("restarts", 0);
    if (state == "ready") {
      ++ready;
      if (restarts >= 3) {
        findings.push_back(
            {Verdict::kWarning,
             absl::StrCat(name, " was restarted ", restarts, " times",
                          Text(item, "last_exit").empty() ? "" : ", last because it " + Text(item, "last_exit")),
             {LookWith(patient, absl::StrCat("logs ", name, " --tail 50"))}});
      }
      continue;
    }
    findings.push_back(
        {Verdict::kFailure,
         absl::StrCat(name, " is ", state, Text(item, "last_exit").empty() ? "" : ": it " + Text(item, "last_exit")),
         {"The supervisor starts it again by itself; its log says why it ended:",
          LookWith(patient, absl::StrCat("logs ", name, " --tail 20"))}});
  }
  if (ready > 0) findings.insert(findings.begin(), {Verdict::kOk, absl::StrCat(ready, " processes run")});
  return findings;
}

Findings CheckPrograms(Patient& patient) {
  const Places places = FindPlaces();
  Findings findings;
  std::vector<std::string> missing;
  std::set<std::string> domains = {"gateway", "shim"};
  if (const Catalogue* catalogue = LocalCatalogue()) {
    for (const UnitInfo& unit : catalogue->units()) domains.insert(unit.domain);
    domains.erase("runtime");
  } else {
    findings.push_back({Verdict::kFailure,
                        places.share.empty() ? "share/aima is not beside this program's directory"
                                             : places.share + "/units.binpb is missing",
                        {"Install AIMA again: cmake --install build/release"}});
  }
  for (const std::string& domain : domains) {
    if (access((places.libexec + "/aima-" + domain).c_str(), X_OK) != 0) missing.push_back("aima-" + domain);
  }
  if (!missing.empty()) {
    findings.push_back(
        {Verdict::kFailure,
         absl::StrCat(absl::StrJoin(missing, ", "), missing.size() == 1 ? " is" : " are", " not in ", places.libexec),
         {"Install AIMA again: cmake --install build/release"}});
  }
  std::vector<std::string> older;
  for (const Noted& noted : PidFiles(patient.data_dir)) {
    if (!noted.alive || noted.name == "postgres") continue;
    struct stat running = {}, installed = {};
    const std::string file = places.libexec + "/aima-" + noted.name;
    if (stat(absl::StrCat("/proc/", noted.identity->pid, "/exe").c_str(), &running) != 0 ||
        stat(file.c_str(), &installed) != 0)
      continue;
    if (running.st_dev != installed.st_dev || running.st_ino != installed.st_ino) older.push_back(noted.name);
  }
  if (!older.empty()) {
    findings.push_back(
        {Verdict::kWarning,
         absl::StrCat(absl::StrJoin(older, ", "), older.size() == 1 ? " runs" : " run",
                      " another program than the installed one: AIMA was updated since they were started"),
         {absl::StrCat("Start it again with the flags that it was started with: `", AimaCommand(patient, "stop --keep-engines").substr(2),
                       "`, then `aima start …`.")}});
  }
  if (findings.empty())
    findings.push_back({Verdict::kOk, absl::StrCat("AIMA ", AIMA_VERSION, ", ", domains.size() + 1, " programs")});
  return findings;
}

Findings CheckServices(Patient& patient) {
  if (!patient.gateway) {
    if (!patient.supervised) return {{Verdict::kSkipped, "the cluster is down"}};
    return {{Verdict::kFailure, "the gateway does not answer", {LookWith(patient, "logs gateway --tail 20")}}};
  }
  const absl::StatusOr<ordered_json> health =
      Await(patient.session.loop, patient.gateway->Get("health", absl::Seconds(3)));
  if (!health.ok() || !health->is_object()) {
    return {{Verdict::kFailure,
             absl::StrCat("the gateway tells no health: ", health.status().message()),
             {LookWith(patient, "logs gateway --tail 20")}}};
  }
  Findings findings;
  int serving = 0;
  const ordered_json services = health->value("services", ordered_json::object());
  for (const auto& [name, state] : services.items()) {
    const std::string text = state.is_string() ? state.get<std::string>() : state.dump();
    if (text == "serving") {
      ++serving;
    } else {
      findings.push_back({Verdict::kFailure,
                          absl::StrCat(name, " does not serve: ", text),
                          {LookWith(patient, absl::StrCat("logs ", name, " --tail 20"))}});
    }
  }
  if (findings.empty())
    findings.push_back({Verdict::kOk, absl::StrCat(serving, " services serve at ", patient.gateway->Address())});
  return findings;
}

}  // namespace aima::cli
