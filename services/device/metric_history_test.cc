#include "services/device/metric_history.h"

#include <gmock/gmock.h>

namespace aima::device {
namespace {

absl::Time At(int seconds) { return absl::FromUnixSeconds(1'700'000'000 + seconds); }

Reading Busy(double utilization, int64_t used = 0) {
  Reading reading;
  reading.utilization = utilization;
  reading.memory.set_used(used);
  reading.memory.set_total(1000);
  return reading;
}

TEST(MetricHistory, ReturnsEveryMeasurementOfTheStretchWhenThereAreFew) {
  MetricHistory history;
  for (int i = 0; i < 10; ++i) history.Add(At(2 * i), Busy(i));
  const std::vector<v1::Sample> samples = history.Since(At(10), At(20), 60);
  ASSERT_EQ(samples.size(), 4u);
  EXPECT_DOUBLE_EQ(samples.front().utilization(), 6);
  EXPECT_EQ(samples.front().time().seconds(), 1'700'000'012);
  EXPECT_DOUBLE_EQ(samples.back().utilization(), 9);
  EXPECT_TRUE(history.Since(At(18), At(20), 60).empty());
}

TEST(MetricHistory, AveragesLongStretches) {
  MetricHistory history;
  for (int i = 1; i <= 100; ++i) history.Add(At(i), Busy(i, i));
  const std::vector<v1::Sample> samples = history.Since(At(0), At(100), 4);
  ASSERT_EQ(samples.size(), 4u);
  EXPECT_NEAR(samples[0].utilization(), 12.5, 1);
  EXPECT_NEAR(samples[3].utilization(), 87.5, 1);
  EXPECT_NEAR(static_cast<double>(samples[3].memory_used()), 87.5, 1);
  EXPECT_EQ(samples[3].time().seconds(), 1'700'000'100);
}

TEST(MetricHistory, ForgetsTheOldestWhenItIsFull) {
  MetricHistory history(5);
  for (int i = 0; i < 12; ++i) history.Add(At(i), Busy(i));
  EXPECT_EQ(history.size(), 5u);
  const std::vector<v1::Sample> samples = history.Since(At(-1), At(12), 60);
  ASSERT_EQ(samples.size(), 5u);
  EXPECT_DOUBLE_EQ(samples.front().utilization(), 7);
  EXPECT_DOUBLE_EQ(samples.back().utilization(), 11);
}

TEST(MetricHistory, WhatWasNotToldIsAbsentAndDoesNotCount) {
  MetricHistory history;
  history.Add(At(1), Reading());
  history.Add(At(2), Busy(50));
  history.Add(At(3), Reading());
  const std::vector<v1::Sample> each = history.Since(At(0), At(4), 60);
  ASSERT_EQ(each.size(), 3u);
  EXPECT_FALSE(each[0].has_utilization());
  EXPECT_FALSE(each[1].has_temperature());
  const std::vector<v1::Sample> one = history.Since(At(0), At(4), 1);
  ASSERT_EQ(one.size(), 1u);
  EXPECT_DOUBLE_EQ(one[0].utilization(), 50);
}

TEST(MetricHistory, StretchesInWhichNothingWasMeasuredAreLeftOut) {
  MetricHistory history;
  for (int i = 0; i < 10; ++i) history.Add(At(i), Busy(1));
  for (int i = 90; i < 100; ++i) history.Add(At(i), Busy(2));
  EXPECT_EQ(history.Since(At(-1), At(99), 10).size(), 2u);
}

}  // namespace
}  // namespace aima::device
