// Who made the processors, what they are called and what they can do.
#pragma once

#include "aima/device/v1/device.pb.h"
#include "services/device/system_files.h"

namespace aima::device {

// Fills name, vendor, architecture and capabilities from /proc/cpuinfo.
void ReadCpuIdentity(const SystemFiles& files, v1::Device& device);

// The machine that `files` is rooted in.
v1::Host ReadHost(const SystemFiles& files);

}  // namespace aima::device
