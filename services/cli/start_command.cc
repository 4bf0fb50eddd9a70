// aima start: the supervisor, in the foreground or detached from the terminal.
#include <absl/cleanup/cleanup.h>
#include <absl/strings/str_cat.h>
#include <absl/time/clock.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio/signal_set.hpp>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>

#include "libs/base/status_macros.h"
#include "libs/config/config.h"
#include "libs/process/process.h"
#include "services/cli/cluster.h"
#include "services/cli/environment.h"
#include "services/cli/files.h"
#include "services/cli/keys.h"
#include "services/cli/listen_check.h"
#include "services/cli/pid_file.h"
#include "services/cli/session.h"
#include "services/cli/supervisor.h"

namespace aima::cli {
namespace {

using nlohmann::ordered_json;

// Sockets are named <data_dir>/run/…, and the name of a Unix socket has at most 107 bytes.
constexpr size_t kMaxDataDir = 80;

struct StartOptions {
  config::v1::Config config;
  bool foreground = false;
  bool detached = false;  // started by another aima start, which reads reports from standard output
};

absl::StatusOr<config::v1::Config> LoadConfig(Session& session, const std::optional<std::string>& file) {
  config::Sources sources;
  ASSIGN_OR_RETURN(sources.sets, session.arguments.Values("set"));
  const std::string own = session.globals.data_dir + "/config.yaml";
  sources.file = file ? *file : access(own.c_str(), F_OK) == 0 ? own : "";
  if (session.globals.data_dir_given) {
    sources.sets.insert(sources.sets.begin(), "general.data_dir=" + session.globals.data_dir);
  }
  return config::Load(sources);
}

// Hands a line to whoever waits for this supervisor.
void Report(const ordered_json& message) {
  const std::string line = message.dump(-1, ' ', false, ordered_json::error_handler_t::replace) + "\n";
  [[maybe_unused]] const ssize_t sent = write(STDOUT_FILENO, line.data(), line.size());
}

void Log(const std::string& line) {
  std::cerr << absl::FormatTime(absl::RFC3339_sec, absl::Now(), absl::UTCTimeZone()) << " supervisor: " << line
            << std::endl;
}

absl::Status AlreadyRuns(const std::string& data_dir) {
  const std::optional<process::Identity> holder = ReadPidFile(SupervisorFile(data_dir));
  return absl::AlreadyExistsError(absl::StrCat(
      "AIMA already runs in ", data_dir, holder ? absl::StrCat(" (supervisor: pid ", holder->pid, ")") : ""));
}

absl::Status PrepareDirectories(const std::string& data_dir) {
  if (data_dir.size() > kMaxDataDir) {
    return UsageError(absl::StrCat("the path of the data directory has ", data_dir.size(),
                                   " bytes, and sockets in it "
                                   "need it to have at most ",
                                   kMaxDataDir, ": ", data_dir));
  }
  RETURN_IF_ERROR(MakePrivateDirectory(data_dir));
  return MakePrivateDirectory(data_dir + "/run");
}

// The supervisor's life. Returns when it has been told to stop and everything is stopped.
absl::Status Supervise(Session& session, const StartOptions& start) {
  const std::string& data_dir = start.config.general().data_dir();
  RETURN_IF_ERROR(PrepareDirectories(data_dir));
  const std::optional<SupervisorLock> lock = SupervisorLock::TryTake(SupervisorFile(data_dir));
  if (!lock) return AlreadyRuns(data_dir);
  unlink(KeepEnginesFile(data_dir).c_str());
  unlink(StateFile(data_dir).c_str());  // an earlier supervisor's
  RETURN_IF_ERROR(KeyFile(data_dir).EnsureAdminKey());

  SupervisorOptions options;
  options.config = start.config;
  options.places = FindPlaces();
  if (options.places.share.empty()) {
    return absl::NotFoundError("share/aima is not beside this program's directory");
  }
  options.report = [&start](const std::string& line) {
    Log(line);
    if (start.detached) Report({{"progress", line}});
  };
  options.before_stop = [&session, data_dir]() -> Task<void> { return StopEngines(session.loop, data_dir); };
  Supervisor supervisor(session.loop, std::move(options));
  boost::asio::signal_set signals(session.loop, SIGINT, SIGTERM);
  signals.async_wait([&](boost::system::error_code error, int signal) {
    if (error) return;
    Log(absl::StrCat("got signal ", signal, "; stopping"));
    supervisor.RequestStop();
  });
  RETURN_IF_ERROR(Await(session.loop, supervisor.Start()));
  Log("everything serves");
  if (start.detached) Report({{"ready", true}});
  if (!start.detached) std::cout << ProcessTable(data_dir) << std::flush;
  if (start.detached) {
    // Nobody reads any more.
    const int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    dup2(null, STDOUT_FILENO);
    close(null);
  }
  Await(session.loop, [](Supervisor& supervisor) -> Task<bool> {
    co_await supervisor.Serve();
    co_await supervisor.Stop();
    co_return true;
  }(supervisor));
  Log("stopped");
  return absl::OkStatus();
}

absl::Status RunForeground(Session& session, const StartOptions& start) {
  umask(077);
  signal(SIGPIPE, SIG_IGN);
  signal(SIGHUP, SIG_IGN);
  if (start.detached) {
    RETURN_IF_ERROR(MakePrivateDirectory(start.config.logging().dir()));
    const std::string path = start.config.logging().dir() + "/supervisor.log";
    const int log = open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (log < 0) return absl::InternalError("cannot write " + path);
    dup2(log, STDERR_FILENO);
    close(log);
  }
  const absl::Status status = Supervise(session, start);
  if (start.detached && !status.ok()) {
    Log(absl::StrCat("failed: ", status.message()));
    const auto remedy = RemedyOf(status);
    Report({{"failed", std::string(status.message())},
            {"code", static_cast<int>(status.code())},
            {"remedy", remedy}});
  }
  return status;
}

volatile sig_atomic_t interrupted = 0;

// Reads the reports of a detached supervisor until it serves or has failed.
absl::Status AwaitVerdict(int reports, const process::Process& supervisor, const std::string& log) {
  // Signals are let in only while it waits: one that came just before a read would not end that.
  sigset_t before, ends, let_in;
  sigemptyset(&ends);
  sigaddset(&ends, SIGINT);
  sigaddset(&ends, SIGTERM);
  sigprocmask(SIG_BLOCK, &ends, &before);
  const absl::Cleanup restore = [&] { sigprocmask(SIG_SETMASK, &before, nullptr); };
  let_in = before;
  sigdelset(&let_in, SIGINT);
  sigdelset(&let_in, SIGTERM);
  std::string buffer;
  char bytes[4096];
  for (;;) {
    pollfd waiting = {reports, POLLIN, 0};
    const int came = ppoll(&waiting, 1, nullptr, &let_in);
    if (interrupted) {
      std::cerr << "\ninterrupted; stopping what was started" << std::endl;
      process::SendSignal(supervisor.identity(), SIGTERM);
      interrupted = 0;
    }
    if (came < 0 && errno == EINTR) continue;
    const ssize_t size = read(reports, bytes, sizeof bytes);
    if (size <= 0) break;
    buffer.append(bytes, static_cast<size_t>(size));
    for (size_t end; (end = buffer.find('\n')) != std::string::npos; buffer.erase(0, end + 1)) {
      const ordered_json line = ordered_json::parse(buffer.substr(0, end), nullptr, false);
      if (!line.is_object()) continue;
      if (line.contains("progress")) std::cerr << "  " << line["progress"].get<std::string>() << std::endl;
      if (line.contains("ready")) return absl::OkStatus();
      if (line.contains("failed")) {
        return WithRemedy(
            absl::Status(static_cast<absl::StatusCode>(line.value("code", 2)), line["failed"].get<std::string>()),
            line.value("remedy", ""));
      }
    }
  }
  return absl::InternalError(
      absl::StrCat("the supervisor ended without a word; ", log, " ends with\n", Tail(log, 0, 10)));
}

// Another supervisor has the data directory: waits while it starts or stops. True once its cluster serves, false if it
// has ended.
absl::StatusOr<bool> AwaitOther(const std::string& data_dir) {
  for (bool told = false;; usleep(100'000)) {
    if (interrupted) return QuietFailure(kInterrupted);
    if (!SupervisorLock::IsHeld(SupervisorFile(data_dir))) return false;
    const absl::StatusOr<std::string> text = ReadFile(StateFile(data_dir));
    const ordered_json state = text.ok() ? ordered_json::parse(*text, nullptr, false) : ordered_json();
    const bool starts = !state.is_object() || state.value("starting", true);
    bool stops = false;
    if (state.is_object()) {
      for (const ordered_json& item : state.value("processes", ordered_json::array())) {
        stops = stops || item.value("state", "") == "stopping";
      }
    }
    if (!starts && !stops) return true;
    if (told) continue;
    told = true;
    const std::optional<process::Identity> holder = ReadPidFile(SupervisorFile(data_dir));
    std::cerr << "AIMA is just being " << (stops ? "stopped" : "started") << " in " << data_dir
              << (holder ? absl::StrCat(" (supervisor: pid ", holder->pid, ")") : "") << "; waiting for that"
              << std::endl;
  }
}

absl::Status TellThatItRuns(const std::string& data_dir) {
  std::cerr << AlreadyRuns(data_dir).message() << ".\n";
  std::cout << ProcessTable(data_dir);
  return absl::OkStatus();
}

absl::Status Detach(Session& session, const StartOptions& start) {
  const std::string& data_dir = start.config.general().data_dir();
  RETURN_IF_ERROR(PrepareDirectories(data_dir));
  if (SupervisorLock::IsHeld(SupervisorFile(data_dir))) {
    ASSIGN_OR_RETURN(const bool serves, AwaitOther(data_dir));
    if (serves) return TellThatItRuns(data_dir);
  }
  // In a file rather than on the command line, where everybody could read the secrets in it.
  const std::string request = absl::StrCat(data_dir, "/run/start-", getpid(), ".yaml");
  RETURN_IF_ERROR(WriteFile(request, config::ToYaml(start.config, /*with_secrets=*/true), 0600));
  int reports[2];
  if (pipe2(reports, O_CLOEXEC) != 0) return absl::InternalError("cannot make a pipe");
  process::Command command;
  command.argv = {FindPlaces().program, "start",  "--foreground", "--detached",
                  "--data-dir",         data_dir, "--config",     request};
  command.env = EnvironmentWith({});
  command.working_dir = "/";
  command.output_fd = reports[1];
  struct sigaction action = {};
  action.sa_handler = [](int) { interrupted = 1; };
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  std::cerr << "Starting AIMA in " << data_dir << std::endl;
  absl::StatusOr<std::unique_ptr<process::Process>> supervisor = process::Process::Spawn(session.loop, command);
  close(reports[1]);
  absl::Status verdict = supervisor.status();
  if (verdict.ok()) {
    verdict = AwaitVerdict(reports[0], **supervisor, start.config.logging().dir() + "/supervisor.log");
  }
  close(reports[0]);
  unlink(request.c_str());
  if (!verdict.ok()) {
    if (supervisor.ok()) Await(session.loop, (*supervisor)->Wait());
    if (!absl::IsAlreadyExists(verdict)) return verdict;
    // Another `aima start` was quicker.
    ASSIGN_OR_RETURN(const bool serves, AwaitOther(data_dir));
    if (serves) return TellThatItRuns(data_dir);
    return WithRemedy(absl::UnavailableError("another `aima start` that was at it has not succeeded"),
                      "`aima logs supervisor` tells why; the same command tries it again.");
  }
  std::cout << ProcessTable(data_dir);
  std::cerr << "\nAIMA serves. Admin key: " << KeyFile(data_dir).AdminKeyFile()
            << "; logs: " << start.config.logging().dir()
            << "\nNext: aima status · aima units · aima chat · aima stop" << std::endl;
  return absl::OkStatus();
}

}  // namespace

absl::Status StartCommand(Session& session) {
  StartOptions start;
  start.foreground = session.arguments.Flag("foreground");
  start.detached = session.arguments.Flag("detached");
  const bool print = session.arguments.Flag("print-config");
  ASSIGN_OR_RETURN(const std::optional<std::string> file, session.arguments.Value("config"));
  absl::StatusOr<config::v1::Config> config = LoadConfig(session, file);
  RETURN_IF_ERROR(session.arguments.Done("start"));
  if (!config.ok()) {
    return WithRemedy(
        absl::InvalidArgumentError(absl::StrCat("the configuration is not valid: ", config.status().message())),
        "`aima config show -o wide` tells of every key what it is.");
  }
  start.config = *std::move(config);
  if (print) {
    std::cout << config::ToYaml(start.config, /*with_secrets=*/false);
    return absl::OkStatus();
  }
  return start.foreground ? RunForeground(session, start) : Detach(session, start);
}

}  // namespace aima::cli
