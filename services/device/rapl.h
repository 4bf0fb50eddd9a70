// Power of processors, as RAPL (Running Average Power Limit, Intel and AMD) tells and limits it.
#pragma once

#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <optional>
#include <string>
#include <vector>

#include "aima/device/v1/device.pb.h"
#include "services/device/system_files.h"

namespace aima::device {

// All packages of the machine together. Most systems let only root read energy and write limits.
class Rapl {
 public:
  // `files` must outlive this.
  explicit Rapl(const SystemFiles& files) : files_(files) {}

  // Looks for packages anew.
  void Find();

  // Mean power since the last call, in watts; absent in the first, and where energy cannot be read.
  std::optional<double> Power(absl::Time now);

  // What can be drawn; nullopt if there are no limits.
  std::optional<v1::PowerLimit> Limit() const;

  // Shares `watts` evenly among the packages and returns the sum that they then report. There must be a Limit().
  absl::StatusOr<double> SetLimit(double watts);

 private:
  struct Package {
    std::string directory;   // /sys/class/powercap/intel-rapl:0
    std::string constraint;  // its long-term limit: constraint_0
    std::optional<int64_t> last_energy_uj = {};
  };

  const SystemFiles& files_;
  std::vector<Package> packages_;
  absl::Time last_time_ = absl::InfinitePast();
};

}  // namespace aima::device
