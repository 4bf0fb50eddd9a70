// Checks of the machine itself (doctor.h).
#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <pwd.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>

#include "libs/errors/errors.h"
#include "services/cli/doctor.h"
#include "services/cli/files.h"
#include "services/cli/progress_display.h"
#include "services/cli/settings.h"

namespace aima::cli {
namespace {

namespace fs = std::filesystem;

constexpr double kLittleRoom = 2e9;
constexpr double kNoRoom = 200e6;
constexpr rlim_t kFewDescriptors = 1024;
constexpr rlim_t kEnoughDescriptors = 4096;

std::string UserName(uid_t uid) {
  const passwd* user = getpwuid(uid);
  return user ? user->pw_name : absl::StrCat(uid);
}

// The nearest directory above `path` that is there, or the path itself.
std::string Existing(std::string path) {
  std::error_code ignored;
  while (!path.empty() && path != "/" && !fs::exists(path, ignored)) path = fs::path(path).parent_path();
  return path.empty() ? "/" : path;
}

// Whether files can really be made there: permissions do not tell of read-only file systems and quotas.
int TryWrite(const std::string& directory) {
  const std::string probe = absl::StrCat(directory, "/.aima-doctor-", getpid());
  const int fd = open(probe.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) return errno;
  const bool written = write(fd, "x", 1) == 1;
  const int error = written ? 0 : errno;
  close(fd);
  unlink(probe.c_str());
  return error;
}

std::vector<std::string> MendWriting(const std::string& directory, int error) {
  struct stat info = {};
  if (error == EROFS)
    return {"Its file system is read-only; mount it writable, or use another directory with --data-dir."};
  if (error == ENOSPC || error == EDQUOT)
    return {"There is no room; delete something on that disk, such as models: `aima ls`, `aima rm`."};
  if (stat(directory.c_str(), &info) != 0) return {"Use another directory with --data-dir."};
  if (info.st_uid == geteuid()) return {absl::StrCat("$ chmod u+rwx ", ShellWord(directory))};
  return {absl::StrCat("It belongs to ", UserName(info.st_uid),
                       ": run aima as that user, or use another directory with --data-dir.")};
}

void LookAtDirectory(const std::string& what, const std::string& path, std::set<std::string>& seen,
                     Findings& findings) {
  const std::string place = Existing(path);
  if (!seen.insert(place).second) return;
  const int denied = access(place.c_str(), R_OK | W_OK | X_OK) == 0 ? 0 : errno;
  if (const int error = denied != 0 ? denied : TryWrite(place); error != 0) {
    findings.push_back({Verdict::kFailure, absl::StrCat(what, " ", place, " cannot be written: ", std::strerror(error)),
                        MendWriting(place, error)});
    return;
  }
  struct statvfs disk = {};
  if (statvfs(place.c_str(), &disk) != 0) return;
  const double room = static_cast<double>(disk.f_bavail) * static_cast<double>(disk.f_frsize);
  const double inodes = disk.f_files == 0 ? 1 : static_cast<double>(disk.f_favail) / static_cast<double>(disk.f_files);
  const std::string free = absl::StrCat(BytesText(room), " free");
  const std::vector<std::string> mend = {
      "Make room on that disk (`aima ls`, `aima rm MODEL`), or keep models elsewhere: "
      "`aima config set model.storage_dir DIRECTORY`."};
  if (room < kNoRoom) {
    findings.push_back({Verdict::kFailure, absl::StrCat("the disk of ", what, " ", place, " is full: ", free), mend});
  } else if (room < kLittleRoom) {
    findings.push_back(
        {Verdict::kWarning, absl::StrCat("the disk of ", what, " ", place, " is nearly full: ", free), mend});
  } else if (inodes < 0.01) {
    findings.push_back({Verdict::kFailure,
                        absl::StrCat("the disk of ", what, " ", place, " has no inodes left"),
                        {"Delete files on that disk; there are too many, whatever their size."}});
  } else {
    findings.push_back({Verdict::kOk, absl::StrCat(what, " ", path, place == path ? "" : " will be made", ", ", free)});
  }
}

// Values of /proc/meminfo in bytes.
std::map<std::string, double> MemoryInfo() {
  std::map<std::string, double> values;
  std::ifstream file("/proc/meminfo");
  std::string name, unit;
  for (double value; file >> name >> value && std::getline(file, unit);)
    values[name.substr(0, name.size() - 1)] = value * 1024;
  return values;
}

std::string FirstLine(const std::string& path) {
  std::string line;
  std::ifstream file(path);
  std::getline(file, line);
  return line;
}

}  // namespace

Findings CheckConfig(Patient& patient) {
  const std::string file = ConfigFileOf(patient.data_dir);
  if (patient.config_status.ok()) {
    return {{Verdict::kOk,
             access(file.c_str(), F_OK) == 0 ? file + " is valid" : "no " + file + "; every setting has its default"}};
  }
  Findings findings;
  const ErrorDetails details = DetailsOf(patient.config_status);
  const auto& type = *config::v1::Config::descriptor();
  for (const FieldViolation& violation : details.violations) {
    const size_t dot = violation.field.find('.');
    const auto* section = type.FindFieldByName(violation.field.substr(0, dot));
    Finding finding{Verdict::kFailure, absl::StrCat(file, ": ", violation.field == file ? "" : violation.field + ": ",
                                                    violation.description)};
    if (section && dot != std::string::npos && violation.field.find('/') == std::string::npos) {
      finding.mend = {
          "Correct it, or take it out, after which it has its default:",
          AimaCommand(patient, absl::StrCat("config unset ", violation.field.substr(0, violation.field.find('['))))};
    } else {
      finding.mend = {"Correct that line with an editor; `aima config validate` then says whether it is right."};
    }
    findings.push_back(std::move(finding));
  }
  if (findings.empty()) {
    findings.push_back(
        {Verdict::kFailure, std::string(patient.config_status.message()), {"`aima config validate` tells more."}});
  }
  return findings;
}

Findings CheckDataDirectory(Patient& patient) {
  Findings findings;
  std::set<std::string> seen;
  LookAtDirectory("data directory", patient.data_dir, seen, findings);
  if (!findings.empty() && findings[0].verdict == Verdict::kFailure)
    return findings;  // the others are in it, as a rule
  std::error_code ignored;
  for (const auto& [what, path] :
       {std::pair<std::string, std::string>{"model directory", patient.config.model().storage_dir()},
        {"log directory", patient.config.logging().dir()}}) {
    if (!path.empty() && fs::exists(path, ignored)) {
      Findings more;
      LookAtDirectory(what, path, seen, more);
      for (Finding& finding : more) {
        if (finding.verdict != Verdict::kOk || path.find(patient.data_dir) != 0) findings.push_back(std::move(finding));
      }
    }
  }
  return findings;
}

Findings CheckMemory(Patient& patient) {
  std::map<std::string, double> memory = MemoryInfo();
  const double total = memory["MemTotal"], available = memory["MemAvailable"];
  if (total <= 0) return {{Verdict::kSkipped, "/proc/meminfo cannot be read"}};
  Findings findings;
  double reserved = static_cast<double>(patient.config.resource().system_reserved_mb()) * 1024 * 1024;
  if (total < 4 * reserved) reserved = total / 4;  // as resource.status counts it
  const double pool = (total - reserved) * patient.config.resource().inference_pool_pct();
  const std::string text =
      absl::StrCat(BytesText(total), " in all, ", BytesText(available), " available, ", BytesText(pool),
                   " for engines (", BytesText(reserved), " are kept for the system)");
  const double used = 1 - available / total;
  if (pool < 500e6) {
    findings.push_back({Verdict::kWarning,
                        text + ": too little for most models",
                        {AimaCommand(patient, "config set resource.inference_pool_pct 0.8")}});
  } else if (used > patient.config.resource().pressure_threshold()) {
    findings.push_back({Verdict::kWarning,
                        text + ": memory is under pressure",
                        {"Stop engines that nobody needs (`aima ps`, `aima stop NAME`), or other programs."}});
  } else {
    findings.push_back({Verdict::kOk, text});
  }
  const double swap = memory["SwapTotal"], swap_used = swap - memory["SwapFree"];
  if (swap > 0 && swap_used > swap / 2) {
    findings.push_back({Verdict::kWarning,
                        absl::StrCat(BytesText(swap_used), " of ", BytesText(swap),
                                     " swap are in use: models that are "
                                     "swapped out are very slow"),
                        {"Stop engines or other programs until memory suffices."}});
  }
  return findings;
}

Findings CheckDescriptors(Patient& patient) {
  rlimit limit = {};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return {{Verdict::kSkipped, "the limit cannot be read"}};
  const std::string text = absl::StrCat("a process may open ", limit.rlim_cur, " files");
  if (limit.rlim_cur >= kEnoughDescriptors) return {{Verdict::kOk, text}};
  const rlim_t wanted = std::min<rlim_t>(limit.rlim_max, 65536);
  Finding finding{limit.rlim_cur < kFewDescriptors ? Verdict::kFailure : Verdict::kWarning,
                  text + "; each request, stream and model file takes one",
                  {}};
  if (wanted > limit.rlim_cur) {
    finding.mend = {absl::StrCat("$ ulimit -n ", wanted),
                    "and start the cluster anew from that shell; systemd: LimitNOFILE=65536."};
  } else {
    finding.mend = {"Raise the hard limit in /etc/security/limits.conf, or LimitNOFILE= under systemd."};
  }
  return {finding};
}

Findings CheckCgroups(Patient&) {
  std::string mount, line;
  for (std::ifstream mounts("/proc/self/mounts"); std::getline(mounts, line);) {
    const size_t first = line.find(' '), second = line.find(' ', first + 1);
    if (line.substr(second + 1, 8) == "cgroup2 ") mount = line.substr(first + 1, second - first - 1);
  }
  const std::string why = "engines are then ended by their process group, which a process that hides can leave";
  if (mount.empty()) {
    return {{Verdict::kWarning,
             "no cgroup v2 here; " + why,
             {"Boot with systemd.unified_cgroup_hierarchy=1, or mount cgroup2."}}};
  }
  std::string own;
  for (std::ifstream file("/proc/self/cgroup"); std::getline(file, line);) {
    if (line.starts_with("0::") && line != "0::/") own = line.substr(3);
  }
  const std::string probe = absl::StrCat(mount, own, "/aima-doctor-", getpid());
  if (mkdir(probe.c_str(), 0755) == 0) {
    rmdir(probe.c_str());
    return {{Verdict::kOk, "engines can have cgroups of their own"}};
  }
  return {{Verdict::kWarning,
           absl::StrCat("no cgroup can be made in ", mount, own, " (", std::strerror(errno), "); ", why),
           {"Run it under systemd with Delegate=yes, as deploy/systemd does, or:",
            "$ systemd-run --user --scope -p Delegate=yes aima start"}}};
}

Findings CheckGpu(Patient&) {
  struct Card {
    std::string address, vendor;
  };
  std::vector<Card> cards;
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::directory_iterator("/sys/bus/pci/devices", ignored)) {
    const std::string kind = FirstLine(entry.path() / "class");
    const std::string vendor = FirstLine(entry.path() / "vendor");
    // 0x03: display controllers; 0x12: processing accelerators.
    if (!kind.starts_with("0x03") && !kind.starts_with("0x12")) continue;
    if (vendor == "0x10de" || vendor == "0x1002") cards.push_back({entry.path().filename(), vendor});
  }
  Findings findings;
  const auto count = [&](const char* vendor) {
    return std::count_if(cards.begin(), cards.end(), [&](const Card& card) { return card.vendor == vendor; });
  };
  void* nvml = dlopen("libnvidia-ml.so.1", RTLD_LAZY);
  if (nvml != nullptr) {
    using Init = int (*)();
    using Count = int (*)(unsigned*);
    const auto init = reinterpret_cast<Init>(dlsym(nvml, "nvmlInit_v2"));
    const auto devices = reinterpret_cast<Count>(dlsym(nvml, "nvmlDeviceGetCount_v2"));
    unsigned found = 0;
    const int begun = init ? init() : -1;
    if (begun == 0 && devices && devices(&found) == 0 && found > 0) {
      findings.push_back({Verdict::kOk, absl::StrCat(found, " NVIDIA ", found == 1 ? "GPU" : "GPUs", " usable")});
    } else if (count("0x10de") > 0 || begun != 0) {
      findings.push_back(
          {Verdict::kFailure,
           absl::StrCat("NVIDIA's driver library is here, but does not work (code ", begun,
                        begun == 18 ? ": library and kernel module are of different versions" : "", ")"),
           {begun == 18 ? "Reboot, so that the module of the installed version is loaded." : "$ nvidia-smi",
            "shows what the driver says; `sudo modprobe nvidia` loads the module."}});
    }
  } else if (count("0x10de") > 0) {
    findings.push_back(
        {Verdict::kFailure,
         absl::StrCat(count("0x10de"), " NVIDIA GPU, but no driver: models run on the CPU"),
         {"Install NVIDIA's driver; on Debian, with non-free enabled:", "$ sudo apt install nvidia-driver"}});
  }
  if (count("0x1002") > 0) {
    const bool kfd = access("/dev/kfd", F_OK) == 0, usable = access("/dev/kfd", R_OK | W_OK) == 0;
    if (usable) {
      findings.push_back({Verdict::kOk, absl::StrCat(count("0x1002"), " AMD GPU usable")});
    } else if (kfd) {
      findings.push_back(
          {Verdict::kFailure,
           "an AMD GPU is here, but this user may not use /dev/kfd",
           {absl::StrCat("$ sudo usermod -aG render,video ", UserName(geteuid())), "and log in again."}});
    } else {
      findings.push_back({Verdict::kWarning,
                          "an AMD GPU is here, but no /dev/kfd: models run on the CPU",
                          {"Install ROCm's kernel driver (amdgpu) if it is a GPU that ROCm knows."}});
    }
  }
  if (findings.empty()) findings.push_back({Verdict::kOk, "no GPU found; models run on the CPU"});
  return findings;
}

}  // namespace aima::cli
