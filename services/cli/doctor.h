// What can be wrong with a machine that runs AIMA, and how it is mended.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "aima/config/v1/config.pb.h"
#include "services/cli/gateway_client.h"
#include "services/cli/session.h"

namespace aima::cli {

enum class Verdict { kOk, kSkipped, kWarning, kFailure };

// What one check found.
struct Finding {
  Verdict verdict = Verdict::kOk;
  std::string message;
  // How to mend it: lines that begin with "$ " are commands that do, and that do no harm; others say what to do.
  std::vector<std::string> mend{};
};
using Findings = std::vector<Finding>;

// The machine and the cluster on it, as far as they could be looked at.
struct Patient {
  Session& session;
  std::string data_dir;
  std::string program;                     // this one, for commands that mend
  config::v1::Config config;               // defaults where the file is wrong
  absl::Status config_status;              // what is wrong with it
  bool supervised = false;                 // a supervisor of this data directory lives
  nlohmann::ordered_json processes;        // what it keeps running, as `aima status` tells
  std::unique_ptr<GatewayClient> gateway;  // null unless it answers
  bool local = true;                       // the gateway is that of this machine
};

// One check. Each works while the cluster is down, and says so where it then cannot.
struct Check {
  const char* name;
  Findings (*run)(Patient&);
};
const std::vector<Check>& Checks();
std::vector<std::string> CheckNames();

// The checks, by what they look at.
Findings CheckConfig(Patient&);  // doctor_machine.cc
Findings CheckDataDirectory(Patient&);
Findings CheckMemory(Patient&);
Findings CheckDescriptors(Patient&);
Findings CheckCgroups(Patient&);
Findings CheckGpu(Patient&);
Findings CheckPorts(Patient&);  // doctor_cluster.cc
Findings CheckProcesses(Patient&);
Findings CheckPrograms(Patient&);
Findings CheckServices(Patient&);
Findings CheckDatabase(Patient&);  // doctor_database.cc
Findings CheckEngines(Patient&);   // doctor_content.cc
Findings CheckModels(Patient&);
Findings CheckKeys(Patient&);
Findings CheckCertificate(Patient&);
Findings CheckOllama(Patient&);

// A word for a shell, quoted if need be.
std::string ShellWord(const std::string& text);

// "$ aima …", which mends, as it reaches this data directory: with --data-dir where that is not
// the one that aima would take by itself.
std::string AimaCommand(const Patient& patient, const std::string& words);
// The same for a command that only shows more: no line that mends.
std::string LookWith(const Patient& patient, const std::string& words);

}  // namespace aima::cli
