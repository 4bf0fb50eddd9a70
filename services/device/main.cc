// aima-device: the hardware of this machine.
#include "libs/base/node_id.h"
#include "libs/base/status_macros.h"
#include "libs/runtime/host.h"
#include "services/device/cpu_identity.h"
#include "services/device/cpu_provider.h"
#include "services/device/device_units.h"
#include "services/device/device_watch.h"
#include "services/device/drm_provider.h"
#include "services/device/nvml_provider.h"

namespace aima::device {
namespace {

std::vector<std::unique_ptr<DeviceProvider>> Providers(const SystemFiles& files, const std::string& data_dir) {
  auto nvml = std::make_unique<NvmlProvider>(files);
  auto drm = std::make_unique<DrmProvider>(files, [&nvml = *nvml] { return nvml.problem(); });
  std::vector<std::unique_ptr<DeviceProvider>> providers;
  providers.push_back(std::move(nvml));
  providers.push_back(std::move(drm));
  providers.push_back(std::make_unique<CpuProvider>(files, [data_dir] { return ReadDisk(data_dir); }));
  return providers;
}

Task<absl::Status> Wire(runtime::Host& host) {
  CO_ASSIGN_OR_RETURN(std::string node_id, LoadNodeId(host.data_dir(), host.config().general().device_id()));
  const auto& files = host.Own<SystemFiles>();
  auto& monitor = host.Own<DeviceMonitor>(Providers(files, host.data_dir()));
  auto& store = host.Own<DeviceStore>(host.Pg(), host.Outbox(), std::move(node_id));
  auto& watch = host.Own<DeviceWatch>(monitor, store, host.Outbox());
  v1::Host machine = ReadHost(files);
  if (!host.config().general().hostname().empty()) machine.set_hostname(host.config().general().hostname());
  auto& units = host.Own<DeviceUnits>(monitor, store, std::move(machine));
  co_await watch.Start();
  host.Spawn(watch.Run(host.BackgroundCall("watch")));
  host.Serve("aima.device.v1.DeviceService")
      .Bind<&DeviceUnits::Detect>(units)
      .Bind<&DeviceUnits::SetPowerLimit>(units)
      .Bind<&DeviceUnits::Info>(units)
      .Bind<&DeviceUnits::Metrics>(units)
      .Bind<&DeviceUnits::Health>(units);
  co_return absl::OkStatus();
}

}  // namespace
}  // namespace aima::device

int main(int argc, char** argv) { return aima::runtime::Main(argc, argv, "device", aima::device::Wire); }
