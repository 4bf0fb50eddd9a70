// GPUs and NPUs as the kernel tells of them in /sys: AMD in full, others as far as their drivers go.
#pragma once

#include <absl/time/time.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "services/device/device_provider.h"
#include "services/device/system_files.h"

namespace aima::device {

// Finds PCI devices that compute (AMD, Intel and NVIDIA display controllers, and processing accelerators of any
// maker) and GPUs of systems-on-chip. An NVIDIA GPU that NVML tells of is left to NVML; one that it does not tell of
// is found here, with the reason as its fault.
class DrmProvider : public DeviceProvider {
 public:
  // `nvml_problem` tells why NVML cannot be used; empty if there is none. `files` must outlive this.
  DrmProvider(const SystemFiles& files, std::function<std::string()> nvml_problem);

  std::vector<v1::Device> Scan(const std::vector<v1::Device>& known) override;
  Reading Read(const std::string& device_id) override;
  absl::StatusOr<double> SetPowerLimit(const std::string& device_id, double watts) override;

 private:
  struct Card {
    v1::Device device;
    std::string directory;  // /sys/bus/pci/devices/0000:03:00.0
    std::string hwmon;      // its sensors; empty if it has none
    std::optional<int64_t> last_energy_uj = {};
    absl::Time last_time = absl::InfinitePast();
  };

  std::optional<Card> DescribePci(const std::string& address);
  std::optional<Card> DescribePlatform(const std::string& card_name);
  void DescribeAmd(Card& card);
  void DescribePower(Card& card);
  v1::Memory ReadMemory(const Card& card);
  void ReadHwmon(Card& card, Reading& reading);
  bool Asleep(const Card& card);
  Card* Find(const std::string& device_id);

  const SystemFiles& files_;
  const std::function<std::string()> nvml_problem_;
  std::vector<Card> cards_;
};

}  // namespace aima::device
