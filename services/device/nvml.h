// NVIDIA's management library, loaded at run time: AIMA is built and runs without it.
#pragma once

#include <absl/status/statusor.h>

#include <memory>
#include <string>

namespace aima::device {

// The part of NVML's C interface that AIMA uses, as NVIDIA documents it. Functions that an older driver does not have
// are null.
struct Nvml {
  using Device = struct nvmlDevice_st*;

  enum Result : int {
    kSuccess = 0,
    kNotSupported = 3,
    kNoPermission = 4,
    kDriverNotLoaded = 9,
    kGpuIsLost = 15,
  };
  enum : unsigned {
    kTemperatureGpu = 0,
    kThresholdShutdown = 0,
    kThresholdSlowdown = 1,
    kClockSm = 1,
    kMemoryErrorUncorrected = 1,
    kCounterVolatile = 0,
  };
  struct Memory {
    unsigned long long total, free, used;
  };
  struct Utilization {
    unsigned gpu, memory;
  };
  struct PciInfo {
    char bus_id_legacy[16];
    unsigned domain, bus, device, pci_device_id, pci_subsystem_id;
    char bus_id[32];
  };

  Result (*Init)() = nullptr;
  Result (*Shutdown)() = nullptr;
  const char* (*ErrorString)(Result) = nullptr;
  Result (*SystemGetDriverVersion)(char*, unsigned) = nullptr;
  Result (*DeviceGetCount)(unsigned*) = nullptr;
  Result (*DeviceGetHandleByIndex)(unsigned, Device*) = nullptr;
  Result (*DeviceGetName)(Device, char*, unsigned) = nullptr;
  Result (*DeviceGetUuid)(Device, char*, unsigned) = nullptr;
  Result (*DeviceGetPciInfo)(Device, PciInfo*) = nullptr;
  Result (*DeviceGetMemoryInfo)(Device, Memory*) = nullptr;
  Result (*DeviceGetUtilizationRates)(Device, Utilization*) = nullptr;
  Result (*DeviceGetTemperature)(Device, unsigned, unsigned*) = nullptr;
  Result (*DeviceGetTemperatureThreshold)(Device, unsigned, unsigned*) = nullptr;
  Result (*DeviceGetPowerUsage)(Device, unsigned*) = nullptr;
  Result (*DeviceGetPowerLimit)(Device, unsigned*) = nullptr;
  Result (*DeviceGetPowerLimitConstraints)(Device, unsigned*, unsigned*) = nullptr;
  Result (*DeviceGetPowerDefaultLimit)(Device, unsigned*) = nullptr;
  Result (*DeviceSetPowerLimit)(Device, unsigned) = nullptr;
  Result (*DeviceGetClockInfo)(Device, unsigned, unsigned*) = nullptr;
  Result (*DeviceGetFanSpeed)(Device, unsigned*) = nullptr;
  Result (*DeviceGetThrottleReasons)(Device, unsigned long long*) = nullptr;
  Result (*DeviceGetTotalEccErrors)(Device, unsigned, unsigned, unsigned long long*) = nullptr;
  Result (*DeviceGetRemappedRows)(Device, unsigned*, unsigned*, unsigned*, unsigned*) = nullptr;
  Result (*DeviceGetCudaComputeCapability)(Device, int*, int*) = nullptr;
  Result (*DeviceGetMigMode)(Device, unsigned*, unsigned*) = nullptr;

  // Loads `library` (a name for the dynamic loader, or a path) and initializes it. NOT_FOUND if there is no such
  // library, FAILED_PRECONDITION if there is but it cannot work, as after a driver update before the restart.
  static absl::StatusOr<std::unique_ptr<Nvml>> Load(const std::string& library);

  Nvml() = default;
  Nvml(const Nvml&) = delete;
  Nvml& operator=(const Nvml&) = delete;
  ~Nvml();

  // What a result means.
  std::string Explain(Result result) const;

 private:
  void* handle_ = nullptr;
  bool initialized_ = false;
};

// The library's name on Linux.
inline constexpr char kNvmlLibrary[] = "libnvidia-ml.so.1";

}  // namespace aima::device
