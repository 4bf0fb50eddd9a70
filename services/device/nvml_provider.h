// NVIDIA GPUs, as NVML tells of them.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "services/device/device_provider.h"
#include "services/device/nvml.h"
#include "services/device/system_files.h"

namespace aima::device {

// Finds nothing, at little cost, where there is no NVML. A library or driver that comes later is found by a later scan.
class NvmlProvider : public DeviceProvider {
 public:
  // `files` tells of system memory, for GPUs that share it; it must outlive this.
  NvmlProvider(const SystemFiles& files, std::string library = kNvmlLibrary);

  std::vector<v1::Device> Scan(const std::vector<v1::Device>& known) override;
  Reading Read(const std::string& device_id) override;
  absl::StatusOr<double> SetPowerLimit(const std::string& device_id, double watts) override;

  // Why NVML cannot be used; empty if it can, or is not there at all.
  const std::string& problem() const { return problem_; }

 private:
  struct Gpu {
    Nvml::Device handle = nullptr;
    v1::Device device;
    double temperature_warning = 90;
    double temperature_critical = 100;
  };

  bool Ready();
  std::optional<Gpu> Describe(unsigned index);
  void DescribeAbilities(Gpu& gpu);
  void DescribePower(Gpu& gpu);
  v1::Memory ReadMemory(Nvml::Device handle);
  void ReadFaults(const Gpu& gpu, Reading& reading);
  void ReadThrottling(const Gpu& gpu, Reading& reading);
  Gpu* Find(const std::string& device_id);

  const SystemFiles& files_;
  const std::string library_;
  std::unique_ptr<Nvml> nvml_;
  std::string driver_;
  std::string problem_;
  std::vector<Gpu> gpus_;
  bool lost_ = false;  // a GPU stopped answering: the next scan starts NVML anew
};

}  // namespace aima::device
