#include "services/cli/private_postgres.h"

#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_replace.h>
#include <absl/strings/str_split.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>

#include "libs/base/status_macros.h"
#include "libs/process/run.h"
#include "services/cli/environment.h"
#include "services/cli/files.h"
#include "services/cli/pid_file.h"

namespace aima::cli {
namespace {

namespace fs = std::filesystem;

// The major version of the server in `bin`, as it says itself; 0 if it does not.
int VersionOf(const fs::path& bin) {
  FILE* output =
      popen(absl::StrCat("'", absl::StrReplaceAll(bin.string(), {{"'", "'\\''"}}), "/postgres' --version").c_str(),
            "re");
  int version = 0;
  if (!output) return 0;
  if (fscanf(output, "postgres (PostgreSQL) %d", &version) != 1) version = 0;
  pclose(output);
  return version;
}

// Installed servers by major version: as Debian lays them out, and what is in PATH.
std::vector<std::pair<int, std::string>> Installed() {
  std::vector<std::pair<int, std::string>> found;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator("/usr/lib/postgresql", ignored)) {
    int version = 0;
    const fs::path bin = entry.path() / "bin";
    if (absl::SimpleAtoi(entry.path().filename().string(), &version) && fs::exists(bin / "initdb", ignored)) {
      found.emplace_back(version, bin);
    }
  }
  const char* path = std::getenv("PATH");
  for (absl::string_view directory : absl::StrSplit(path ? path : "", ':', absl::SkipEmpty())) {
    const fs::path bin = std::string(directory);
    if (!fs::exists(bin / "initdb", ignored) || !fs::exists(bin / "postgres", ignored)) continue;
    found.emplace_back(VersionOf(bin), bin);
  }
  return found;
}

// The major version that made the cluster in `data`; 0 if there is none.
int MadeBy(const std::string& data) {
  int version = 0;
  std::ifstream(data + "/PG_VERSION") >> version;
  return version;
}

// Who owns a directory; empty if it is not there.
std::string OwnerOf(const std::string& path) {
  struct stat info = {};
  if (stat(path.c_str(), &info) != 0) return "";
  const passwd* user = getpwuid(info.st_uid);
  return user ? user->pw_name : absl::StrCat(info.st_uid);
}

}  // namespace

absl::StatusOr<PrivatePostgres> PrivatePostgres::Find(const std::string& data_dir, const std::string& program) {
  PrivatePostgres found;
  found.program_ = program;
  found.data_ = data_dir + "/pg";
  found.socket_dir_ = data_dir + "/run/pg";
  const int made_by = MadeBy(found.data_);
  int best = 0;
  for (const auto& [version, bin] : Installed()) {
    if (version > best && (made_by == 0 || version == made_by)) {
      best = version;
      found.bin_ = bin;
    }
  }
  if (best == 0) {
    return absl::FailedPreconditionError(
        made_by == 0
            ? "no PostgreSQL server is installed; install the package postgresql, or name a database with "
              "--set database.url=…"
            : absl::StrCat(found.data_, " was made by PostgreSQL ", made_by,
                           ", which is not installed; install "
                           "the package postgresql-",
                           made_by));
  }
  if (geteuid() == 0) {
    const std::string owner = OwnerOf(found.data_);
    for (const std::string& name :
         {owner == "root" ? "" : owner, std::string("postgres"), std::string("nobody")}) {
      if (name.empty() || !getpwnam(name.c_str())) continue;
      found.user_ = name;
      break;
    }
    if (found.user_.empty()) {
      return absl::FailedPreconditionError(
          "PostgreSQL does not run as root, and there is neither a user postgres nor nobody");
    }
  }
  return found;
}

absl::Status PrivatePostgres::Own(const std::string& directory) const {
  RETURN_IF_ERROR(MakePrivateDirectory(directory));
  if (user_.empty()) return absl::OkStatus();
  const passwd* user = getpwnam(user_.c_str());
  if (user && chown(directory.c_str(), user->pw_uid, user->pw_gid) == 0) return absl::OkStatus();
  return absl::InternalError(
      absl::StrCat("cannot give ", directory, " to the user ", user_, ": ", strerror(errno)));
}

std::vector<std::string> PrivatePostgres::Command(std::vector<std::string> argv, const std::string& data) const {
  if (user_.empty()) {
    for (std::string& argument : argv) {
      argument = absl::StrReplaceAll(argument, {{"{0}", data}, {"{1}", socket_dir_}});
    }
    return argv;
  }
  std::vector<std::string> command = {program_, "run-as", user_, data, socket_dir_, "--"};
  command.insert(command.end(), argv.begin(), argv.end());
  return command;
}

