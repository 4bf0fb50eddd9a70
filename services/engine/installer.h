// Gets engines on the machine, and finds those that are there.
#pragma once

#include <absl/status/statusor.h>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "aima/engine/v1/engine.pb.h"
#include "libs/base/task.h"
#include "libs/process/process.h"
#include "libs/process/run.h"
#include "services/engine/catalogue.h"
#include "services/engine/launch.h"

namespace aima::engine {

// An engine that is on the machine.
struct Installation {
  std::vector<std::string> program;  // the command line up to the engine's own arguments
  std::string path;                  // what `engine.get` shows
  std::string version;               // empty if not known
};

// Hears the steps of an installation.
using InstallObserver = std::function<void(const v1::InstallProgress&)>;

// An engine of Python packages lives in <data_dir>/engines/<name>/<version>: a virtual environment that counts as
// installed from the moment when the file `installed` is in it. Until then it is rebuilt from the start; packages that
// were fetched are kept and not fetched again.
class Installer {
 public:
  // `in_office` says whether this service is still the one that looks after the engines of this machine; without it, it is.
  Installer(Loop& loop, std::string data_dir, std::string launcher_dir, Environment environment,
            process::MaySignal in_office = nullptr);

  // Nothing if the engine is not on the machine.
  std::optional<Installation> Find(const v1::EngineSpec& spec) const;

  // Installs the engine unless it is there. ENGINE_INSTALL_FAILED carries the last output of what failed,
  // ENGINE_INSTALL_BY_HAND says what a person has to do. One installation of an engine at a time.
  Task<absl::StatusOr<Installation>> Install(v1::EngineSpec spec, InstallObserver observer);

  // Markers of the commands that run now.
  const std::set<std::string>& runs() const { return runs_; }

  // Version that an installation brings, or that is there; empty if not known.
  std::string VersionOf(const v1::EngineSpec& spec) const;

 private:
  struct Step;
  std::optional<std::string> OnPath(const std::string& program) const;
  std::string PythonDir(const v1::EngineSpec& spec) const;
  Installation PythonInstallation(const v1::EngineSpec& spec) const;
  Task<absl::Status> InstallPython(const v1::EngineSpec& spec, const InstallObserver& observer);
  Task<absl::Status> RunStep(const v1::EngineSpec& spec, Step step, const InstallObserver& observer);
  Task<void> AskVersion(const v1::EngineSpec& spec, const Installation& installation);
  process::Command CommandOf(const v1::EngineSpec& spec, std::vector<std::string> argv) const;
  Task<absl::StatusOr<process::RunResult>> RunCommand(process::Command command, absl::Duration timeout,
                                                      std::function<void(std::string_view)> on_line);
  Task<absl::Status> EndEarlierInstallation(const v1::EngineSpec& spec) const;

  Loop& loop_;
  const std::string data_dir_;
  const std::string launcher_dir_;
  const Environment environment_;
  const process::MaySignal in_office_;
  std::map<std::string, std::string> detected_versions_;
  std::set<std::string> runs_;
};

}  // namespace aima::engine
