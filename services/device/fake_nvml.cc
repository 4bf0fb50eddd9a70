// A libnvidia-ml.so for tests: the functions of NVML that AIMA calls, answering from FakeNvml.
#include "services/device/fake_nvml.h"

#include <cstdio>

using aima::device::FakeGpu;
using aima::device::FakeNvml;

namespace {

FakeNvml state;
constexpr int kNotSupported = 3;
constexpr int kInvalidArgument = 2;

// Gives `value` unless the GPU answers everything with an error.
template <class T, class V>
int Give(const FakeGpu* gpu, T* out, V value) {
  if (gpu->answer == 0) *out = static_cast<T>(value);
  return gpu->answer;
}

int GiveText(const FakeGpu* gpu, char* out, unsigned size, const char* text) {
  if (gpu->answer == 0) snprintf(out, size, "%s", text);
  return gpu->answer;
}

}  // namespace

extern "C" {

struct FakeMemory {
  unsigned long long total, free, used;
};
struct FakeUtilization {
  unsigned gpu, memory;
};
struct FakePci {
  char bus_id_legacy[16];
  unsigned domain, bus, device, pci_device_id, pci_subsystem_id;
  char bus_id[32];
};

FakeNvml* aima_fake_nvml_state() { return &state; }

int nvmlInit_v2() {
  ++state.inits;
  return state.init_answer;
}
int nvmlShutdown() {
  ++state.shutdowns;
  return 0;
}
const char* nvmlErrorString(int result) {
  switch (result) {
    case 4: return "Insufficient Permissions";
    case 15: return "GPU is lost";
    case 18: return "Driver/library version mismatch";
    default: return "Unknown Error";
  }
}
int nvmlSystemGetDriverVersion(char* out, unsigned size) {
  snprintf(out, size, "580.95.05");
  return 0;
}
int nvmlDeviceGetCount_v2(unsigned* count) {
  *count = state.count;
  return 0;
}
int nvmlDeviceGetHandleByIndex_v2(unsigned index, FakeGpu** gpu) {
  if (index >= state.count) return kInvalidArgument;
  *gpu = &state.gpus[index];
  return 0;
}
int nvmlDeviceGetName(FakeGpu* gpu, char* out, unsigned size) { return GiveText(gpu, out, size, gpu->name); }
int nvmlDeviceGetUUID(FakeGpu* gpu, char* out, unsigned size) { return GiveText(gpu, out, size, gpu->uuid); }
int nvmlDeviceGetPciInfo_v3(FakeGpu* gpu, FakePci* out) {
  *out = {};
  out->domain = gpu->pci_domain;
  out->bus = gpu->pci_bus;
  return gpu->answer;
}
int nvmlDeviceGetMemoryInfo(FakeGpu* gpu, FakeMemory* out) {
  if (gpu->memory_answer != 0) return gpu->memory_answer;
  return Give(gpu, out, FakeMemory{gpu->memory_total, gpu->memory_total - gpu->memory_used, gpu->memory_used});
}
int nvmlDeviceGetUtilizationRates(FakeGpu* gpu, FakeUtilization* out) {
  return Give(gpu, out, FakeUtilization{gpu->utilization, 0});
}
int nvmlDeviceGetTemperature(FakeGpu* gpu, unsigned, unsigned* out) { return Give(gpu, out, gpu->temperature); }
int nvmlDeviceGetTemperatureThreshold(FakeGpu* gpu, unsigned kind, unsigned* out) {
  return Give(gpu, out, kind == 0 ? gpu->shutdown : gpu->slowdown);
}
int nvmlDeviceGetPowerUsage(FakeGpu* gpu, unsigned* out) { return Give(gpu, out, gpu->power_mw); }
int nvmlDeviceGetPowerManagementLimit(FakeGpu* gpu, unsigned* out) {
  return gpu->has_power_limit ? Give(gpu, out, gpu->limit_mw) : kNotSupported;
}
int nvmlDeviceGetPowerManagementLimitConstraints(FakeGpu* gpu, unsigned* min, unsigned* max) {
  if (!gpu->has_power_limit) return kNotSupported;
  Give(gpu, min, gpu->min_limit_mw);
  return Give(gpu, max, gpu->max_limit_mw);
}
int nvmlDeviceGetPowerManagementDefaultLimit(FakeGpu* gpu, unsigned* out) {
  return gpu->has_power_limit ? Give(gpu, out, gpu->max_limit_mw) : kNotSupported;
}
int nvmlDeviceSetPowerManagementLimit(FakeGpu* gpu, unsigned milliwatts) {
  if (gpu->set_limit_answer == 0) gpu->limit_mw = milliwatts;
  return gpu->set_limit_answer;
}
int nvmlDeviceGetClockInfo(FakeGpu* gpu, unsigned, unsigned* out) { return Give(gpu, out, 1980u); }
int nvmlDeviceGetFanSpeed(FakeGpu*, unsigned*) { return kNotSupported; }
int nvmlDeviceGetCurrentClocksThrottleReasons(FakeGpu* gpu, unsigned long long* out) {
  return Give(gpu, out, gpu->throttle_reasons);
}
int nvmlDeviceGetTotalEccErrors(FakeGpu* gpu, unsigned, unsigned, unsigned long long* out) {
  return Give(gpu, out, gpu->ecc_uncorrected);
}
int nvmlDeviceGetRemappedRows(FakeGpu* gpu, unsigned* corrected, unsigned* uncorrected, unsigned* pending,
                              unsigned* failed) {
  *corrected = *uncorrected = 0;
  *pending = gpu->remap_pending;
  *failed = gpu->remap_failed;
  return gpu->answer;
}
int nvmlDeviceGetCudaComputeCapability(FakeGpu* gpu, int* major, int* minor) {
  *major = gpu->capability_major;
  *minor = gpu->capability_minor;
  return gpu->answer;
}
// nvmlDeviceGetMigMode is left out, as in old drivers.
}
