#include "services/device/health_tracker.h"

#include <gmock/gmock.h>

namespace aima::device {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

class HealthTrackerTest : public ::testing::Test {
 protected:
  HealthTrackerTest() {
    device_.set_id("gpu-1");
    device_.set_type(v1::DEVICE_TYPE_GPU);
  }

  std::vector<v1::Issue> At(int seconds, const Reading& reading) {
    return tracker_.Update(device_, reading, absl::FromUnixSeconds(1000 + seconds));
  }
  static Reading Warm(double temperature) {
    Reading reading;
    reading.temperature = temperature;
    return reading;
  }

  v1::Device device_;
  HealthTracker tracker_;
};

TEST_F(HealthTrackerTest, AnIdleDeviceIsWell) {
  EXPECT_EQ(tracker_.status(), v1::HEALTH_STATUS_UNSPECIFIED);
  EXPECT_THAT(At(0, Warm(30)), IsEmpty());
  EXPECT_EQ(tracker_.status(), v1::HEALTH_STATUS_OK);
  EXPECT_EQ(tracker_.since(), absl::FromUnixSeconds(1000));
  At(10, Warm(31));
  EXPECT_EQ(tracker_.since(), absl::FromUnixSeconds(1000)) << "nothing has changed";
}

TEST_F(HealthTrackerTest, HeatBeginsAnIssueOnceAndAgainWhenItGetsWorse) {
  At(0, Warm(30));
  const std::vector<v1::Issue> begun = At(2, Warm(90));
  ASSERT_EQ(begun.size(), 1u);
  EXPECT_EQ(begun[0].code(), "temperature_high");
  EXPECT_EQ(begun[0].metric(), "temperature");
  EXPECT_DOUBLE_EQ(begun[0].value(), 90);
  EXPECT_DOUBLE_EQ(begun[0].threshold(), 90);
  EXPECT_EQ(tracker_.status(), v1::HEALTH_STATUS_WARNING);
  EXPECT_EQ(tracker_.since(), absl::FromUnixSeconds(1002));
  EXPECT_THAT(At(4, Warm(91)), IsEmpty());
  const std::vector<v1::Issue> worse = At(6, Warm(101));
  ASSERT_EQ(worse.size(), 1u);
  EXPECT_EQ(worse[0].severity(), v1::HEALTH_STATUS_CRITICAL);
  EXPECT_EQ(tracker_.status(), v1::HEALTH_STATUS_CRITICAL);
}

TEST_F(HealthTrackerTest, AFigureThatSwingsAroundItsThresholdIsOneIssue) {
  size_t begun = 0;
  for (int second = 0; second < 120; second += 2) begun += At(second, Warm(second % 4 == 0 ? 89 : 101)).size();
  EXPECT_EQ(begun, 1u);
  EXPECT_EQ(tracker_.status(), v1::HEALTH_STATUS_CRITICAL);
}

TEST_F(HealthTrackerTest, AnIssueEndsHalfAMinuteAfterItWasLastSeen) {
  At(0, Warm(95));
  At(28, Warm(50));
  EXPECT_EQ(tracker_.status(), v1::HEALTH_STATUS_WARNING);
  At(30, Warm(50));
  EXPECT_EQ(tracker_.status(), v1::HEALTH_STATUS_OK);
  EXPECT_THAT(tracker_.issues(), IsEmpty());
  EXPECT_EQ(At(32, Warm(95)).size(), 1u) << "it was well in between, so it is told of again";
}

TEST_F(HealthTrackerTest, ACriticalIssueCoolsDownThroughAWarning) {
  At(0, Warm(105));
  At(28, Warm(95));
  EXPECT_EQ(tracker_.status(), v1::HEALTH_STATUS_CRITICAL);
  At(32, Warm(95));
  EXPECT_EQ(tracker_.status(), v1::HEALTH_STATUS_WARNING);
}

TEST_F(HealthTrackerTest, FullGpuMemoryIsNoIssueButFullSystemMemoryIs) {
  Reading reading;
  reading.memory.set_total(1000);
  reading.memory.set_available(10);
  EXPECT_THAT(At(0, reading), IsEmpty());
  device_.set_type(v1::DEVICE_TYPE_CPU);
  const std::vector<v1::Issue> begun = At(2, reading);
  ASSERT_EQ(begun.size(), 1u);
  EXPECT_EQ(begun[0].code(), "memory_low");
  EXPECT_EQ(begun[0].severity(), v1::HEALTH_STATUS_CRITICAL);
  EXPECT_THAT(begun[0].message(), HasSubstr("1.0 %"));
}

TEST_F(HealthTrackerTest, MemoryPressureIsAnIssue) {
  device_.set_type(v1::DEVICE_TYPE_CPU);
  Reading reading;
  reading.memory_pressure = 19.9;
  EXPECT_THAT(At(0, reading), IsEmpty());
  reading.memory_pressure = 25;
  EXPECT_EQ(At(2, reading)[0].code(), "memory_pressure");
}

TEST_F(HealthTrackerTest, ListsTheWorstFirst) {
  Reading reading = Warm(95);
  reading.faults.push_back({"device_lost", v1::HEALTH_STATUS_CRITICAL, "gone"});
  reading.faults.push_back({"throttled", v1::HEALTH_STATUS_WARNING, "slow"});
  At(0, reading);
  const std::vector<v1::Issue> issues = tracker_.issues();
  ASSERT_EQ(issues.size(), 3u);
  EXPECT_EQ(issues[0].code(), "device_lost");
  EXPECT_EQ(issues[1].code(), "temperature_high");
}

}  // namespace
}  // namespace aima::device
