// Checks of what the cluster holds: engines, models, keys, certificates (doctor.h).
#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>
#include <absl/time/clock.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <memory>

#include "libs/http/client.h"
#include "services/cli/doctor.h"
#include "services/cli/keys.h"
#include "services/cli/listen_check.h"
#include "services/cli/models.h"
#include "services/cli/pid_file.h"
#include "services/cli/settings.h"
#include "services/cli/table.h"
#include "services/cli/unit_description.h"

namespace aima::cli {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

constexpr char kDown[] = "the cluster is down";

absl::StatusOr<ordered_json> Ask(Patient& patient, const std::string& unit,
                                 const ordered_json& input = ordered_json::object()) {
  return Await(patient.session.loop, patient.gateway->Execute(unit, input, {.timeout = "5s"}));
}

// What is wrong with the files of a model, without reading them whole.
std::string WrongFiles(const ordered_json& model, bool& hidden) {
  for (const ordered_json& file : model.value("files", ordered_json::array())) {
    const std::string path = Text(file, "path");
    std::error_code error;
    const uintmax_t size = fs::file_size(path, error);
    if (error == std::errc::permission_denied) hidden = true;
    if (hidden) return "";
    if (error) return absl::StrCat(path, ": ", error.message());
    const auto wanted = file.value("size", uintmax_t{0});
    if (size != wanted) return absl::StrCat(path, " has ", size, " bytes, not ", wanted);
  }
  return "";
}

// Says so if others than the owner can read a file that holds a secret. What AIMA did not make may be meant for a group.
void LookAtSecret(const std::string& path, bool directory, Findings& findings, mode_t others = 077) {
  struct stat info = {};
  if (stat(path.c_str(), &info) != 0 || (info.st_mode & others) == 0) return;
  if (others != 077) {
    findings.push_back({Verdict::kFailure, path + " holds a secret and can be read by everybody on this machine",
                        {absl::StrCat("$ chmod o-rwx ", ShellWord(path))}});
    return;
  }
  findings.push_back({Verdict::kFailure,
                      absl::StrCat(path, " is open to others (mode ", (info.st_mode >> 6) & 7, (info.st_mode >> 3) & 7,
                                   info.st_mode & 7, ")"),
                      {absl::StrCat("$ chmod ", directory ? "700 " : "600 ", ShellWord(path)),
                       "Whoever could read it may know the keys: revoke those that matter (`aima key list`)."}});
}

using Certificate = std::unique_ptr<X509, decltype(&X509_free)>;

Certificate ReadCertificate(const std::string& path) {
  FILE* file = fopen(path.c_str(), "re");
  X509* certificate = file ? PEM_read_X509(file, nullptr, nullptr, nullptr) : nullptr;
  if (file) fclose(file);
  return {certificate, &X509_free};
}

}  // namespace

Findings CheckEngines(Patient& patient) {
  if (!patient.gateway) return {{Verdict::kSkipped, kDown}};
  const absl::StatusOr<ordered_json> list = Ask(patient, "engine.list");
  if (!list.ok()) {
    return {{Verdict::kFailure,
             absl::StrCat("the engines cannot be listed: ", list.status().message()),
             {LookWith(patient, "logs engine --tail 20")}}};
  }
  Findings findings;
  std::vector<std::string> installed;
  for (const ordered_json& engine : list->value("items", ordered_json::array())) {
    const std::string status = Text(engine, "status");
    if (status != "not_installed" && status != "installing") installed.push_back(Text(engine, "name"));
    for (const ordered_json& instance : engine.value("instances", ordered_json::array())) {
      const std::string id = Text(instance, "instance_id"), error = Text(instance, "error");
      if (Text(instance, "status") == "failed") {
        Finding& finding = findings.emplace_back(Finding{
            Verdict::kFailure,
            absl::StrCat(id, " (", Text(engine, "name"), ") has failed: ", error.substr(0, error.find('\n'))),
            {}});
        // Of what failed before it was started there is none.
        if (!patient.local || access(Text(instance, "log_path").c_str(), F_OK) == 0) {
          finding.mend.push_back(LookWith(patient, absl::StrCat("logs ", id, " --tail 20")));
        }
        const bool again = instance.contains("next_start_at");
        finding.mend.push_back(
            absl::StrCat("`aima stop ", id, "` ", again ? "ends its being tried again." : "takes note of it."));
      } else if (Text(instance, "status") == "running" && Text(instance, "health") == "unhealthy") {
        findings.push_back({Verdict::kFailure,
                            absl::StrCat(id, " runs but does not answer"),
                            {AimaCommand(patient, absl::StrCat("exec engine.restart --name ", id))}});
      }
    }
  }
  if (installed.empty()) {
    findings.push_back(
        {Verdict::kWarning, "no inference engine is installed", {AimaCommand(patient, "install llamacpp")}});
  } else {
    findings.insert(findings.begin(), {Verdict::kOk, absl::StrCat("installed: ", absl::StrJoin(installed, ", "))});
  }
  return findings;
}

