// The processors of the machine with its memory, as the kernel tells of them.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "services/device/device_provider.h"
#include "services/device/rapl.h"
#include "services/device/system_files.h"

namespace aima::device {

inline constexpr char kCpuId[] = "cpu";

// System memory from /proc/meminfo.
v1::Memory ReadSystemMemory(const SystemFiles& files);

// Finds one device, `cpu`: all packages, cores and memory of the machine. What concerns the machine as a whole
// (memory pressure, full disks) is found here too.
class CpuProvider : public DeviceProvider {
 public:
  // Space on a file system, in bytes.
  struct Disk {
    std::string path;
    int64_t total = 0;
    int64_t available = 0;
  };
  using DiskReader = std::function<std::optional<Disk>()>;

  // `disk` looks at the file system that AIMA writes to; empty is none. `files` must outlive this.
  CpuProvider(const SystemFiles& files, DiskReader disk);

  std::vector<v1::Device> Scan(const std::vector<v1::Device>& known) override;
  Reading Read(const std::string& device_id) override;
  absl::StatusOr<double> SetPowerLimit(const std::string& device_id, double watts) override;

 private:
  // A temperature sensor: files in thousandths of a degree.
  struct Sensor {
    std::string input;
    std::optional<double> crit = {};
  };

  void Describe();
  void FindSensors();
  void FindThermalZones();
  void ReadUtilization(Reading& reading);
  void ReadTemperature(Reading& reading);
  void ReadFrequency(Reading& reading);
  void ReadThrottling(Reading& reading);
  void ReadFaults(Reading& reading);

  const SystemFiles& files_;
  const DiskReader disk_;
  Rapl rapl_;
  v1::Device device_;  // what does not change; empty before the first scan
  std::vector<Sensor> sensors_;
  std::vector<std::string> frequency_files_;
  std::vector<std::string> throttle_files_;
  std::optional<int64_t> last_throttles_;
  int64_t last_total_ = 0;  // of /proc/stat, in ticks
  int64_t last_idle_ = 0;
};

// Reads the file system that holds `path`, or the nearest parent that exists.
std::optional<CpuProvider::Disk> ReadDisk(const std::string& path);

}  // namespace aima::device
