#include "services/device/nvml_provider.h"

#include <absl/strings/ascii.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_format.h>

#include <cmath>

#include "libs/base/status_macros.h"
#include "libs/errors/errors.h"
#include "services/device/cpu_provider.h"

namespace aima::device {
namespace {

constexpr unsigned kTextBytes = 96;

// One figure of one GPU in NVML's own unit; nullopt if this driver or this GPU does not tell it.
template <class T, class... Args>
std::optional<T> Ask(Nvml::Result (*function)(Nvml::Device, Args...), Nvml::Device handle, auto... before) {
  T value{};
  if (function == nullptr || function(handle, before..., &value) != Nvml::kSuccess) return std::nullopt;
  return value;
}

std::string AskText(Nvml::Result (*function)(Nvml::Device, char*, unsigned), Nvml::Device handle) {
  char text[kTextBytes] = {};
  if (function == nullptr || function(handle, text, sizeof(text) - 1) != Nvml::kSuccess) return "";
  return text;
}

std::optional<double> Watts(std::optional<unsigned> milliwatts) {
  if (!milliwatts) return std::nullopt;
  return *milliwatts / 1000.0;
}

// The generation that a compute capability belongs to.
std::string ArchitectureOf(int major, int minor) {
  switch (major) {
    case 3: return "kepler";
    case 5: return "maxwell";
    case 6: return "pascal";
    case 7: return minor >= 5 ? "turing" : "volta";
    case 8: return minor >= 9 ? "ada" : "ampere";
    case 9: return "hopper";
    case 10:
    case 11:
    case 12: return "blackwell";
    default: return absl::StrCat("sm_", major, minor);
  }
}

// nvidia-5e0f9c1a of GPU-5e0f9c1a-….
std::string IdOf(const std::string& uuid, const std::string& pci_address) {
  const size_t dash = uuid.find('-');
  if (dash != std::string::npos && uuid.size() >= dash + 9) {
    return absl::StrCat("nvidia-", absl::AsciiStrToLower(uuid.substr(dash + 1, 8)));
  }
  std::string address = pci_address;
  for (char& c : address) c = c == ':' || c == '.' ? '-' : c;
  return absl::StrCat("nvidia-", address);
}

constexpr struct {
  unsigned long long bit;
  const char* name;
  bool fault;  // the others are how GPUs normally behave when idle or under full load
} kThrottleReasons[] = {
    {0x04, "power_cap", false},      {0x08, "hardware_slowdown", true}, {0x20, "thermal", true},
    {0x40, "thermal_hardware", true}, {0x80, "power_brake", true},
};

}  // namespace

NvmlProvider::NvmlProvider(const SystemFiles& files, std::string library)
    : files_(files), library_(std::move(library)) {}

bool NvmlProvider::Ready() {
  if (nvml_ != nullptr && !lost_) return true;
  nvml_.reset();
  gpus_.clear();
  lost_ = false;
  absl::StatusOr<std::unique_ptr<Nvml>> loaded = Nvml::Load(library_);
  if (!loaded.ok()) {
    problem_ = absl::IsNotFound(loaded.status()) ? "" : std::string(loaded.status().message());
    return false;
  }
  nvml_ = *std::move(loaded);
  problem_.clear();
  char version[kTextBytes] = {};
  const bool told = nvml_->SystemGetDriverVersion != nullptr &&
                    nvml_->SystemGetDriverVersion(version, sizeof(version) - 1) == Nvml::kSuccess;
  driver_ = told ? absl::StrCat("nvidia ", version) : "nvidia";
  return true;
}

std::vector<v1::Device> NvmlProvider::Scan(const std::vector<v1::Device>&) {
  std::vector<v1::Device> devices;
  if (!Ready()) return devices;
  unsigned count = 0;
  const Nvml::Result counted = nvml_->DeviceGetCount(&count);
  if (counted != Nvml::kSuccess) {
    problem_ = nvml_->Explain(counted);
    lost_ = true;
    return devices;
  }
  gpus_.clear();
  for (unsigned index = 0; index < count; ++index) {
    if (std::optional<Gpu> gpu = Describe(index)) {
      devices.push_back(gpu->device);
      gpus_.push_back(*std::move(gpu));
    }
  }
  return devices;
}

std::optional<NvmlProvider::Gpu> NvmlProvider::Describe(unsigned index) {
  Gpu gpu;
  if (nvml_->DeviceGetHandleByIndex(index, &gpu.handle) != Nvml::kSuccess) {
    lost_ = true;
    return std::nullopt;
  }
  v1::Device& device = gpu.device;
  device.set_type(v1::DEVICE_TYPE_GPU);
  device.set_vendor("NVIDIA");
  device.set_name(AskText(nvml_->DeviceGetName, gpu.handle));
  device.set_uuid(AskText(nvml_->DeviceGetUuid, gpu.handle));
  device.set_driver(driver_);
  if (const auto pci = Ask<Nvml::PciInfo>(nvml_->DeviceGetPciInfo, gpu.handle)) {
    device.set_pci_address(absl::StrFormat("%04x:%02x:%02x.0", pci->domain, pci->bus, pci->device));
    const auto node = files_.ReadInt(absl::StrCat("/sys/bus/pci/devices/", device.pci_address(), "/numa_node"));
    if (node && *node >= 0) device.set_numa_node(static_cast<int32_t>(*node));
  }
  device.set_id(IdOf(device.uuid(), device.pci_address()));
  *device.mutable_memory() = ReadMemory(gpu.handle);
  DescribeAbilities(gpu);
  DescribePower(gpu);
  if (device.power_limit().settable()) device.add_capabilities("power_limit");
  const auto threshold = [&](unsigned kind) {
    return Ask<unsigned>(nvml_->DeviceGetTemperatureThreshold, gpu.handle, kind);
  };
  const std::optional<unsigned> slowdown = threshold(Nvml::kThresholdSlowdown);
  const std::optional<unsigned> shutdown = threshold(Nvml::kThresholdShutdown);
  if (slowdown && *slowdown > 50) {
    gpu.temperature_warning = *slowdown - 3;
    gpu.temperature_critical = shutdown && *shutdown > *slowdown ? *shutdown - 1 : *slowdown + 3;
  }
  return gpu;
}

void NvmlProvider::DescribeAbilities(Gpu& gpu) {
  v1::Device& device = gpu.device;
  device.add_capabilities("cuda");
  int major = 0;
  int minor = 0;
  if (nvml_->DeviceGetCudaComputeCapability != nullptr &&
      nvml_->DeviceGetCudaComputeCapability(gpu.handle, &major, &minor) == Nvml::kSuccess) {
    device.set_compute_capability(absl::StrCat(major, ".", minor));
    device.set_architecture(ArchitectureOf(major, minor));
    const int sm = 10 * major + minor;
    if (sm >= 53 && sm != 61) device.add_capabilities("fp16");
    if (sm >= 72) device.add_capabilities("int8");
    if (sm >= 80) device.add_capabilities("bf16");
    if (sm >= 89) device.add_capabilities("fp8");
    if (sm >= 100) device.add_capabilities("fp4");
  }
  unsigned current = 0;
  unsigned pending = 0;
  const bool mig = nvml_->DeviceGetMigMode != nullptr &&
                   nvml_->DeviceGetMigMode(gpu.handle, &current, &pending) == Nvml::kSuccess;
  if (mig) device.add_capabilities(current != 0 ? "mig_enabled" : "mig");
}

void NvmlProvider::DescribePower(Gpu& gpu) {
  v1::PowerLimit limit;
  const std::optional<double> current = Watts(Ask<unsigned>(nvml_->DeviceGetPowerLimit, gpu.handle));
  if (!current) return;
  limit.set_current_watts(*current);
  unsigned min = 0;
  unsigned max = 0;
  if (nvml_->DeviceGetPowerLimitConstraints != nullptr &&
      nvml_->DeviceGetPowerLimitConstraints(gpu.handle, &min, &max) == Nvml::kSuccess) {
    limit.set_min_watts(min / 1000.0);
    limit.set_max_watts(max / 1000.0);
    limit.set_settable(max > min && nvml_->DeviceSetPowerLimit != nullptr);
  }
  if (const auto normal = Watts(Ask<unsigned>(nvml_->DeviceGetPowerDefaultLimit, gpu.handle))) {
    limit.set_default_watts(*normal);
  }
  *gpu.device.mutable_power_limit() = std::move(limit);
}

v1::Memory NvmlProvider::ReadMemory(Nvml::Device handle) {
  v1::Memory memory;
  Nvml::Memory told = {};
  const Nvml::Result result =
      nvml_->DeviceGetMemoryInfo != nullptr ? nvml_->DeviceGetMemoryInfo(handle, &told) : Nvml::kNotSupported;
  if (result == Nvml::kNotSupported) {
    // GB10 and its kind have no memory of their own, and NVML says so by not telling.
    memory = ReadSystemMemory(files_);
    memory.set_unified(true);
    return memory;
  }
  if (result != Nvml::kSuccess) return memory;
  memory.set_total(static_cast<int64_t>(told.total));
  memory.set_used(static_cast<int64_t>(told.used));
  memory.set_available(static_cast<int64_t>(told.free));
  return memory;
}

Reading NvmlProvider::Read(const std::string& device_id) {
  Reading reading;
  Gpu* gpu = Find(device_id);
  unsigned celsius = 0;
  const Nvml::Result result = gpu == nullptr || nvml_->DeviceGetTemperature == nullptr
                                  ? Nvml::kGpuIsLost
                                  : nvml_->DeviceGetTemperature(gpu->handle, Nvml::kTemperatureGpu, &celsius);
  if (result != Nvml::kSuccess && result != Nvml::kNotSupported) {
    lost_ = true;
    if (gpu != nullptr) reading.memory = gpu->device.memory();
    reading.faults.push_back({"device_lost", v1::HEALTH_STATUS_CRITICAL,
                              absl::StrCat("the GPU does not answer: ",
                                           nvml_ != nullptr ? nvml_->Explain(result) : problem_,
                                           "; look for Xid messages in the kernel log, and restart the machine")});
    return reading;
  }
  if (result == Nvml::kSuccess) reading.temperature = celsius;
  reading.temperature_warning = gpu->temperature_warning;
  reading.temperature_critical = gpu->temperature_critical;
  if (const auto busy = Ask<Nvml::Utilization>(nvml_->DeviceGetUtilizationRates, gpu->handle)) {
    reading.utilization = busy->gpu;
  }
  reading.power = Watts(Ask<unsigned>(nvml_->DeviceGetPowerUsage, gpu->handle));
  reading.power_limit = Watts(Ask<unsigned>(nvml_->DeviceGetPowerLimit, gpu->handle));
  reading.frequency_mhz = Ask<unsigned>(nvml_->DeviceGetClockInfo, gpu->handle, Nvml::kClockSm);
  reading.fan = Ask<unsigned>(nvml_->DeviceGetFanSpeed, gpu->handle);
  reading.memory = ReadMemory(gpu->handle);
  ReadThrottling(*gpu, reading);
  ReadFaults(*gpu, reading);
  return reading;
}

void NvmlProvider::ReadThrottling(const Gpu& gpu, Reading& reading) {
  const auto reasons = Ask<unsigned long long>(nvml_->DeviceGetThrottleReasons, gpu.handle);
  bool fault = false;
  for (const auto& reason : kThrottleReasons) {
    if (!reasons || (*reasons & reason.bit) == 0) continue;
    reading.throttle_reasons.push_back(reason.name);
    fault = fault || reason.fault;
  }
  if (!fault) return;
  reading.faults.push_back({"throttled", v1::HEALTH_STATUS_WARNING,
                            "the GPU is slowed down by heat or by its power supply; improve cooling or lower its "
                            "power limit"});
}

void NvmlProvider::ReadFaults(const Gpu& gpu, Reading& reading) {
  const auto errors = Ask<unsigned long long>(nvml_->DeviceGetTotalEccErrors, gpu.handle,
                                              Nvml::kMemoryErrorUncorrected, Nvml::kCounterVolatile);
  if (errors && *errors > 0) {
    reading.faults.push_back({"ecc_errors", v1::HEALTH_STATUS_CRITICAL,
                              absl::StrCat("the GPU's memory had ", *errors,
                                           " uncorrectable errors since the driver was loaded; results may be wrong: "
                                           "reset the GPU"),
                              "ecc_errors_uncorrected", static_cast<double>(*errors), 1});
  }
  unsigned corrected = 0;
  unsigned uncorrected = 0;
  unsigned pending = 0;
  unsigned failed = 0;
  const bool told = nvml_->DeviceGetRemappedRows != nullptr &&
                    nvml_->DeviceGetRemappedRows(gpu.handle, &corrected, &uncorrected, &pending, &failed) ==
                        Nvml::kSuccess;
  if (!told || (pending == 0 && failed == 0)) return;
  reading.faults.push_back({"memory_failing", failed != 0 ? v1::HEALTH_STATUS_CRITICAL : v1::HEALTH_STATUS_WARNING,
                            failed != 0 ? "the GPU cannot replace a broken memory row any more: have it exchanged"
                                        : "the GPU waits for a reset to replace a broken memory row"});
}

NvmlProvider::Gpu* NvmlProvider::Find(const std::string& device_id) {
  if (nvml_ == nullptr) return nullptr;
  for (Gpu& gpu : gpus_) {
    if (gpu.device.id() == device_id) return &gpu;
  }
  return nullptr;
}

absl::StatusOr<double> NvmlProvider::SetPowerLimit(const std::string& device_id, double watts) {
  Gpu* gpu = Find(device_id);
  if (gpu == nullptr) {
    return Error(v1::DEVICE_UNAVAILABLE, absl::StrCat("device '", device_id, "' does not answer"),
                 {{"device_id", device_id}});
  }
  if (!gpu->device.power_limit().settable()) {
    return Error(v1::POWER_LIMIT_UNSUPPORTED,
                 absl::StrCat("'", gpu->device.name(), "' (", device_id, ") offers no power limit"),
                 {{"device_id", device_id}});
  }
  RETURN_IF_ERROR(CheckPowerRange(gpu->device, watts));
  const Nvml::Result result =
      nvml_->DeviceSetPowerLimit(gpu->handle, static_cast<unsigned>(std::llround(watts * 1000)));
  if (result != Nvml::kSuccess) {
    const std::string message =
        absl::StrCat("the power limit of '", device_id, "' was not set: ", nvml_->Explain(result));
    if (result == Nvml::kNoPermission) return Error(v1::POWER_LIMIT_DENIED, message, {{"device_id", device_id}});
    if (result == Nvml::kNotSupported) return Error(v1::POWER_LIMIT_UNSUPPORTED, message, {{"device_id", device_id}});
    if (result == Nvml::kGpuIsLost) return Error(v1::DEVICE_UNAVAILABLE, message, {{"device_id", device_id}});
    return Error(v1::POWER_LIMIT_NOT_APPLIED, message, {{"device_id", device_id}});
  }
  DescribePower(*gpu);
  return gpu->device.power_limit().current_watts();
}

}  // namespace aima::device
