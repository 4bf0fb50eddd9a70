#include "services/device/nvml_provider.h"

#include <dlfcn.h>
#include <gmock/gmock.h>

#include "libs/testing/status_matchers.h"
#include "services/device/fake_nvml.h"
#include "services/device/recorded_tree.h"

namespace aima::device {
namespace {

using ::aima::testing::FailsWith;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::DoubleNear;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Optional;

// Loads the library of fake_nvml.cc and keeps it loaded, so that its state outlives what the provider does.
class NvmlProviderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    handle_ = dlopen(FAKE_NVML, RTLD_NOW);
    ASSERT_NE(handle_, nullptr) << dlerror();
    const auto state = reinterpret_cast<FakeNvml* (*)()>(dlsym(handle_, kFakeNvmlState));
    ASSERT_NE(state, nullptr);
    nvml_ = state();
    *nvml_ = FakeNvml();
  }
  void TearDown() override { dlclose(handle_); }

  FakeGpu& gpu() { return nvml_->gpus[0]; }

  RecordedTree tree_{"gb10"};
  void* handle_ = nullptr;
  FakeNvml* nvml_ = nullptr;
};

TEST_F(NvmlProviderTest, DescribesAGpu) {
  NvmlProvider provider(tree_.files(), FAKE_NVML);
  const std::vector<v1::Device> devices = provider.Scan({});
  ASSERT_EQ(devices.size(), 1u);
  const v1::Device& device = devices[0];
  EXPECT_EQ(device.id(), "nvidia-5e0f9c1a");
  EXPECT_EQ(device.name(), "NVIDIA H100 80GB HBM3");
  EXPECT_EQ(device.vendor(), "NVIDIA");
  EXPECT_EQ(device.type(), v1::DEVICE_TYPE_GPU);
  EXPECT_EQ(device.architecture(), "hopper");
  EXPECT_EQ(device.compute_capability(), "9.0");
  EXPECT_EQ(device.driver(), "nvidia 580.95.05");
  EXPECT_EQ(device.pci_address(), "0000:01:00.0");
  EXPECT_THAT(device.capabilities(), ElementsAre("cuda", "fp16", "int8", "bf16", "fp8", "power_limit"));
  EXPECT_EQ(device.memory().total(), 85899345920);
  EXPECT_EQ(device.memory().used(), 1073741824);
  EXPECT_FALSE(device.memory().unified());
  EXPECT_DOUBLE_EQ(device.power_limit().min_watts(), 200);
  EXPECT_DOUBLE_EQ(device.power_limit().max_watts(), 700);
  EXPECT_TRUE(device.power_limit().settable());
}

TEST_F(NvmlProviderTest, MeasuresAnIdleGpuAsWell) {
  NvmlProvider provider(tree_.files(), FAKE_NVML);
  provider.Scan({});
  const Reading reading = provider.Read("nvidia-5e0f9c1a");
  EXPECT_THAT(reading.utilization, Optional(42.0));
  EXPECT_THAT(reading.temperature, Optional(45.0));
  EXPECT_THAT(reading.power, Optional(DoubleNear(120.5, 1e-9)));
  EXPECT_THAT(reading.power_limit, Optional(700.0));
  EXPECT_THAT(reading.frequency_mhz, Optional(1980.0));
  EXPECT_FALSE(reading.fan.has_value());
  EXPECT_DOUBLE_EQ(reading.temperature_warning, 87);
  EXPECT_DOUBLE_EQ(reading.temperature_critical, 94);
  EXPECT_THAT(reading.throttle_reasons, IsEmpty());
  EXPECT_THAT(reading.faults, IsEmpty());
}

