#include "services/device/rapl.h"

#include <absl/strings/str_cat.h>
#include <absl/strings/str_format.h>

#include <cmath>

#include "libs/base/status_macros.h"
#include "libs/errors/errors.h"

namespace aima::device {
namespace {

constexpr char kPowercap[] = "/sys/class/powercap";

// The constraint that limits average power; the others limit peaks.
std::string LongTermConstraint(const SystemFiles& files, const std::string& directory) {
  for (int i = 0; i < 4; ++i) {
    const std::string constraint = absl::StrCat("constraint_", i);
    if (files.ReadLine(absl::StrCat(directory, "/", constraint, "_name")) == "long_term") return constraint;
  }
  return "constraint_0";
}

absl::Status WriteError(const absl::Status& error) {
  const Metadata metadata = {{"device_id", "cpu"}};
  const std::string message = absl::StrCat("the power limit of 'cpu' was not set: ", std::string(error.message()));
  return absl::IsPermissionDenied(error) ? Error(v1::POWER_LIMIT_DENIED, message, metadata)
                                         : Error(v1::POWER_LIMIT_NOT_APPLIED, message, metadata);
}

}  // namespace

void Rapl::Find() {
  std::vector<Package> packages;
  for (const std::string& name : files_.List(kPowercap)) {
    // intel-rapl:0 is a package (also on AMD); intel-rapl:0:1 is a part of one; intel-rapl-mmio is the same again.
    const std::string directory = absl::StrCat(kPowercap, "/", name);
    if (name.rfind("intel-rapl:", 0) != 0) continue;
    const std::optional<std::string> what = files_.ReadLine(directory + "/name");
    if (!what || what->rfind("package", 0) != 0 || what->find("die") != std::string::npos) continue;
    packages.push_back({directory, LongTermConstraint(files_, directory)});
    for (const Package& old : packages_) {
      if (old.directory == directory) packages.back().last_energy_uj = old.last_energy_uj;
    }
  }
  packages_ = std::move(packages);
}

std::optional<double> Rapl::Power(absl::Time now) {
  const double seconds = absl::ToDoubleSeconds(now - last_time_);
  last_time_ = now;
  bool complete = !packages_.empty();
  double microjoules = 0;
  for (Package& package : packages_) {
    const std::optional<int64_t> energy = files_.ReadInt(package.directory + "/energy_uj");
    if (energy && package.last_energy_uj) {
      int64_t delta = *energy - *package.last_energy_uj;
      // The counter wraps, within minutes on busy servers.
      if (delta < 0) delta += files_.ReadInt(package.directory + "/max_energy_range_uj").value_or(0);
      microjoules += static_cast<double>(delta);
      complete = complete && delta >= 0;
    } else {
      complete = false;
    }
    package.last_energy_uj = energy;
  }
  if (!complete || !std::isfinite(seconds) || seconds <= 0) return std::nullopt;
  return microjoules / 1e6 / seconds;
}

std::optional<v1::PowerLimit> Rapl::Limit() const {
  double current = 0;
  double max = 0;
  for (const Package& package : packages_) {
    const std::string stem = absl::StrCat(package.directory, "/", package.constraint);
    const std::optional<double> limit = files_.ReadScaled(stem + "_power_limit_uw", 1e-6);
    if (!limit) return std::nullopt;
    current += *limit;
    // Some kernels report 0 or nothing for "not known".
    const double package_max = files_.ReadScaled(stem + "_max_power_uw", 1e-6).value_or(0);
    if (package_max <= 0) max = NAN;
    max += package_max;
  }
  if (packages_.empty()) return std::nullopt;
  v1::PowerLimit result;
  result.set_current_watts(current);
  if (!std::isnan(max)) result.set_max_watts(max);
  result.set_settable(true);
  return result;
}

absl::StatusOr<double> Rapl::SetLimit(double watts) {
  const int64_t share = std::llround(watts * 1e6 / static_cast<double>(packages_.size()));
  for (const Package& package : packages_) {
    const std::string file = absl::StrCat(package.directory, "/", package.constraint, "_power_limit_uw");
    absl::Status written = files_.Write(file, absl::StrCat(share));
    if (!written.ok()) return WriteError(written);
    if (files_.ReadInt(package.directory + "/enabled") == 0) {
      written = files_.Write(package.directory + "/enabled", "1");
      if (!written.ok()) return WriteError(written);
    }
  }
  const std::optional<v1::PowerLimit> now = Limit();
  const double applied = now ? now->current_watts() : 0;
  // Hardware rounds to its own unit, 1/8 W and finer; a locked register keeps its old value.
  if (std::abs(applied - watts) > 1 + 0.02 * watts) {
    return Error(v1::POWER_LIMIT_NOT_APPLIED,
                 absl::StrFormat("'cpu' was told to draw %g W at most, but reports a limit of %g W", watts, applied),
                 {{"device_id", "cpu"}, {"limit_watts", absl::StrFormat("%g", applied)}});
  }
  return applied;
}

}  // namespace aima::device
