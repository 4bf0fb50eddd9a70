#include "services/device/pci_names.h"

#include <absl/strings/str_cat.h>
#include <absl/strings/str_format.h>

namespace aima::device {
namespace {

// The lists are larger than what SystemFiles reads of a file by default.
constexpr size_t kMaxListBytes = 8 << 20;

// The lines of one vendor: "1002  Advanced Micro Devices, Inc. [AMD/ATI]", then "\t744c  Navi 31 [Radeon …]".
struct Entry {
  std::string vendor;
  std::string device;
};

Entry Find(std::string_view list, int64_t vendor, int64_t device) {
  Entry entry;
  const std::string vendor_start = absl::StrFormat("\n%04x  ", vendor);
  size_t at = list.find(vendor_start);
  if (at == std::string_view::npos) return entry;
  at += vendor_start.size();
  size_t end = list.find('\n', at);
  entry.vendor = list.substr(at, end == std::string_view::npos ? end : end - at);
  const std::string device_start = absl::StrFormat("\t%04x  ", device);
  while (end != std::string_view::npos && end + 1 < list.size()) {
    const size_t begin = end + 1;
    if (list[begin] != '\t' && list[begin] != '#') break;  // the next vendor
    end = list.find('\n', begin);
    const std::string_view line = list.substr(begin, end == std::string_view::npos ? end : end - begin);
    if (line.substr(0, device_start.size()) != device_start) continue;
    entry.device = line.substr(device_start.size());
    break;
  }
  return entry;
}

}  // namespace

PciName LookUpPciName(const SystemFiles& files, int64_t vendor, int64_t device) {
  Entry entry;
  for (const char* path : {"/usr/share/misc/pci.ids", "/usr/share/hwdata/pci.ids"}) {
    if (const auto list = files.Read(path, kMaxListBytes)) {
      entry = Find(*list, vendor, device);
      break;
    }
  }
  PciName name;
  switch (vendor) {
    case 0x1002:
      name = {"AMD", "amd", ""};
      break;
    case 0x10de:
      name = {"NVIDIA", "nvidia", ""};
      break;
    case 0x8086:
      name = {"Intel", "intel", ""};
      break;
    default:
      name = {entry.vendor.empty() ? absl::StrFormat("PCI vendor %04x", vendor) : entry.vendor,
              absl::StrFormat("pci%04x", vendor), ""};
  }
  name.device = entry.device.empty() ? absl::StrFormat("%s device %04x", name.vendor, device) : entry.device;
  return name;
}

}  // namespace aima::device