TEST_F(NvmlProviderTest, AGpuWithoutMemoryOfItsOwnHasTheSystemsMemory) {
  gpu().name = "NVIDIA GB10";
  gpu().pci_domain = 0xf;
  gpu().memory_answer = Nvml::kNotSupported;
  gpu().capability_major = 12;
  gpu().capability_minor = 1;
  gpu().has_power_limit = false;
  NvmlProvider provider(tree_.files(), FAKE_NVML);
  const std::vector<v1::Device> devices = provider.Scan({});
  ASSERT_EQ(devices.size(), 1u);
  EXPECT_EQ(devices[0].memory().total(), 125829120 * int64_t{1024});
  EXPECT_EQ(devices[0].memory().available(), 104857600 * int64_t{1024});
  EXPECT_TRUE(devices[0].memory().unified());
  EXPECT_EQ(devices[0].architecture(), "blackwell");
  EXPECT_EQ(devices[0].pci_address(), "000f:01:00.0");
  EXPECT_EQ(devices[0].numa_node(), 0);
  EXPECT_FALSE(devices[0].has_power_limit());
  EXPECT_TRUE(provider.Read(devices[0].id()).memory.unified());
  EXPECT_THAT(provider.SetPowerLimit(devices[0].id(), 100), FailsWith(v1::POWER_LIMIT_UNSUPPORTED, "GB10"));
}

TEST_F(NvmlProviderTest, MemoryThatCannotBeReadIsUnknownAndNotTheSystems) {
  gpu().memory_answer = Nvml::kNoPermission;
  NvmlProvider provider(tree_.files(), FAKE_NVML);
  const std::vector<v1::Device> devices = provider.Scan({});
  ASSERT_EQ(devices.size(), 1u);
  EXPECT_EQ(devices[0].memory().total(), 0);
  EXPECT_FALSE(devices[0].memory().unified());
}

TEST_F(NvmlProviderTest, SetsAPowerLimitWithinItsRange) {
  NvmlProvider provider(tree_.files(), FAKE_NVML);
  provider.Scan({});
  EXPECT_THAT(provider.SetPowerLimit("nvidia-5e0f9c1a", 199), FailsWith(v1::POWER_LIMIT_OUT_OF_RANGE, "200"));
  EXPECT_THAT(provider.SetPowerLimit("nvidia-5e0f9c1a", 701), FailsWith(v1::POWER_LIMIT_OUT_OF_RANGE, "700"));
  EXPECT_EQ(gpu().limit_mw, 700000u);
  const absl::StatusOr<double> applied = provider.SetPowerLimit("nvidia-5e0f9c1a", 350.5);
  ASSERT_THAT(applied, aima::testing::IsOk());
  EXPECT_DOUBLE_EQ(*applied, 350.5);
  EXPECT_EQ(gpu().limit_mw, 350500u);
}

TEST_F(NvmlProviderTest, SaysWhyAPowerLimitWasNotSet) {
  NvmlProvider provider(tree_.files(), FAKE_NVML);
  provider.Scan({});
  gpu().set_limit_answer = 4;
  EXPECT_THAT(provider.SetPowerLimit("nvidia-5e0f9c1a", 300), FailsWith(v1::POWER_LIMIT_DENIED, "Permission"));
  gpu().set_limit_answer = 999;
  EXPECT_THAT(provider.SetPowerLimit("nvidia-5e0f9c1a", 300), FailsWith(v1::POWER_LIMIT_NOT_APPLIED, "999"));
  gpu().set_limit_answer = 15;
  EXPECT_THAT(provider.SetPowerLimit("nvidia-5e0f9c1a", 300), FailsWith(v1::DEVICE_UNAVAILABLE, "lost"));
}

TEST_F(NvmlProviderTest, ReportsBrokenMemory) {
  NvmlProvider provider(tree_.files(), FAKE_NVML);
  provider.Scan({});
  gpu().ecc_uncorrected = 2;
  gpu().remap_pending = 1;
  const Reading reading = provider.Read("nvidia-5e0f9c1a");
  EXPECT_THAT(reading.faults, ElementsAre(AllOf(Field(&Fault::code, "ecc_errors"), Field(&Fault::value, Optional(2.0)),
                                                Field(&Fault::severity, v1::HEALTH_STATUS_CRITICAL)),
                                          AllOf(Field(&Fault::code, "memory_failing"),
                                                Field(&Fault::severity, v1::HEALTH_STATUS_WARNING))));
}

