#include "services/device/nvml.h"

#include <absl/strings/str_cat.h>
#include <dlfcn.h>

namespace aima::device {

absl::StatusOr<std::unique_ptr<Nvml>> Nvml::Load(const std::string& library) {
  auto nvml = std::make_unique<Nvml>();
  void* handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    const char* why = dlerror();
    return absl::NotFoundError(why != nullptr ? why : "cannot be loaded");
  }
  nvml->handle_ = handle;
  const auto bind = [handle](auto& function, const char* name) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(handle, name));
  };
  bind(nvml->Init, "nvmlInit_v2");
  bind(nvml->Shutdown, "nvmlShutdown");
  bind(nvml->ErrorString, "nvmlErrorString");
  bind(nvml->SystemGetDriverVersion, "nvmlSystemGetDriverVersion");
  bind(nvml->DeviceGetCount, "nvmlDeviceGetCount_v2");
  bind(nvml->DeviceGetHandleByIndex, "nvmlDeviceGetHandleByIndex_v2");
  bind(nvml->DeviceGetName, "nvmlDeviceGetName");
  bind(nvml->DeviceGetUuid, "nvmlDeviceGetUUID");
  bind(nvml->DeviceGetPciInfo, "nvmlDeviceGetPciInfo_v3");
  bind(nvml->DeviceGetMemoryInfo, "nvmlDeviceGetMemoryInfo");
  bind(nvml->DeviceGetUtilizationRates, "nvmlDeviceGetUtilizationRates");
  bind(nvml->DeviceGetTemperature, "nvmlDeviceGetTemperature");
  bind(nvml->DeviceGetTemperatureThreshold, "nvmlDeviceGetTemperatureThreshold");
  bind(nvml->DeviceGetPowerUsage, "nvmlDeviceGetPowerUsage");
  bind(nvml->DeviceGetPowerLimit, "nvmlDeviceGetPowerManagementLimit");
  bind(nvml->DeviceGetPowerLimitConstraints, "nvmlDeviceGetPowerManagementLimitConstraints");
  bind(nvml->DeviceGetPowerDefaultLimit, "nvmlDeviceGetPowerManagementDefaultLimit");
  bind(nvml->DeviceSetPowerLimit, "nvmlDeviceSetPowerManagementLimit");
  bind(nvml->DeviceGetClockInfo, "nvmlDeviceGetClockInfo");
  bind(nvml->DeviceGetFanSpeed, "nvmlDeviceGetFanSpeed");
  bind(nvml->DeviceGetThrottleReasons, "nvmlDeviceGetCurrentClocksThrottleReasons");
  bind(nvml->DeviceGetTotalEccErrors, "nvmlDeviceGetTotalEccErrors");
  bind(nvml->DeviceGetRemappedRows, "nvmlDeviceGetRemappedRows");
  bind(nvml->DeviceGetCudaComputeCapability, "nvmlDeviceGetCudaComputeCapability");
  bind(nvml->DeviceGetMigMode, "nvmlDeviceGetMigMode");
  if (nvml->Init == nullptr || nvml->DeviceGetCount == nullptr || nvml->DeviceGetHandleByIndex == nullptr) {
    return absl::FailedPreconditionError(absl::StrCat(library, " is not NVML"));
  }
  const Result result = nvml->Init();
  if (result != kSuccess) return absl::FailedPreconditionError(nvml->Explain(result));
  nvml->initialized_ = true;
  return nvml;
}

Nvml::~Nvml() {
  if (initialized_ && Shutdown != nullptr) Shutdown();
  if (handle_ != nullptr) dlclose(handle_);
}

std::string Nvml::Explain(Result result) const {
  const char* text = ErrorString != nullptr ? ErrorString(result) : nullptr;
  return absl::StrCat("NVML error ", static_cast<int>(result), text != nullptr ? absl::StrCat(" (", text, ")") : "");
}

}  // namespace aima::device
