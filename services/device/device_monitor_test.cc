#include "services/device/device_monitor.h"

#include <gmock/gmock.h>

#include <boost/asio/post.hpp>
#include <future>

#include "libs/testing/status_matchers.h"
#include "libs/testing/task.h"
#include "services/device/cpu_provider.h"
#include "services/device/fake_provider.h"
#include "services/device/recorded_tree.h"

namespace aima::device {
namespace {

// Hangs in Read, as a driver in trouble does, until it is let go.
class BlockingProvider : public FakeProvider {
 public:
  Reading Read(const std::string& device_id) override {
    reading_.set_value();
    let_go_.get_future().wait();
    return FakeProvider::Read(device_id);
  }
  std::promise<void> reading_;
  std::promise<void> let_go_;
};

template <class Provider>
std::unique_ptr<DeviceMonitor> MonitorOf(std::unique_ptr<Provider> provider) {
  std::vector<std::unique_ptr<DeviceProvider>> providers;
  providers.push_back(std::move(provider));
  return std::make_unique<DeviceMonitor>(std::move(providers));
}

// Adapts what returns nothing to what testing::Run runs.
Task<bool> Done(Task<void> task) {
  co_await std::move(task);
  co_return true;
}

TEST(DeviceMonitor, AProviderThatBlocksDoesNotHoldUpTheLoop) {
  auto made = std::make_unique<BlockingProvider>();
  BlockingProvider& provider = *made;
  provider.Add("gpu-1", v1::DEVICE_TYPE_GPU, 1000);
  const std::unique_ptr<DeviceMonitor> monitor = MonitorOf(std::move(made));
  Loop loop;
  aima::testing::Run(loop, Done(monitor->Scan()));
  bool answered = false;
  boost::asio::co_spawn(loop, monitor->Measure(), [&](std::exception_ptr) { answered = true; });
  loop.restart();
  while (loop.poll_one() > 0) {
  }
  provider.reading_.get_future().wait();
  // The provider hangs now, and the loop still serves, with what was known before.
  bool served = false;
  boost::asio::post(loop, [&] { served = monitor->Find("gpu-1") != nullptr; });
  loop.poll();
  EXPECT_TRUE(served);
  EXPECT_FALSE(answered);
  provider.let_go_.set_value();
  while (!answered && loop.run_one() > 0) {
  }
  EXPECT_TRUE(answered);
  EXPECT_EQ(monitor->Find("gpu-1")->reading.utilization, 10);
}

TEST(DeviceMonitor, ScansMeasurementsAndLimitsThatOverlapDoNotDisturbEachOther) {
  const RecordedTree tree("rack_server");
  const std::unique_ptr<DeviceMonitor> monitor = MonitorOf(std::make_unique<CpuProvider>(tree.files(), nullptr));
  Loop loop;
  aima::testing::Run(loop, Done(monitor->Scan()));
  int running = 0;
  const auto ended = [&](std::exception_ptr error, auto&&...) {
    EXPECT_FALSE(error);
    --running;
  };
  for (int i = 0; i < 20; ++i) {
    running += 3;
    boost::asio::co_spawn(loop, monitor->Scan(), ended);
    boost::asio::co_spawn(loop, monitor->Measure(), ended);
    boost::asio::co_spawn(loop, monitor->SetPowerLimit("cpu", 100 + 10 * i), ended);
  }
  loop.restart();
  while (running > 0 && loop.run_one() > 0) {
  }
  EXPECT_EQ(monitor->devices().size(), 1u);
  EXPECT_EQ(monitor->Find("cpu")->history.size(), 20u);
  EXPECT_DOUBLE_EQ(monitor->Find("cpu")->device.power_limit().current_watts(), 290);
}

TEST(DeviceMonitor, KnowsNoDeviceBeforeTheFirstScan) {
  const std::unique_ptr<DeviceMonitor> monitor = MonitorOf(std::make_unique<FakeProvider>());
  Loop loop;
  EXPECT_TRUE(monitor->devices().empty());
  EXPECT_THAT(aima::testing::Run(loop, monitor->SetPowerLimit("cpu", 100)),
              aima::testing::FailsWith(v1::DEVICE_NOT_FOUND, "cpu"));
}

}  // namespace
}  // namespace aima::device
