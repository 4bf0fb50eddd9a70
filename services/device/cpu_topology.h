// How the processors of a machine are laid out, as hwloc sees it.
#pragma once

#include <absl/status/statusor.h>

#include "aima/device/v1/device.pb.h"
#include "services/device/system_files.h"

namespace aima::device {

// Reads the topology of the machine, or of the tree that `files` is rooted in. Takes about 10 ms.
absl::StatusOr<v1::Topology> ReadTopology(const SystemFiles& files);

}  // namespace aima::device