TEST_F(NvmlProviderTest, APowerCapUnderLoadIsNoFaultButHeatIs) {
  NvmlProvider provider(tree_.files(), FAKE_NVML);
  provider.Scan({});
  gpu().throttle_reasons = 0x4;
  const Reading capped = provider.Read("nvidia-5e0f9c1a");
  EXPECT_THAT(capped.throttle_reasons, ElementsAre("power_cap"));
  EXPECT_THAT(capped.faults, IsEmpty());
  gpu().throttle_reasons = 0x20 | 0x8;
  const Reading hot = provider.Read("nvidia-5e0f9c1a");
  EXPECT_THAT(hot.throttle_reasons, ElementsAre("hardware_slowdown", "thermal"));
  EXPECT_THAT(hot.faults, ElementsAre(Field(&Fault::code, "throttled")));
}

TEST_F(NvmlProviderTest, ALostGpuIsReportedAndFoundAgainWhenItIsBack) {
  NvmlProvider provider(tree_.files(), FAKE_NVML);
  provider.Scan({});
  gpu().answer = 15;
  const Reading lost = provider.Read("nvidia-5e0f9c1a");
  ASSERT_EQ(lost.faults.size(), 1u);
  EXPECT_EQ(lost.faults[0].code, "device_lost");
  EXPECT_EQ(lost.faults[0].severity, v1::HEALTH_STATUS_CRITICAL);
  EXPECT_THAT(lost.faults[0].message, HasSubstr("GPU is lost"));
  EXPECT_EQ(lost.memory.total(), 85899345920) << "what it was stays known";

  gpu().answer = 0;
  EXPECT_EQ(provider.Scan({}).size(), 1u);
  EXPECT_EQ(nvml_->inits, 2) << "NVML must be started anew for a GPU to come back";
  EXPECT_THAT(provider.Read("nvidia-5e0f9c1a").faults, IsEmpty());
}

TEST_F(NvmlProviderTest, TellsWhyALibraryThatIsThereCannotWork) {
  nvml_->init_answer = 18;
  NvmlProvider provider(tree_.files(), FAKE_NVML);
  EXPECT_THAT(provider.Scan({}), IsEmpty());
  EXPECT_THAT(provider.problem(), HasSubstr("mismatch"));
  nvml_->init_answer = 0;
  EXPECT_EQ(provider.Scan({}).size(), 1u);
  EXPECT_EQ(provider.problem(), "");
}

TEST_F(NvmlProviderTest, AMachineWithoutNvmlIsANormalMachine) {
  NvmlProvider provider(tree_.files(), "libno-such-library.so.1");
  EXPECT_THAT(provider.Scan({}), IsEmpty());
  EXPECT_EQ(provider.problem(), "");
}

TEST(RealNvml, KnowsTheGpusOfThisMachine) {
  const SystemFiles files;
  NvmlProvider provider(files);
  const std::vector<v1::Device> devices = provider.Scan({});
  if (devices.empty()) GTEST_SKIP() << "no NVIDIA GPU with NVML in this machine " << provider.problem();
  for (const v1::Device& device : devices) {
    EXPECT_THAT(device.name(), ::testing::Not(IsEmpty()));
    EXPECT_THAT(device.capabilities(), Contains("cuda"));
    EXPECT_GT(device.memory().total(), 0);
    const Reading reading = provider.Read(device.id());
    EXPECT_TRUE(reading.temperature.has_value());
    EXPECT_THAT(reading.faults, IsEmpty());
    EXPECT_LE(reading.memory.used(), reading.memory.total());
    printf("%s %s %s %.0f W %.0f C\n%s\n", device.id().c_str(), device.name().c_str(), device.driver().c_str(),
           reading.power.value_or(-1), reading.temperature.value_or(-1), device.ShortDebugString().c_str());
  }
}

}  // namespace
}  // namespace aima::device
