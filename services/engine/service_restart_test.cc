// What the engine service finds again after its own death, and what it leaves when it ends in order.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include "libs/process/port.h"
#include "services/engine/engine_units_for_test.h"

namespace aima::engine {
namespace {

using aima::testing::FailsWith;
using aima::testing::IsOk;
using ::testing::IsEmpty;

using ServiceRestartTest = EngineUnitsTest;

TEST_F(ServiceRestartTest, AServiceThatWasKilledFindsItsInstancesAgain) {
  Model("smol", "");
  Model("doomed", "");
  const absl::StatusOr<v1::StartResponse> smol = Start("smol");
  const absl::StatusOr<v1::StartResponse> doomed = Start("doomed");
  ASSERT_THAT(smol, IsOk());
  ASSERT_THAT(doomed, IsOk());
  service_->Die(loop_);
  kill(doomed->process_id(), SIGKILL);
  Restart();
  ASSERT_TRUE(Eventually([&] { return Get("doomed").status() == v1::INSTANCE_STATUS_FAILED; }));
  EXPECT_EQ(Get("smol").status(), v1::INSTANCE_STATUS_RUNNING);
  EXPECT_EQ(Get("smol").process_id(), smol->process_id());
  EXPECT_EQ(CountEndpoints(), 1);
  EXPECT_TRUE(Eventually([&] { return around_.slots.size() == 1; })) << "that of the dead one is free";
  EXPECT_TRUE(Start("smol")->already_running());

  // The adopted one is still watched, and can be stopped.
  EXPECT_THAT(Stop("smol"), IsOk());
  EXPECT_THAT(around_.slots, IsEmpty());
  EXPECT_THAT(process::FindMarked(kHomeVariable, dir_), IsEmpty());
}

TEST_F(ServiceRestartTest, AStartThatWasCutOffByAKillGoesOn) {
  Model("slow", "load 2\n");
  std::optional<absl::StatusOr<v1::StartResponse>> started;
  service_->spawn(StartInto("slow", &started));
  ASSERT_TRUE(Eventually([&] {
    const auto instance = service_->instances.Find("slow");
    return instance && instance->record().process.pid != 0 && around_.slots.size() == 1 &&
           process::ListensOn({*process::ReadEntry(instance->record().process.pid)}, instance->record().port);
  }));
  const int pid = service_->instances.Find("slow")->record().process.pid;
  Restart();
  EXPECT_TRUE(Eventually([&] { return Get("slow").status() == v1::INSTANCE_STATUS_RUNNING; }));
  EXPECT_EQ(Get("slow").process_id(), pid);
}

TEST_F(ServiceRestartTest, ProcessesThatNobodyWantsAreEndedAtTheSecondLook) {
  process::Command command;
  command.argv = {"/bin/sleep", "1000"};
  command.env = {"AIMA_HOME=" + dir_};
  command.marker = "run_of_nobody";
  const auto orphan = process::Process::Spawn(loop_, command);
  ASSERT_THAT(orphan, IsOk());
  command.env = {"AIMA_HOME=" + dir_ + "-other"};
  command.marker = "run_of_somebody_else";
  const auto stranger = process::Process::Spawn(loop_, command);
  Model("smol", "");
  ASSERT_THAT(Start("smol"), IsOk());

  EXPECT_EQ(Await(service_->instances.Sweep()), 0);
  EXPECT_EQ(Await(service_->instances.Sweep()), 1);
  EXPECT_TRUE((*orphan)->Ended());
  EXPECT_FALSE((*stranger)->Ended()) << "it belongs to another data directory";
  EXPECT_EQ(Get("smol").status(), v1::INSTANCE_STATUS_RUNNING);
  (*stranger)->Signal(SIGKILL);
}

TEST_F(ServiceRestartTest, DrainingLeavesWhatRunsAndGivesUpWhatStarts) {
  Model("smol", "");
  Model("slow", "load 1000\n");
  const absl::StatusOr<v1::StartResponse> running = Start("smol");
  ASSERT_THAT(running, IsOk());
  std::optional<absl::StatusOr<v1::StartResponse>> starting;
  service_->spawn(StartInto("slow", &starting));
  ASSERT_TRUE(Eventually([&] { return process::FindMarked(kHomeVariable, dir_).size() == 4; }));
  service_->spawn(service_->instances.Drain());
  EXPECT_TRUE(Eventually([&] { return starting.has_value(); }));
  EXPECT_THAT(*starting, FailsWith(unit::v1::UNAVAILABLE, "the engine service is ending"))
      << "it is no fault of the engine or its model";
  EXPECT_TRUE(Eventually([&] { return process::FindMarked(kHomeVariable, dir_).size() == 2 && around_.slots.size() == 1; }));
  EXPECT_EQ(Get("smol").status(), v1::INSTANCE_STATUS_RUNNING);
}

}  // namespace
}  // namespace aima::engine
