// Installations under way: one of each engine, whoever waits for it.
#pragma once

#include <absl/status/statusor.h>

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "aima/engine/v1/engine.pb.h"
#include "libs/base/task.h"
#include "services/engine/feed.h"
#include "services/engine/installer.h"

namespace aima::engine {

using InstallFeed = Feed<v1::InstallProgress>;

class Installs {
 public:
  // `spawn` runs work that no caller waits for.
  Installs(Loop& loop, Installer& installer, std::function<void(Task<void>)> spawn)
      : loop_(loop), installer_(installer), spawn_(std::move(spawn)) {}

  // Begins to install an engine, or joins who has begun; goes on when callers leave. An empty version is the one there is.
  absl::StatusOr<std::shared_ptr<InstallFeed>> Begin(const v1::EngineSpec& spec, const std::string& version);
  bool UnderWay(const std::string& engine) const;

 private:
  Task<void> Run(v1::EngineSpec spec, std::shared_ptr<InstallFeed> feed);

  Loop& loop_;
  Installer& installer_;
  const std::function<void(Task<void>)> spawn_;
  std::map<std::string, std::shared_ptr<InstallFeed>> feeds_;
};

}  // namespace aima::engine
