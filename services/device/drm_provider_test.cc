#include "services/device/drm_provider.h"

#include <gmock/gmock.h>

#include "libs/testing/status_matchers.h"
#include "services/device/recorded_tree.h"

namespace aima::device {
namespace {

using ::aima::testing::FailsWith;
using ::testing::Contains;
using ::testing::DoubleNear;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Optional;

constexpr char kRadeon[] = "amd-0000-0c-00-0";
constexpr char kRadeonPath[] = "/sys/bus/pci/devices/0000:0c:00.0";

class DrmProviderTest : public ::testing::Test {
 protected:
  v1::Device Find(const std::string& id) {
    for (const v1::Device& device : provider_.Scan({})) {
      if (device.id() == id) return device;
    }
    ADD_FAILURE() << "no device " << id;
    return {};
  }

  RecordedTree tree_{"amd_workstation"};
  std::string nvml_problem_;
  DrmProvider provider_{tree_.files(), [this] { return nvml_problem_; }};
};

TEST_F(DrmProviderTest, DescribesARadeon) {
  const v1::Device device = Find(kRadeon);
  EXPECT_EQ(device.name(), "Navi 31 [Radeon RX 7900 XT/7900 XTX/7900 GRE/7900M]");
  EXPECT_EQ(device.vendor(), "AMD");
  EXPECT_EQ(device.type(), v1::DEVICE_TYPE_GPU);
  EXPECT_EQ(device.architecture(), "gfx1100");
  EXPECT_EQ(device.driver(), "amdgpu");
  EXPECT_EQ(device.uuid(), "9ad24f1a3bd1c6f2");
  EXPECT_THAT(device.capabilities(), Contains("rocm"));
  EXPECT_THAT(device.capabilities(), Contains("power_limit"));
  EXPECT_EQ(device.memory().total(), 25753026560);
  EXPECT_EQ(device.memory().available(), 25753026560 - 5150605312);
  EXPECT_FALSE(device.has_numa_node());
  EXPECT_DOUBLE_EQ(device.power_limit().default_watts(), 339);
  EXPECT_DOUBLE_EQ(device.power_limit().max_watts(), 389);
}

TEST_F(DrmProviderTest, MeasuresARadeonAtItsHottestSpot) {
  provider_.Scan({});
  const Reading reading = provider_.Read(kRadeon);
  EXPECT_THAT(reading.utilization, Optional(37.0));
  EXPECT_THAT(reading.temperature, Optional(DoubleNear(71, 1e-9)));
  EXPECT_DOUBLE_EQ(reading.temperature_warning, 105);
  EXPECT_DOUBLE_EQ(reading.temperature_critical, 113);
  EXPECT_THAT(reading.power, Optional(DoubleNear(184, 1e-9)));
  EXPECT_THAT(reading.power_limit, Optional(DoubleNear(339, 1e-9)));
  EXPECT_THAT(reading.frequency_mhz, Optional(DoubleNear(2304, 1e-9)));
  EXPECT_THAT(reading.fan, Optional(DoubleNear(20, 1e-9)));
  EXPECT_EQ(reading.memory.used(), 5150605312);
  EXPECT_THAT(reading.faults, IsEmpty());
}

TEST_F(DrmProviderTest, SetsThePowerCapOfARadeon) {
  provider_.Scan({});
  EXPECT_THAT(provider_.SetPowerLimit(kRadeon, 400), FailsWith(v1::POWER_LIMIT_OUT_OF_RANGE, "389"));
  const absl::StatusOr<double> applied = provider_.SetPowerLimit(kRadeon, 250);
  ASSERT_THAT(applied, aima::testing::IsOk());
  EXPECT_DOUBLE_EQ(*applied, 250);
  EXPECT_EQ(tree_.files().ReadInt(std::string(kRadeonPath) + "/hwmon/hwmon3/power1_cap"), 250000000);
}

TEST_F(DrmProviderTest, ReportsADeviceThatLeftItsBus) {
  provider_.Scan({});
  tree_.Remove(kRadeonPath);
  const Reading reading = provider_.Read(kRadeon);
  ASSERT_EQ(reading.faults.size(), 1u);
  EXPECT_EQ(reading.faults[0].code, "device_lost");
  EXPECT_EQ(reading.memory.total(), 25753026560);
  EXPECT_THAT(provider_.SetPowerLimit(kRadeon, 250), FailsWith(v1::DEVICE_UNAVAILABLE, kRadeon));
}

TEST_F(DrmProviderTest, DoesNotWakeASleepingGpu) {
  const v1::Device device = Find("intel-0000-0d-00-0");
  EXPECT_EQ(device.driver(), "xe");
  EXPECT_FALSE(device.power_limit().settable()) << "its range is not told";
  const Reading reading = provider_.Read("intel-0000-0d-00-0");
  EXPECT_THAT(reading.utilization, Optional(0.0));
  EXPECT_FALSE(reading.power.has_value());
  EXPECT_FALSE(reading.power_limit.has_value());
  tree_.Set("/sys/bus/pci/devices/0000:0d:00.0/power/runtime_status", "active");
  provider_.Read("intel-0000-0d-00-0");
  tree_.Set("/sys/bus/pci/devices/0000:0d:00.0/hwmon/hwmon4/energy1_input", "2000000");
  EXPECT_THAT(provider_.Read("intel-0000-0d-00-0").power, Optional(::testing::Gt(0.0)));
}

TEST_F(DrmProviderTest, AnNvidiaGpuWithoutItsDriverIsShownWithTheReason) {
  const v1::Device device = Find("nvidia-0000-0e-00-0");
  EXPECT_EQ(device.name(), "AD102 [GeForce RTX 4090]");
  EXPECT_EQ(device.driver(), "");
  EXPECT_THAT(provider_.Read(device.id()).faults[0].message, HasSubstr("no driver is loaded"));
  nvml_problem_ = "NVML error 18 (Driver/library version mismatch)";
  const Reading reading = provider_.Read(device.id());
  EXPECT_EQ(reading.faults[0].code, "driver_missing");
  EXPECT_THAT(reading.faults[0].message, HasSubstr("version mismatch"));
}

TEST_F(DrmProviderTest, LeavesToNvmlWhatNvmlTellsOf) {
  v1::Device known;
  known.set_pci_address("0000:0e:00.0");
  for (const v1::Device& device : provider_.Scan({known})) EXPECT_NE(device.pci_address(), "0000:0e:00.0");
}

TEST_F(DrmProviderTest, NamesADeviceByNumbersWhereNoListOfNamesIsInstalled) {
  tree_.Remove("/usr/share/misc/pci.ids");
  EXPECT_EQ(Find(kRadeon).name(), "AMD device 744c");
}

TEST(DrmProvider, IgnoresTheDisplayOfAServerBoard) {
  const RecordedTree tree("rack_server");
  DrmProvider provider(tree.files(), [] { return std::string(); });
  EXPECT_THAT(provider.Scan({}), IsEmpty());
}

TEST(DrmProvider, FindsTheGpuOfASystemOnChip) {
  RecordedTree tree("virtual_machine");
  tree.Set("/sys/class/drm/card0/device/uevent", "DRIVER=panthor\nOF_NAME=gpu");
  tree.Set("/sys/class/drm/card0-HDMI-A-1/status", "connected");
  DrmProvider provider(tree.files(), [] { return std::string(); });
  const std::vector<v1::Device> devices = provider.Scan({});
  ASSERT_EQ(devices.size(), 1u);
  EXPECT_EQ(devices[0].id(), "panthor-card0");
  EXPECT_EQ(devices[0].name(), "Arm Mali");
  EXPECT_TRUE(devices[0].memory().unified());
  EXPECT_THAT(provider.Read("panthor-card0").faults, IsEmpty());
}

TEST(DrmProvider, FindsProcessingAccelerators) {
  RecordedTree tree("virtual_machine");
  tree.Set("/sys/bus/pci/devices/0000:00:0b.0/class", "0x120000");
  tree.Set("/sys/bus/pci/devices/0000:00:0b.0/vendor", "0x8086");
  tree.Set("/sys/bus/pci/devices/0000:00:0b.0/device", "0x7d1d");
  DrmProvider provider(tree.files(), [] { return std::string(); });
  const std::vector<v1::Device> devices = provider.Scan({});
  ASSERT_EQ(devices.size(), 1u);
  EXPECT_EQ(devices[0].type(), v1::DEVICE_TYPE_NPU);
  EXPECT_TRUE(devices[0].memory().unified());
}

}  // namespace
}  // namespace aima::device
