#include "services/engine/installer.h"

#include <absl/cleanup/cleanup.h>
#include <absl/strings/ascii.h>
#include <absl/strings/match.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>
#include <absl/strings/str_replace.h>
#include <absl/strings/str_split.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "libs/base/ids.h"
#include "libs/base/status_macros.h"
#include "libs/errors/errors.h"

namespace aima::engine {
namespace fs = std::filesystem;
namespace {

constexpr absl::Duration kStepTimeout = absl::Minutes(20);

// What pip and Python look at to find the machine's package index, its proxies and its certificates.
constexpr const char* kPackageVariables[] = {
    "PIP_INDEX_URL",   "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS",     "PIP_CONFIG_FILE",      "PIP_CERT",
    "PIP_PROXY",       "PIP_TRUSTED_HOST",    "PIP_DEFAULT_TIMEOUT", "PIP_RETRIES",          "PIP_NO_INDEX",
    "PIP_CLIENT_CERT", "XDG_CONFIG_HOME",     "XDG_CONFIG_DIRS",    "REQUESTS_CA_BUNDLE",   "SSL_CERT_FILE",
    "SSL_CERT_DIR",    "http_proxy",          "https_proxy",        "no_proxy",             "all_proxy",
    "HTTP_PROXY",      "HTTPS_PROXY",         "NO_PROXY",           "ALL_PROXY",            "NETRC",
    // The same for npm.
    "NPM_CONFIG_REGISTRY", "npm_config_registry", "NPM_CONFIG_USERCONFIG", "npm_config_userconfig",
    "NPM_CONFIG_CAFILE",   "npm_config_cafile",   "NODE_EXTRA_CA_CERTS"};

v1::InstallProgress Progress(std::string_view phase, std::string message, double percent) {
  v1::InstallProgress progress;
  progress.set_phase(std::string(phase));
  progress.set_message(std::move(message));
  progress.set_percent(percent);
  return progress;
}

// pip's hash-checking mode: exactly these files, and none that is not named.
std::string Requirements(const v1::PythonRecipe& recipe) {
  std::string lines;
  for (const v1::PythonPackage& package : recipe.packages()) {
    absl::StrAppend(&lines, package.name(), "==", package.version());
    for (const std::string& hash : package.sha256()) absl::StrAppend(&lines, " --hash=sha256:", hash);
    lines += "\n";
  }
  return lines;
}

// As `npm pack` names it.
std::string NpmArchive(const v1::NpmPackage& package) {
  std::string name = package.name();
  if (name.starts_with('@')) name = absl::StrReplaceAll(name.substr(1), {{"/", "-"}});
  return absl::StrCat(name, "-", package.version(), ".tgz");
}

std::string MarkerPrefix(const v1::EngineSpec& spec) { return absl::StrCat("install_", spec.name(), "_"); }

// As pip says it in whatever language: Python leaves the messages of the system in English.
constexpr char kNoSpace[] = "No space left on device";

// How much room there is, for whoever is told that there is too little.
std::string FreeOn(const std::string& directory) {
  std::error_code error;
  const fs::space_info space = fs::space(directory, error);
  return error ? "" : absl::StrCat("; ", space.available, " bytes are free on the disk of ", directory);
}

absl::Status WriteDurably(const fs::path& path, const std::string& text) {
  errno = 0;
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  const bool written =
      fd >= 0 && write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()) && fsync(fd) == 0;
  const std::string why = errno == 0 ? kNoSpace : strerror(errno);  // less written than asked for
  if (fd >= 0) close(fd);
  if (written) return absl::OkStatus();
  const std::string room = why == kNoSpace ? FreeOn(path.parent_path()) : "";
  return Error(v1::ENGINE_INSTALL_FAILED, absl::StrCat("cannot write ", path.string(), ": ", why, room),
               {{"path", path.string()}});
}

absl::Status Failed(const v1::EngineSpec& spec, const std::string& what, const std::string& output) {
  return Error(v1::ENGINE_INSTALL_FAILED, absl::StrCat("installing '", spec.name(), "' failed: ", what),
               {{"engine", spec.name()}, {"output", output.size() > 4000 ? output.substr(output.size() - 4000) : output}});
}

// The first word with a digit and a dot or that is all digits, in what a program says of its version.
std::string VersionIn(const std::string& output) {
  for (absl::string_view word : absl::StrSplit(output, absl::ByAnyChar(" \n\t(),"), absl::SkipEmpty())) {
    const absl::string_view bare = absl::StripPrefix(word, "v");
    if (!bare.empty() && absl::ascii_isdigit(static_cast<unsigned char>(bare[0]))) return std::string(bare);
  }
  return "";
}

}  // namespace

// One command of an installation.
struct Installer::Step {
  std::string phase;
  std::string message;
  double from_percent;
  double to_percent;
  std::vector<std::string> argv;
  std::string output;  // filled in
};

Installer::Installer(Loop& loop, std::string data_dir, std::string launcher_dir, Environment environment,
                     process::MaySignal in_office)
    : loop_(loop),
      data_dir_(std::move(data_dir)),
      launcher_dir_(std::move(launcher_dir)),
      environment_(std::move(environment)),
      in_office_(std::move(in_office)) {}