Task<absl::Status> PrivatePostgres::Prepare(Loop& loop, const std::string& log) {
  CO_RETURN_IF_ERROR(Own(socket_dir_));
  // What still works in there would keep a new server from starting, and must not be killed: it may be writing.
  for (const process::Identity& leftover : ServersIn(data_)) {
    CO_RETURN_IF_ERROR(co_await process::EndTree(leftover, "", SIGINT, absl::Seconds(30)));
  }
  if (MadeBy(data_) != 0) co_return Own(data_);

  // Made aside and then moved, so that an interrupted initdb leaves nothing that looks like a database.
  const std::string fresh = data_ + ".new";
  std::error_code ignored;
  fs::remove_all(fresh, ignored);
  CO_RETURN_IF_ERROR(Own(fresh));
  process::Command command;
  command.argv = Command({bin_ + "/initdb", "-D", "{0}", "-U", "aima", "--auth=trust", "-E", "UTF8", "--locale=C",
                          "--no-instructions"},
                         fresh);
  command.env = EnvironmentWith({});
  command.working_dir = "/";
  CO_ASSIGN_OR_RETURN(const process::RunResult result, co_await process::Run(loop, command, absl::Minutes(2)));
  std::ofstream(log, std::ios::app) << result.output;
  if (!result.exit.Ok()) {
    fs::remove_all(fresh, ignored);
    co_return absl::InternalError(absl::StrCat("initdb ", result.exit.ToString(), ": ", result.output));
  }
  fs::remove(data_, ignored);
  if (rename(fresh.c_str(), data_.c_str()) != 0) {
    co_return absl::InternalError(absl::StrCat("cannot rename ", fresh, " to ", data_, ": ", strerror(errno)));
  }
  co_return absl::OkStatus();
}

std::vector<std::string> PrivatePostgres::ServerCommand() const {
  std::vector<std::string> argv = {bin_ + "/postgres", "-D", "{0}"};
  for (const char* setting :
       {"listen_addresses=", "unix_socket_directories={1}", "unix_socket_permissions=0700", "port=5432",
        "fsync=on", "full_page_writes=on", "wal_level=minimal", "max_wal_senders=0", "max_connections=200",
        "shared_buffers=64MB", "jit=off", "logging_collector=off", "log_destination=stderr",
        "log_line_prefix=%m [%p] ", "cluster_name=aima"}) {
    argv.insert(argv.end(), {"-c", setting});
  }
  return Command(std::move(argv), data_);
}

bool PrivatePostgres::IsReady(int pid) const {
  // The eighth line of postmaster.pid says so, and the first one whose word that is.
  std::ifstream file(data_ + "/postmaster.pid");
  std::string line;
  for (int number = 1; std::getline(file, line); ++number) {
    if (number == 1 && line != absl::StrCat(pid)) return false;
    if (number == 8) return line.starts_with("ready");
  }
  return false;
}

std::string PrivatePostgres::Url() const {
  return absl::StrCat("host='", absl::StrReplaceAll(socket_dir_, {{"\\", "\\\\"}, {"'", "\\'"}}),
                      "' port=5432 user=aima dbname=postgres");
}

int RunAs(const std::vector<std::string>& arguments) {
  const auto fail = [](const std::string& what) {
    std::cerr << "aima run-as: " << what << ": " << strerror(errno) << std::endl;
    return 126;
  };
  std::vector<std::string> argv;
  std::vector<std::pair<std::string, std::string>> paths;
  size_t i = 1;
  for (; i < arguments.size() && arguments[i] != "--"; ++i) {
    const int fd = open(arguments[i].c_str(), O_RDONLY | O_DIRECTORY);  // kept open across exec
    if (fd < 0) return fail("cannot open " + arguments[i]);
    paths.emplace_back(absl::StrCat("{", i - 1, "}"), absl::StrCat("/proc/self/fd/", fd));
  }
  for (++i; i < arguments.size(); ++i) argv.push_back(absl::StrReplaceAll(arguments[i], paths));
  if (argv.empty()) {
    errno = EINVAL;
    return fail("usage: aima run-as USER DIR… -- PROGRAM ARG…");
  }
  const passwd* user = getpwnam(arguments[0].c_str());
  if (!user) return fail("there is no user " + arguments[0]);
  if (chdir("/") != 0 || setgroups(0, nullptr) != 0 || setgid(user->pw_gid) != 0 || setuid(user->pw_uid) != 0) {
    return fail("cannot become " + arguments[0]);
  }
  std::vector<char*> pointers;
  for (std::string& argument : argv) pointers.push_back(argument.data());
  pointers.push_back(nullptr);
  execv(pointers[0], pointers.data());
  return fail("cannot execute " + argv[0]);
}

}  // namespace aima::cli