Findings CheckModels(Patient& patient) {
  if (!patient.gateway) return {{Verdict::kSkipped, kDown}};
  // Another user's files, or another machine's behind a tunnel, look as if they were missing.
  if (!patient.local || !patient.supervised) return {{Verdict::kSkipped, "the models are not those of this data directory"}};
  Findings findings;
  int well = 0, unseen = 0;
  std::string after;
  do {
    const absl::StatusOr<ordered_json> list = Ask(patient, "model.list", {{"limit", 1000}, {"after", after}});
    if (!list.ok()) {
      return {{Verdict::kFailure,
               absl::StrCat("the models cannot be listed: ", list.status().message()),
               {LookWith(patient, "logs model --tail 20")}}};
    }
    for (const ordered_json& model : list->value("items", ordered_json::array())) {
      const std::string id = Text(model, "id"), status = Text(model, "status");
      bool hidden = false;
      const std::string wrong =
          status == "error" ? Text(model, "error") : status == "ready" ? WrongFiles(model, hidden) : "";
      if (hidden) {
        ++unseen;
        continue;
      }
      if (wrong.empty() && status != "error") {
        ++well;
        continue;
      }
      const std::string repo = Text(model, "repo");
      findings.push_back({Verdict::kFailure,
                          absl::StrCat(id, ": ", wrong),
                          {repo.empty() ? absl::StrCat("Put the file back, then `aima exec model.verify --model-id ", id, "`;")
                                        : absl::StrCat("Fetch it anew: `aima rm ", id, "`, then `aima pull ",
                                                       Text(model, "source"), ":", repo, "`;"),
                           absl::StrCat("or give it up: `aima rm ", id, "`.")}});
    }
    after = Text(*list, "next_after");
  } while (!after.empty());
  if (unseen > 0) {
    findings.push_back({Verdict::kSkipped, absl::StrCat("files of ", unseen, " models cannot be looked at by this user")});
  }
  if (well > 0 || findings.empty()) {
    findings.insert(findings.begin(), {Verdict::kOk, absl::StrCat(well, well == 1 ? " model" : " models",
                                                                  ", files present and of the right size")});
  }
  return findings;
}

Findings CheckKeys(Patient& patient) {
  const std::string folder = patient.data_dir + "/keys";
  struct stat info = {};
  if (stat(folder.c_str(), &info) != 0) return {{Verdict::kOk, "no keys yet; the first start makes the operator's"}};
  Findings findings;
  LookAtSecret(folder, true, findings);
  for (const char* file : {"/admin.key", "/keys.json"}) LookAtSecret(folder + file, false, findings);
  if (!patient.config.api().tls_key().empty()) LookAtSecret(patient.config.api().tls_key(), false, findings, 07);
  if (!patient.config.model().huggingface_token_file().empty()) {
    LookAtSecret(patient.config.model().huggingface_token_file(), false, findings, 07);
  }
  if (!patient.config.security().api_key().empty() ||
      patient.config.database().url().find("password") != std::string::npos ||
      patient.config.database().url().find("@") != std::string::npos) {
    LookAtSecret(ConfigFileOf(patient.data_dir), false, findings);
  }
  const absl::StatusOr<std::vector<KeyEntry>> keys = KeyFile(patient.data_dir).List();
  if (!keys.ok()) {
    findings.push_back(
        {Verdict::kFailure,
         absl::StrCat("the keys cannot be read: ", keys.status().message()),
         {absl::StrCat("Put ", folder,
                       "/keys.json right, or delete it: `aima start` then makes a new operator's key.")}});
    return findings;
  }
  for (const KeyEntry& key : *keys) {
    absl::Time end;
    std::string error;
    if (key.expires.empty() || !absl::ParseTime(absl::RFC3339_full, key.expires, &end, &error)) continue;
    if (end < absl::Now()) {
      findings.push_back({Verdict::kWarning,
                          absl::StrCat("key ", key.id, key.name.empty() ? "" : " (" + key.name + ")", " has expired ",
                                       RelativeTime(key.expires)),
                          {AimaCommand(patient, absl::StrCat("key revoke ", key.id))}});
    }
  }
  if (findings.empty()) {
    findings.push_back({Verdict::kOk, absl::StrCat(keys->size(), keys->size() == 1 ? " key" : " keys",
                                                   ", readable by their owner only")});
  }
  return findings;
}

