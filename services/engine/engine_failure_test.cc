// What becomes of engines that fail, and of starts when a neighbour is missing.
#include <absl/time/clock.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include "services/engine/engine_units_for_test.h"

namespace aima::engine {
namespace {

namespace fs = std::filesystem;
using aima::testing::FailsWith;
using aima::testing::IsOk;
using aima::testing::Postgres;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

using EngineFailureTest = EngineUnitsTest;

TEST_F(EngineFailureTest, AnEngineThatExitsIsReportedAtOnceWithItsLog) {
  patience_.stall = absl::Hours(1);  // which nobody waits for
  Restart();
  Model("bad", "say the model is bad indeed\nexit 3\n");
  const absl::Status failed = Start("bad").status();
  EXPECT_THAT(failed, FailsWith(v1::ENGINE_START_FAILED, "exited with code 3: the model is not to its taste"));
  EXPECT_THAT(DetailsOf(failed).metadata["log_tail"], HasSubstr("the model is bad indeed"));
  EXPECT_THAT(around_.slots, IsEmpty());
  const v1::Instance instance = Get("bad");
  EXPECT_EQ(instance.status(), v1::INSTANCE_STATUS_FAILED);
  EXPECT_THAT(instance.log_tail(), HasSubstr("the model is bad indeed"));
  EXPECT_TRUE(Eventually([&] { return around_.CountEvents("engine.error") == 1; }));
  EXPECT_THAT(around_.LastEvent<v1::EngineError>().log_tail(), HasSubstr("the model is bad indeed"));

  Model("bad", "");  // somebody has mended it
  EXPECT_THAT(Start("bad"), IsOk());
}

TEST_F(EngineFailureTest, AKilledEngineTellsWhatTheSignalMeans) {
  Model("amx", "signal 4\n");
  EXPECT_THAT(Start("amx"), FailsWith(v1::ENGINE_START_FAILED, "wrong processor"));
}

TEST_F(EngineFailureTest, AnEngineThatHangsIsGivenUpAfterTheStallTimeout) {
  patience_.stall = absl::Milliseconds(1500);
  Restart();
  Model("stuck", "ignore-term\nhang\n");
  const absl::Time begun = absl::Now();
  EXPECT_THAT(Start("stuck"), FailsWith(v1::ENGINE_START_FAILED, "made no progress for 1.5s"));
  EXPECT_GE(absl::Now() - begun, absl::Milliseconds(1500));
  EXPECT_THAT(process::FindMarked(kHomeVariable, dir_), IsEmpty());
  EXPECT_THAT(around_.slots, IsEmpty());
}

TEST_F(EngineFailureTest, AnEngineThatLoadsLongerThanTheStallTimeoutIsNotGivenUp) {
  patience_.stall = absl::Seconds(2);
  Restart();
  Model("large", "load 5\n");
  EXPECT_THAT(Start("large"), IsOk());
}

TEST_F(EngineFailureTest, ATakenPortIsTriedAgainWithAnother) {
  Model("unlucky", "exit-once 4 " + dir_ + "/tried\n");
  EXPECT_THAT(Start("unlucky"), IsOk());
  EXPECT_TRUE(fs::exists(dir_ + "/tried"));
}

TEST_F(EngineFailureTest, ARunningEngineThatDiesIsReportedWithItsLogAndItsSlotIsFree) {
  FrailModel("frail", 139);
  ASSERT_THAT(Start("frail"), IsOk());
  LetEnd();
  ASSERT_TRUE(Eventually([&] { return around_.CountEvents("engine.error") == 1; }));
  EXPECT_THAT(around_.LastEvent<v1::EngineError>().log_tail(), HasSubstr("cannot go on"));
  EXPECT_THAT(around_.LastEvent<v1::EngineError>().error(), HasSubstr("exited with code 139"));
  EXPECT_EQ(Get("frail").status(), v1::INSTANCE_STATUS_FAILED);
  EXPECT_THAT(around_.slots, IsEmpty());
  EXPECT_EQ(CountEndpoints(), 0);
}

TEST_F(EngineFailureTest, AnEngineThatStopsAnsweringIsUnhealthyUntilItAnswersAgain) {
  patience_.probe_timeout = absl::Milliseconds(500);
  Restart();
  Model("moody", "");
  const absl::StatusOr<v1::StartResponse> started = Start("moody");
  ASSERT_THAT(started, IsOk());
  kill(started->process_id(), SIGSTOP);
  ASSERT_TRUE(Eventually([&] { return CountEndpoints() == 0; }));
  EXPECT_EQ(Get("moody").health(), v1::HEALTH_UNHEALTHY);
  EXPECT_EQ(Get("moody").status(), v1::INSTANCE_STATUS_RUNNING);
  kill(started->process_id(), SIGCONT);
  ASSERT_TRUE(Eventually([&] { return CountEndpoints() == 1; }));
  EXPECT_TRUE(Eventually([&] { return around_.CountEvents("engine.health_changed") >= 2; }));
}

TEST_F(EngineFailureTest, WithoutTheLedgerNothingIsStarted) {
  Model("smol", "");
  around_.resource_is_down = true;
  EXPECT_EQ(Start("smol").status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(process::FindMarked(kHomeVariable, dir_), IsEmpty());
  around_.resource_is_down = false;
  EXPECT_THAT(Start("smol"), IsOk());
  // A slot that cannot be given back now is given back later.
  around_.resource_is_down = true;
  EXPECT_THAT(Stop("smol"), IsOk());
  EXPECT_EQ(around_.slots.size(), 1u);
  around_.resource_is_down = false;
  EXPECT_TRUE(Eventually([&] { return around_.slots.empty(); }));
}

TEST_F(EngineFailureTest, ASlotWhoseGrantWasNeverHeardOfIsGivenBack) {
  Model("smol", "");
  around_.allocation_answer_is_lost = true;
  EXPECT_EQ(Start("smol").status().code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(Eventually([&] { return around_.slots.empty(); })) << "nobody knows whether it was granted";
  around_.allocation_answer_is_lost = false;
  EXPECT_THAT(Start("smol"), IsOk());
  EXPECT_EQ(around_.slots.size(), 1u);
}

TEST_F(EngineFailureTest, ASlotThatIsGrantedWhileTheServiceIsKilledIsGivenBackByTheNext) {
  Model("smol", "");
  around_.allocation_takes_forever = true;
  std::optional<absl::StatusOr<v1::StartResponse>> started;
  service_->spawn(StartInto("smol", &started));
  ASSERT_TRUE(Eventually([&] { return around_.slots.size() == 1; }));
  Restart();
  EXPECT_TRUE(Eventually([&] { return around_.slots.empty(); }));
  around_.allocation_takes_forever = false;
  EXPECT_THAT(Start("smol"), IsOk());
  EXPECT_EQ(around_.slots.size(), 1u);
}

TEST_F(EngineFailureTest, ASlotThatCannotBeGivenBackIsNotForgottenForAnother) {
  Model("smol", "");
  ASSERT_THAT(Start("smol"), IsOk());
  around_.nothing_is_released = true;
  ASSERT_THAT(Stop("smol"), IsOk());
  EXPECT_EQ(Start("smol").status().code(), absl::StatusCode::kUnavailable);
  Restart();
  around_.nothing_is_released = false;
  EXPECT_TRUE(Eventually([&] { return around_.slots.empty(); }));
  EXPECT_THAT(Start("smol"), IsOk());
  EXPECT_EQ(around_.slots.size(), 1u);
}

TEST_F(EngineFailureTest, WhoeverStopsAFailedInstanceHasTakenNoteOfIt) {
  Model("bad", "exit 3\n");
  EXPECT_THAT(Start("bad"), FailsWith(v1::ENGINE_START_FAILED, "exited with code 3"));
  EXPECT_EQ(Get("bad").status(), v1::INSTANCE_STATUS_FAILED);
  EXPECT_THAT(Stop("bad"), IsOk());
  EXPECT_EQ(Get("bad").status(), v1::INSTANCE_STATUS_STOPPED);
  EXPECT_EQ(Get("bad").error(), "");
  Restart();
  EXPECT_EQ(Get("bad").status(), v1::INSTANCE_STATUS_STOPPED);
}

TEST_F(EngineFailureTest, WithoutTheDatabaseNothingIsStartedAndWhatHappensIsStoredLater) {
  Postgres server;
  UseDatabase(server);
  FrailModel("frail", 7);
  Model("other", "");
  ASSERT_THAT(Start("frail"), IsOk());
  server.Stop();
  EXPECT_EQ(Start("other").status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(process::FindMarked(kHomeVariable, dir_).size(), 2u);
  LetEnd();
  ASSERT_TRUE(Eventually([&] { return Get("frail").status() == v1::INSTANCE_STATUS_FAILED; })) << "known at once";
  server.Start();
  EXPECT_TRUE(Eventually([&] { return around_.CountEvents("engine.error") == 1; }));
  Restart();
  EXPECT_EQ(Get("frail").status(), v1::INSTANCE_STATUS_FAILED);
  EXPECT_THAT(Get("frail").error(), HasSubstr("exited with code 7"));
  EXPECT_THAT(Start("other"), IsOk());
}

}  // namespace
}  // namespace aima::engine
