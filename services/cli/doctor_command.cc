// aima doctor: runs the checks and tells what they found.
#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>
#include <unistd.h>

#include <algorithm>
#include <iostream>

#include "libs/base/nearest.h"
#include "libs/base/status_macros.h"
#include "services/cli/cluster.h"
#include "services/cli/commands.h"
#include "services/cli/doctor.h"
#include "services/cli/environment.h"
#include "services/cli/output.h"
#include "services/cli/pid_file.h"
#include "services/cli/settings.h"
#include "services/cli/supervisor.h"
#include "services/cli/terminal.h"

namespace aima::cli {
namespace {

using nlohmann::ordered_json;

const char* Word(Verdict verdict) {
  switch (verdict) {
    case Verdict::kOk:
      return "ok";
    case Verdict::kSkipped:
      return "skip";
    case Verdict::kWarning:
      return "warn";
    default:
      return "fail";
  }
}

Patient Examine(Session& session) {
  Patient patient{.session = session, .data_dir = session.globals.data_dir, .program = FindPlaces().program};
  // A cluster of which something runs is looked at as it was started, flags included.
  patient.processes = ClusterProcesses(patient.data_dir);
  const bool runs = std::any_of(patient.processes.begin(), patient.processes.end(),
                                [](const ordered_json& item) { return item.value("pid", 0) != 0; });
  patient.supervised = SupervisorLock::IsHeld(SupervisorFile(patient.data_dir));
  const std::string effective = EffectiveConfigFile(patient.data_dir);
  const absl::StatusOr<config::v1::Config> own = LoadSettings(session.globals, ConfigFileOf(patient.data_dir));
  patient.config_status = own.status();
  absl::StatusOr<config::v1::Config> config = (patient.supervised || runs) && access(effective.c_str(), R_OK) == 0
                                                  ? LoadSettings(session.globals, effective)
                                                  : own;
  if (!config.ok()) config = LoadSettings(session.globals, "");
  if (config.ok()) patient.config = *std::move(config);
  auto gateway = GatewayClient::Connect(session.loop, session.globals);
  if (gateway.ok()) {
    const absl::StatusOr<ordered_json> health = Await(session.loop, (*gateway)->Get("health", absl::Seconds(3)));
    if (health.ok()) patient.gateway = *std::move(gateway);
  }
  if (!session.globals.server.empty()) {
    const auto server = ParseServer(session.globals.server);
    patient.local = server.ok() && IsLoopback(server->host);
  }
  return patient;
}

void Print(const std::string& name, const Finding& finding) {
  const std::string word = Word(finding.verdict);
  const std::string margin(12 + 6, ' ');
  const size_t terminal = TerminalWidth(STDOUT_FILENO);
  const auto wrapped = [&](const std::string& text) {
    // Commands stay whole, so that they can be copied.
    if (terminal < 40 || text.starts_with("$ ")) return text;
    std::string out, line;
    for (size_t begin = 0; begin < text.size();) {
      const size_t end = std::min(text.find(' ', begin), text.size());
      const std::string next = text.substr(begin, end - begin);
      if (!line.empty() && DisplayWidth(line) + 1 + DisplayWidth(next) > terminal - margin.size()) {
        absl::StrAppend(&out, line, "\n", margin);
        line.clear();
      }
      absl::StrAppend(&line, line.empty() ? "" : " ", next);
      begin = end + 1;
    }
    return out + line;
  };
  std::cout << Painted(word, ColourOfState(word), STDOUT_FILENO) << std::string(6 - word.size(), ' ') << name
            << std::string(name.size() < 12 ? 12 - name.size() : 1, ' ') << wrapped(finding.message) << "\n";
  for (const std::string& line : finding.mend) {
    std::cout << margin << (line.starts_with("$ ") ? Painted(line, Colour::kBold, STDOUT_FILENO) : wrapped(line))
              << "\n";
  }
  std::cout << std::flush;
}

}  // namespace

const std::vector<Check>& Checks() {
  static const std::vector<Check>* checks = new std::vector<Check>{
      {"config", CheckConfig},     {"data-dir", CheckDataDirectory},
      {"keys", CheckKeys},         {"tls", CheckCertificate},
      {"memory", CheckMemory},     {"descriptors", CheckDescriptors},
      {"cgroups", CheckCgroups},   {"gpu", CheckGpu},
      {"programs", CheckPrograms}, {"processes", CheckProcesses},
      {"ports", CheckPorts},       {"database", CheckDatabase},
      {"services", CheckServices}, {"engines", CheckEngines},
      {"models", CheckModels},     {"ollama", CheckOllama},
  };
  return *checks;
}

std::vector<std::string> CheckNames() {
  std::vector<std::string> names;
  for (const Check& check : Checks()) names.emplace_back(check.name);
  return names;
}

std::string ShellWord(const std::string& text) {
  const bool plain = !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return isalnum(static_cast<unsigned char>(c)) != 0 ||
           std::string_view("_-./:=@,+%").find(c) != std::string_view::npos;
  });
  if (plain) return text;
  std::string quoted = "'";
  for (const char c : text) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

std::string AimaCommand(const Patient& patient, const std::string& words) {
  Arguments none({});
  const absl::StatusOr<Globals> usual = TakeGlobals(none);
  const bool same = usual.ok() && usual->data_dir == patient.data_dir;
  return absl::StrCat("$ aima ", same ? "" : absl::StrCat("--data-dir ", ShellWord(patient.data_dir), " "), words);
}

std::string LookWith(const Patient& patient, const std::string& words) {
  return absl::StrCat("See `", AimaCommand(patient, words).substr(2), "`.");
}

absl::Status DoctorCommand(Session& session) {
  const std::vector<std::string> wanted = session.arguments.words();
  for (const std::string& name : wanted) {
    const std::vector<std::string> names = CheckNames();
    if (std::find(names.begin(), names.end(), name) != names.end()) continue;
    const std::vector<std::string> near = Nearest(name, names, 1);
    return UsageOf(*session.command, absl::StrCat("has no check ", name,
                                                  near.empty() ? "; there are " + absl::StrJoin(names, ", ")
                                                               : "; did you mean " + near[0] + "?"));
  }
  Patient patient = Examine(session);
  const bool people = session.globals.output == "table";
  ordered_json list = ordered_json::array();
  int failures = 0, warnings = 0;
  for (const Check& check : Checks()) {
    if (!wanted.empty() && std::find(wanted.begin(), wanted.end(), check.name) == wanted.end()) continue;
    for (const Finding& finding : check.run(patient)) {
      failures += finding.verdict == Verdict::kFailure;
      warnings += finding.verdict == Verdict::kWarning;
      if (people) Print(check.name, finding);
      list.push_back({{"check", check.name},
                      {"verdict", Word(finding.verdict)},
                      {"message", finding.message},
                      {"mend", finding.mend}});
    }
  }
  if (!people) {
    std::cout << Format({{"healthy", failures == 0}, {"data_dir", patient.data_dir}, {"checks", list}},
                        session.globals.output);
  } else {
    std::cout << "\n"
              << (failures > 0   ? absl::StrCat(failures, failures == 1 ? " thing is" : " things are", " wrong")
                  : warnings > 0 ? std::string("nothing is wrong")
                                 : std::string("all is well"))
              << (warnings > 0 ? absl::StrCat(", ", warnings, " to look at") : "") << "\n";
  }
  return failures > 0 ? QuietFailure(kFailure) : absl::OkStatus();
}

}  // namespace aima::cli