std::optional<std::string> Installer::OnPath(const std::string& program) const {
  if (program.starts_with('/')) {
    return access(program.c_str(), X_OK) == 0 ? std::optional<std::string>(program) : std::nullopt;
  }
  for (absl::string_view directory : absl::StrSplit(environment_("PATH").value_or(""), ':', absl::SkipEmpty())) {
    const std::string path = absl::StrCat(directory, "/", program);
    std::error_code error;
    if (fs::is_regular_file(path, error) && access(path.c_str(), X_OK) == 0) return path;
  }
  return std::nullopt;
}

std::string Installer::PythonDir(const v1::EngineSpec& spec) const {
  return absl::StrCat(data_dir_, "/engines/", spec.name(), "/", spec.install().python().packages(0).version());
}

Installation Installer::PythonInstallation(const v1::EngineSpec& spec) const {
  const std::string directory = PythonDir(spec);
  const v1::PythonRecipe& recipe = spec.install().python();
  Installation installation{{directory + "/bin/python", launcher_dir_ + "/" + recipe.launcher()},
                            directory,
                            recipe.packages(0).version()};
  installation.program.insert(installation.program.end(), recipe.arguments().begin(), recipe.arguments().end());
  return installation;
}

std::optional<Installation> Installer::Find(const v1::EngineSpec& spec) const {
  for (const std::string& program : spec.install().detect()) {
    std::optional<std::string> path = OnPath(program);
    // Where `pip install --user` and `uv tool install` put programs; the PATH of services seldom has it.
    if (const std::optional<std::string> home = environment_("HOME"); home && !path) {
      path = OnPath(absl::StrCat(*home, "/.local/bin/", program));
    }
    if (!path) continue;
    const auto version = detected_versions_.find(*path);
    return Installation{{*path}, *path, version == detected_versions_.end() ? "" : version->second};
  }
  std::error_code error;
  if (spec.install().has_python() && fs::exists(PythonDir(spec) + "/installed", error)) return PythonInstallation(spec);
  return std::nullopt;
}

std::string Installer::VersionOf(const v1::EngineSpec& spec) const {
  if (const std::optional<Installation> found = Find(spec)) return found->version;
  return spec.install().has_python() ? spec.install().python().packages(0).version() : "";
}

process::Command Installer::CommandOf(const v1::EngineSpec& spec, std::vector<std::string> argv) const {
  process::Command command;
  command.argv = std::move(argv);
  command.env = BasicEnvironment(environment_);
  for (const char* name : kPackageVariables) {
    const std::optional<std::string> value = environment_(name);
    if (value) command.env.push_back(absl::StrCat(name, "=", *value));
  }
  command.env.push_back("PIP_DISABLE_PIP_VERSION_CHECK=1");
  command.env.push_back("PIP_NO_INPUT=1");
  command.env.push_back("AIMA_HOME=" + data_dir_);
  command.marker = NewId(MarkerPrefix(spec));
  return command;
}

Task<absl::StatusOr<process::RunResult>> Installer::RunCommand(process::Command command, absl::Duration timeout,
                                                               std::function<void(std::string_view)> on_line) {
  const std::string marker = command.marker;
  runs_.insert(marker);
  const absl::Cleanup done = [this, marker] { runs_.erase(marker); };
  co_return co_await process::Run(loop_, std::move(command), timeout, std::move(on_line));
}

// What an earlier life of this process began may still be writing where this one is about to. What a later one has begun
// is left to it, the folder too.
Task<absl::Status> Installer::EndEarlierInstallation(const v1::EngineSpec& spec) const {
  for (const process::Marked& process : process::FindMarked("AIMA_HOME", data_dir_)) {
    if (!process.marker.starts_with(MarkerPrefix(spec))) continue;
    (void)co_await process::EndTree(process.identity, process.marker, SIGKILL, absl::ZeroDuration(), in_office_);
  }
  if (!in_office_ || in_office_()) co_return absl::OkStatus();
  co_return absl::UnavailableError("another engine service looks after the engines of this machine now");
}

Task<absl::StatusOr<Installation>> Installer::Install(v1::EngineSpec spec, InstallObserver observer) {
  observer(Progress("detecting", absl::StrCat("looking for ", spec.name()), 0));
  if (std::optional<Installation> found = Find(spec)) {
    co_await AskVersion(spec, *found);
    // Asked again, because the version is known now; it may have been removed meanwhile.
    if (std::optional<Installation> asked = Find(spec)) found = std::move(asked);
    co_return *std::move(found);
  }
  if (!spec.install().has_python()) {
    co_return Error(v1::ENGINE_INSTALL_BY_HAND,
                    absl::StrCat("AIMA does not install '", spec.name(), "': ", spec.install().by_hand()),
                    {{"engine", spec.name()}, {"by_hand", spec.install().by_hand()}});
  }
  CO_RETURN_IF_ERROR(co_await InstallPython(spec, observer));
  co_return PythonInstallation(spec);
}

