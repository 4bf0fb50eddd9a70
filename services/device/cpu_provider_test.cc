#include "services/device/cpu_provider.h"

#include <absl/time/clock.h>
#include <gmock/gmock.h>

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "libs/testing/status_matchers.h"
#include "services/device/cpu_identity.h"
#include "services/device/recorded_tree.h"

namespace aima::device {
namespace {

using ::aima::testing::FailsWith;
using ::testing::Contains;
using ::testing::DoubleNear;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::Optional;

v1::Device ScanOne(CpuProvider& provider) {
  const std::vector<v1::Device> devices = provider.Scan({});
  EXPECT_EQ(devices.size(), 1u);
  return devices.empty() ? v1::Device() : devices[0];
}

TEST(CpuProvider, DescribesARecordedVirtualMachineWithoutSensorsOrPowerLimits) {
  const RecordedTree tree("virtual_machine");
  CpuProvider provider(tree.files(), nullptr);
  const v1::Device device = ScanOne(provider);
  EXPECT_EQ(device.id(), "cpu");
  EXPECT_EQ(device.name(), "Intel(R) Xeon(R) Processor");
  EXPECT_EQ(device.vendor(), "Intel");
  EXPECT_EQ(device.architecture(), "x86_64");
  EXPECT_THAT(device.capabilities(), Contains("amx_int8"));
  EXPECT_THAT(device.capabilities(), Not(Contains("power_limit")));
  EXPECT_EQ(device.memory().total(), 24684112 * int64_t{1024});
  EXPECT_EQ(device.memory().available(), 24102672 * int64_t{1024});
  EXPECT_EQ(device.memory().used(), device.memory().total() - device.memory().available());
  EXPECT_EQ(device.topology().packages(), 1);
  EXPECT_EQ(device.topology().cores(), 2);
  EXPECT_EQ(device.topology().threads(), 2);
  EXPECT_FALSE(device.has_power_limit());

  const Reading reading = provider.Read("cpu");
  EXPECT_FALSE(reading.temperature.has_value());
  EXPECT_FALSE(reading.power.has_value());
  EXPECT_TRUE(reading.faults.empty());
  EXPECT_THAT(provider.SetPowerLimit("cpu", 100), FailsWith(v1::POWER_LIMIT_UNSUPPORTED, "RAPL"));

  const v1::Host host = ReadHost(tree.files());
  EXPECT_EQ(host.hostname(), "vm");
  EXPECT_EQ(host.os(), "Debian GNU/Linux 12 (bookworm)");
  EXPECT_EQ(host.model(), "");
}

TEST(CpuProvider, UtilizationIsTheBusyShareSinceTheLastReading) {
  RecordedTree tree("virtual_machine");
  CpuProvider provider(tree.files(), nullptr);
  tree.Set("/proc/stat", "cpu  1000 0 1000 8000 0 0 0 0 500 0");
  EXPECT_FALSE(provider.Read("cpu").utilization.has_value()) << "one reading is no stretch of time";
  // 30 user, 5 irq and 15 stolen of 200 ticks; guest time is in user already.
  tree.Set("/proc/stat", "cpu  1030 0 1000 8140 10 5 0 15 600 0");
  EXPECT_THAT(provider.Read("cpu").utilization, Optional(DoubleNear(25, 1e-9)));
  EXPECT_FALSE(provider.Read("cpu").utilization.has_value()) << "no tick has passed";
  tree.Set("/proc/stat", "garbage");
  EXPECT_FALSE(provider.Read("cpu").utilization.has_value());
}

TEST(CpuProvider, CountsSocketsCachesAndClocksOfAServer) {
  const RecordedTree tree("rack_server");
  CpuProvider provider(tree.files(), nullptr);
  const v1::Device device = ScanOne(provider);
  EXPECT_EQ(device.topology().packages(), 2);
  EXPECT_EQ(device.topology().cores(), 4);
  EXPECT_EQ(device.topology().numa_nodes(), 2);
  const auto& caches = device.topology().caches();
  const auto l3 = std::find_if(caches.begin(), caches.end(), [](const v1::Cache& c) { return c.level() == 3; });
  ASSERT_NE(l3, caches.end());
  EXPECT_EQ(l3->count(), 2);
  EXPECT_EQ(l3->size_bytes(), 61440 * 1024);

  const Reading reading = provider.Read("cpu");
  EXPECT_THAT(reading.frequency_mhz, Optional(DoubleNear(2400, 1e-9)));
  // The hottest package: not single cores, not the disk's sensor.
  EXPECT_THAT(reading.temperature, Optional(DoubleNear(61, 1e-9)));
  EXPECT_DOUBLE_EQ(reading.temperature_warning, 92);
  EXPECT_EQ(ReadHost(tree.files()).model(), "Example Corp R2000");
}

TEST(CpuProvider, PowerIsTheEnergyOfAllPackagesOverTimeAndSurvivesTheCountersWrap) {
  RecordedTree tree("rack_server");
  Rapl rapl(tree.files());
  rapl.Find();
  const absl::Time start = absl::Now();
  EXPECT_FALSE(rapl.Power(start).has_value());
  // Package 0 goes from 1 J below its end to 59 J; package 1 uses 40 J.
  tree.Set("/sys/class/powercap/intel-rapl:0/energy_uj", "59000000");
  tree.Set("/sys/class/powercap/intel-rapl:1/energy_uj", "45000000");
  EXPECT_THAT(rapl.Power(start + absl::Seconds(2)), Optional(DoubleNear(50, 1e-6)));
  // Only root may read energy on most systems.
  tree.Remove("/sys/class/powercap/intel-rapl:1/energy_uj");
  EXPECT_FALSE(rapl.Power(start + absl::Seconds(4)).has_value());
}

TEST(CpuProvider, SharesAPowerLimitAmongThePackages) {
  RecordedTree tree("rack_server");
  CpuProvider provider(tree.files(), nullptr);
  const v1::Device device = ScanOne(provider);
  EXPECT_DOUBLE_EQ(device.power_limit().current_watts(), 540);
  EXPECT_DOUBLE_EQ(device.power_limit().max_watts(), 540);
  EXPECT_TRUE(device.power_limit().settable());
  EXPECT_THAT(device.capabilities(), Contains("power_limit"));

  tree.Set("/sys/class/powercap/intel-rapl:1/enabled", "0");
  const absl::StatusOr<double> applied = provider.SetPowerLimit("cpu", 300);
  ASSERT_THAT(applied, aima::testing::IsOk());
  EXPECT_DOUBLE_EQ(*applied, 300);
  for (const char* package : {"0", "1"}) {
    const std::string zone = std::string("/sys/class/powercap/intel-rapl:") + package;
    EXPECT_EQ(tree.files().ReadInt(zone + "/constraint_0_power_limit_uw"), 150000000);
    EXPECT_EQ(tree.files().ReadInt(zone + "/constraint_1_power_limit_uw"), 324000000);
    EXPECT_EQ(tree.files().ReadInt(zone + "/enabled"), 1);
  }
  EXPECT_THAT(provider.Read("cpu").power_limit, Optional(DoubleNear(300, 1e-9)));
}

TEST(CpuProvider, RefusesAPowerLimitOutOfRangeAndSaysTheRange) {
  RecordedTree tree("rack_server");
  CpuProvider provider(tree.files(), nullptr);
  ScanOne(provider);
  const absl::StatusOr<double> refused = provider.SetPowerLimit("cpu", 541);
  EXPECT_THAT(refused, FailsWith(v1::POWER_LIMIT_OUT_OF_RANGE, "540"));
  EXPECT_EQ(DetailsOf(refused.status()).metadata.at("max_watts"), "540");
  EXPECT_EQ(tree.files().ReadInt("/sys/class/powercap/intel-rapl:0/constraint_0_power_limit_uw"), 270000000);
}

TEST(CpuProvider, AFileThatCannotBeWrittenIsAClearError) {
  RecordedTree tree("rack_server");
  CpuProvider provider(tree.files(), nullptr);
  ScanOne(provider);
  // A directory in the file's place: not even root can write it.
  const std::string file = "/sys/class/powercap/intel-rapl:0/constraint_0_power_limit_uw";
  if (geteuid() != 0) {
    ASSERT_EQ(chmod(tree.files().Path(file).c_str(), 0444), 0);
    EXPECT_THAT(provider.SetPowerLimit("cpu", 300), FailsWith(v1::POWER_LIMIT_DENIED, "constraint_0_power_limit_uw"));
    return;
  }
  Rapl rapl(tree.files());
  rapl.Find();
  tree.Remove(file);
  tree.Set(file + "/x", "");
  EXPECT_THAT(rapl.SetLimit(300), FailsWith(v1::POWER_LIMIT_NOT_APPLIED, "constraint_0_power_limit_uw"));
}

TEST(CpuProvider, ReportsThrottlingWhileItHappens) {
  RecordedTree tree("rack_server");
  CpuProvider provider(tree.files(), nullptr);
  ScanOne(provider);
  EXPECT_TRUE(provider.Read("cpu").faults.empty());
  tree.Set("/sys/devices/system/cpu/cpu2/thermal_throttle/package_throttle_count", "3");
  const Reading hot = provider.Read("cpu");
  ASSERT_EQ(hot.faults.size(), 1u);
  EXPECT_EQ(hot.faults[0].code, "throttled");
  EXPECT_THAT(hot.throttle_reasons, Contains("thermal"));
  EXPECT_TRUE(provider.Read("cpu").faults.empty()) << "the count stands still again";
}

TEST(CpuProvider, TakesTheRealDieTemperatureOfARyzen) {
  const RecordedTree tree("amd_workstation");
  CpuProvider provider(tree.files(), nullptr);
  const v1::Device device = ScanOne(provider);
  EXPECT_EQ(device.vendor(), "AMD");
  EXPECT_EQ(device.topology().cores(), 2);
  EXPECT_EQ(device.topology().threads(), 4);
  EXPECT_THAT(provider.Read("cpu").temperature, Optional(DoubleNear(68, 1e-9)));
}

TEST(CpuProvider, NamesTheCoresOfAnArmMachineAndReadsItsThermalZone) {
  const RecordedTree tree("gb10");
  CpuProvider provider(tree.files(), nullptr);
  const v1::Device device = ScanOne(provider);
  EXPECT_EQ(device.name(), "2x Cortex-A725 + 2x Cortex-X925");
  EXPECT_EQ(device.vendor(), "Arm");
  EXPECT_EQ(device.architecture(), "aarch64");
  EXPECT_THAT(device.capabilities(), Contains("i8mm"));
  EXPECT_THAT(provider.Read("cpu").temperature, Optional(DoubleNear(56.5, 1e-9)));
}

TEST(CpuProvider, ReadsMemoryPressure) {
  RecordedTree tree("virtual_machine");
  CpuProvider provider(tree.files(), nullptr);
  tree.Set("/proc/pressure/memory",
           "some avg10=33.50 avg60=1.00 avg300=0.00 total=1\nfull avg10=9.00 avg60=0.00 avg300=0.00 total=0");
  EXPECT_THAT(provider.Read("cpu").memory_pressure, Optional(DoubleNear(33.5, 1e-9)));
  tree.Remove("/proc/pressure/memory");
  EXPECT_FALSE(provider.Read("cpu").memory_pressure.has_value()) << "old kernels do not tell";
}

TEST(CpuProvider, AFullDiskIsAFault) {
  const RecordedTree tree("virtual_machine");
  const int64_t gib = int64_t{1} << 30;
  CpuProvider::Disk disk{"/data", 1000 * gib, 300 * gib};
  CpuProvider provider(tree.files(), [&] { return std::optional(disk); });
  EXPECT_TRUE(provider.Read("cpu").faults.empty());
  disk.available = 30 * gib;
  EXPECT_TRUE(provider.Read("cpu").faults.empty()) << "3 % of a large disk is plenty";
  disk.available = 15 * gib;
  const Reading low = provider.Read("cpu");
  ASSERT_EQ(low.faults.size(), 1u);
  EXPECT_EQ(low.faults[0].severity, v1::HEALTH_STATUS_WARNING);
  EXPECT_THAT(low.faults[0].message, HasSubstr("/data"));
  disk.available = gib / 4;
  const Reading full = provider.Read("cpu");
  ASSERT_EQ(full.faults.size(), 1u);
  EXPECT_EQ(full.faults[0].code, "disk_full");
  EXPECT_EQ(full.faults[0].severity, v1::HEALTH_STATUS_CRITICAL);
}

TEST(CpuProvider, KnowsTheMachineThatItRunsOn) {
  const SystemFiles files;
  CpuProvider provider(files, [] { return ReadDisk("/nonexistent/deep/path"); });
  const v1::Device device = ScanOne(provider);
  EXPECT_FALSE(device.name().empty());
  EXPECT_EQ(device.topology().threads(), static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN)));
  const int64_t physical = static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE);
  EXPECT_EQ(device.memory().total(), physical);
  EXPECT_GT(device.memory().available(), 0);

  provider.Read("cpu");
  // Ticks come a hundred times a second; work until some have come.
  std::optional<double> utilization;
  const absl::Time end = absl::Now() + absl::Minutes(1);
  while (!utilization && absl::Now() < end) utilization = provider.Read("cpu").utilization;
  ASSERT_TRUE(utilization.has_value());
  EXPECT_GE(*utilization, 0);
  EXPECT_LE(*utilization, 100);
  EXPECT_FALSE(ReadHost(files).kernel().empty());
}

}  // namespace
}  // namespace aima::device
