// What PCI devices are called.
#pragma once

#include <cstdint>
#include <string>

#include "services/device/system_files.h"

namespace aima::device {

struct PciName {
  std::string vendor;  // AMD
  std::string slug;    // amd: the vendor in ids
  std::string device;  // Navi 31 [Radeon RX 7900 XTX], or "AMD device 744c" where no list of names is installed
};

// Looks a device up in the machine's pci.ids, which most distributions install.
PciName LookUpPciName(const SystemFiles& files, int64_t vendor, int64_t device);

}  // namespace aima::device
