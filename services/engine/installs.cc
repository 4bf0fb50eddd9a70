#include "services/engine/installs.h"

#include <absl/strings/str_cat.h>

#include "libs/errors/errors.h"

namespace aima::engine {

absl::StatusOr<std::shared_ptr<InstallFeed>> Installs::Begin(const v1::EngineSpec& spec, const std::string& version) {
  const std::string there_is = installer_.VersionOf(spec);
  if (!version.empty() && version != there_is) {
    return InvalidInput("version", there_is.empty() ? absl::StrCat("cannot be chosen for '", spec.name(), "'")
                                                    : absl::StrCat("must be ", there_is, ", which is pinned"));
  }
  std::shared_ptr<InstallFeed>& feed = feeds_[spec.name()];
  if (feed && !feed->finished()) return feed;
  feed = std::make_shared<InstallFeed>(loop_);
  spawn_(Run(spec, feed));
  return feed;
}

bool Installs::UnderWay(const std::string& engine) const {
  const auto found = feeds_.find(engine);
  return found != feeds_.end() && !found->second->finished();
}

Task<void> Installs::Run(v1::EngineSpec spec, std::shared_ptr<InstallFeed> feed) {
  const absl::StatusOr<Installation> installation =
      co_await installer_.Install(spec, [feed](const v1::InstallProgress& step) { feed->Report(step); });
  if (installation.ok()) {
    v1::InstallProgress last;
    last.set_phase("done");
    last.set_message(absl::StrCat(spec.name(), " is installed"));
    last.set_percent(100);
    last.mutable_result()->set_success(true);
    last.mutable_result()->set_path(installation->path);
    last.mutable_result()->set_version(installation->version);
    feed->Report(last);
  }
  feed->Finish(installation.status());
}

}  // namespace aima::engine