Findings CheckCertificate(Patient& patient) {
  const std::string path = patient.config.api().tls_cert();
  if (path.empty()) return {{Verdict::kOk, "not used: the cluster listens on this machine only"}};
  const Certificate certificate = ReadCertificate(path);
  if (!certificate) {
    return {{Verdict::kFailure,
             absl::StrCat(path, " is no certificate that can be read (api.tls_cert)"),
             {"Put a certificate chain in PEM there, or name another file: `aima config set api.tls_cert FILE`."}}};
  }
  Findings findings;
  int days = 0, seconds = 0;
  const bool known = ASN1_TIME_diff(&days, &seconds, nullptr, X509_get0_notAfter(certificate.get())) == 1;
  if (known && (days < 0 || seconds < 0)) {
    findings.push_back({Verdict::kFailure,
                        absl::StrCat(path, " has expired ", -days, " days ago"),
                        {"Renew it in place; the gateway takes it with its next start."}});
  } else if (known && days < 14) {
    findings.push_back({Verdict::kWarning,
                        absl::StrCat(path, " expires in ", days, " days"),
                        {"Renew it in place; the gateway takes it with its next start."}});
  }
  if (X509_cmp_current_time(X509_get0_notBefore(certificate.get())) > 0) {
    findings.push_back({Verdict::kFailure,
                        path + " is not valid yet",
                        {"Set the clock right, or take the certificate that is valid now."}});
  }
  FILE* file = fopen(patient.config.api().tls_key().c_str(), "re");
  EVP_PKEY* key = file ? PEM_read_PrivateKey(file, nullptr, [](char*, int, int, void*) { return 0; }, nullptr) : nullptr;
  if (file) fclose(file);
  if (!key || X509_check_private_key(certificate.get(), key) != 1) {
    findings.push_back({Verdict::kFailure,
                        absl::StrCat("'", patient.config.api().tls_key(), "' (api.tls_key) is not the key of ", path),
                        {"Name the key that belongs to it: `aima config set api.tls_key FILE`."}});
  }
  EVP_PKEY_free(key);
  if (findings.empty()) findings.push_back({Verdict::kOk, absl::StrCat(path, " is valid for ", days, " more days")});
  return findings;
}

Findings CheckOllama(Patient& patient) {
  const std::string address = patient.config.engine().ollama_addr();
  const absl::StatusOr<http::Endpoint> endpoint = ParseServer(address);
  if (address.empty() || !endpoint.ok()) {
    return {{Verdict::kFailure,
             absl::StrCat("engine.ollama_addr is no address: '", address, "'"),
             {AimaCommand(patient, "config unset engine.ollama_addr")}}};
  }
  http::Request request;
  request.method = "GET";
  request.target = "/api/version";
  http::Client client(patient.session.loop);
  const absl::StatusOr<http::Response> answer =
      Await(patient.session.loop, client.Send(*endpoint, request, absl::Now() + absl::Seconds(1)));
  if (answer.ok() && answer->status == 200 && answer->body.find("version") != std::string::npos) {
    return {{Verdict::kOk, absl::StrCat("an Ollama server answers on ", address, "; AIMA can use it")}};
  }
  const bool listens = IsLoopback(endpoint->host) && !CheckFree("engine.ollama_addr", address).ok();
  const std::string holder = listens ? ListenerOn(endpoint->port) : "";
  if (answer.ok() || !holder.empty()) {
    return {{Verdict::kWarning,
             absl::StrCat("what listens on ", address, " is not Ollama", holder.empty() ? "" : ": " + holder),
             {"If you have an Ollama server elsewhere: `aima config set engine.ollama_addr HOST:PORT`."}}};
  }
  return {{Verdict::kOk, absl::StrCat("no Ollama server on ", address, "; none is needed")}};
}

}  // namespace aima::cli