Task<absl::Status> Installer::InstallPython(const v1::EngineSpec& spec, const InstallObserver& observer) {
  const v1::PythonRecipe& recipe = spec.install().python();
  const std::optional<std::string> system_python = OnPath("python3");
  if (!system_python) co_return Failed(spec, "there is no python3 on PATH (Debian: apt-get install python3-venv)", "");
  const std::string directory = PythonDir(spec);
  const std::optional<std::string> npm = OnPath("npm");
  if (!recipe.npm().empty() && !npm) {
    co_return Failed(spec, "there is no npm on PATH (Debian: apt-get install npm)", "");
  }
  // Its own: another engine may be installed at the same time.
  const std::string cache = absl::StrCat(data_dir_, "/engines/cache/", spec.name());
  const std::string requirements = cache + "/requirements.txt";
  CO_RETURN_IF_ERROR(co_await EndEarlierInstallation(spec));
  std::error_code error;
  fs::create_directories(cache, error);
  fs::permissions(data_dir_ + "/engines", fs::perms::owner_all, error);
  fs::remove_all(directory, error);
  CO_RETURN_IF_ERROR(WriteDurably(requirements, Requirements(spec.install().python())));

  const std::string python = directory + "/bin/python";
  std::vector<Step> steps;
  steps.push_back({"preparing", "making a virtual environment", 2, 20, {*system_python, "-m", "venv", directory}, ""});
  steps.push_back({"downloading", "fetching pinned packages", 20, 70,
                   {python, "-m", "pip", "download", "--progress-bar=off", "--no-deps", "--only-binary=:all:",
                    "--require-hashes", "--dest", cache, "--requirement", requirements}, ""});
  steps.push_back({"installing", "installing packages", 70, 82,
                   {python, "-m", "pip", "install", "--progress-bar=off", "--no-deps", "--no-index", "--find-links",
                    cache, "--only-binary=:all:", "--require-hashes", "--requirement", requirements}, ""});
  for (const v1::NpmPackage& package : recipe.npm()) {
    const std::string archive = absl::StrCat(cache, "/", NpmArchive(package));
    steps.push_back({"downloading", absl::StrCat("fetching ", package.name()), 82, 86,
                     {*npm, "pack", "--silent", "--ignore-scripts", "--cache", cache + "/npm", "--pack-destination",
                      cache, absl::StrCat(package.name(), "@", package.version())}, ""});
    steps.push_back({"installing", absl::StrCat("unpacking ", package.name()), 86, 88,
                     {python, launcher_dir_ + "/unpack_npm.py", archive, package.sha256(),
                      absl::StrCat(directory, "/npm/", package.name())}, ""});
  }
  if (!recipe.prepare().empty()) {
    steps.push_back({"installing", "preparing what the engine needs", 88, 90,
                     {python, absl::StrCat(launcher_dir_, "/", recipe.prepare()), directory}, ""});
  }
  steps.push_back({"checking", "asking the engine for its version", 90, 99, PythonInstallation(spec).program, ""});
  steps.back().argv.push_back("--version");
  for (Step& step : steps) CO_RETURN_IF_ERROR(co_await RunStep(spec, std::move(step), observer));

  CO_RETURN_IF_ERROR(WriteDurably(directory + "/installed", Requirements(spec.install().python())));
  fs::remove_all(cache, error);
  co_return absl::OkStatus();
}

Task<absl::Status> Installer::RunStep(const v1::EngineSpec& spec, Step step, const InstallObserver& observer) {
  observer(Progress(step.phase, step.message, step.from_percent));
  int lines = 0;
  const auto on_line = [&](std::string_view line) {
    // How many lines a step writes is not known: each brings it half of a tenth nearer to its end.
    const double share = 1 - 1 / (1 + 0.1 * ++lines);
    const double percent = step.from_percent + share * (step.to_percent - step.from_percent);
    observer(Progress(step.phase, std::string(line), percent));
  };
  const absl::StatusOr<process::RunResult> result =
      co_await RunCommand(CommandOf(spec, step.argv), kStepTimeout, on_line);
  if (!result.ok()) co_return Failed(spec, std::string(result.status().message()), "");
  if (result->exit.Ok()) co_return absl::OkStatus();
  const std::string how = result->timed_out ? "took too long" : result->exit.ToString();
  std::vector<std::string> lines_said = absl::StrSplit(result->output, '\n', absl::SkipEmpty());
  const std::string last = lines_said.empty() ? "" : absl::StrCat(": ", lines_said.back());
  const std::string room = absl::StrContains(result->output, kNoSpace) ? FreeOn(data_dir_) : "";
  co_return Failed(spec, absl::StrCat(step.message, " ", how, last, room), result->output);
}

Task<void> Installer::AskVersion(const v1::EngineSpec& spec, const Installation& installation) {
  if (!installation.version.empty()) co_return;
  std::vector<std::string> argv = installation.program;
  argv.push_back("--version");
  const std::string path = installation.path;
  const absl::StatusOr<process::RunResult> result =
      co_await RunCommand(CommandOf(spec, std::move(argv)), absl::Seconds(30), {});
  if (result.ok()) detected_versions_[path] = VersionIn(result->output);
}

}  // namespace aima::engine
