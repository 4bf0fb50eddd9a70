// What once ran is kept running: it is started again when it ends by itself, hangs, or the machine ends.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include "libs/errors/errors.h"
#include "libs/process/port.h"
#include "services/engine/engine_units_for_test.h"

namespace aima::engine {
namespace {

namespace fs = std::filesystem;
using aima::testing::FailsWith;
using aima::testing::IsOk;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

class EngineRestartTest : public EngineUnitsTest {
 protected:
  // From the next start of the service on.
  void Impatient(absl::Duration first_backoff) {
    patience_.first_backoff = first_backoff;
    Restart();
  }

  bool Failed(const std::string& instance) { return Get(instance).status() == v1::INSTANCE_STATUS_FAILED; }
  bool Runs(const std::string& instance) { return Get(instance).status() == v1::INSTANCE_STATUS_RUNNING; }
  fs::path Runs() const { return dir_ + "/run/engines"; }
};

TEST_F(EngineRestartTest, AnEngineThatEndsByItselfIsStartedAgainAsItWas) {
  Impatient(absl::Milliseconds(20));
  Model("smol", "");
  const absl::StatusOr<v1::StartResponse> first = Start("smol", "config { context_length: 1024 }");
  ASSERT_THAT(first, IsOk());
  kill(first->process_id(), SIGKILL);
  ASSERT_TRUE(Eventually([&] { return Runs("smol") && Get("smol").generation() == 2; }));
  EXPECT_NE(Get("smol").process_id(), first->process_id());
  EXPECT_EQ(Get("smol").config().context_length(), 1024);
  EXPECT_EQ(Get("smol").crashes(), 1);
  EXPECT_FALSE(Get("smol").has_next_start_at());
  EXPECT_EQ(around_.slots.size(), 1u) << "that of the first is free, that of the second is held";
  EXPECT_TRUE(Eventually([&] { return around_.CountEvents("engine.started") == 2; }));
  EXPECT_EQ(around_.CountEvents("engine.error"), 1);
}

TEST_F(EngineRestartTest, AHungEngineIsKilledAndStartedAgain) {
  patience_.probe_timeout = absl::Milliseconds(100);
  patience_.hung = absl::Milliseconds(500);
  Impatient(absl::Milliseconds(20));
  Model("stuck", "ignore-term\n");
  const absl::StatusOr<v1::StartResponse> first = Start("stuck");
  ASSERT_THAT(first, IsOk());
  kill(first->process_id(), SIGSTOP);
  ASSERT_TRUE(Eventually([&] { return around_.CountEvents("engine.error") == 1; }));
  EXPECT_THAT(around_.LastEvent<v1::EngineError>().error(), HasSubstr("gave no answer for 500ms and was killed"));
  EXPECT_FALSE(process::ReadEntry(first->process_id()));
  EXPECT_TRUE(Eventually([&] { return Runs("stuck") && Get("stuck").generation() >= 2; }));
}

TEST_F(EngineRestartTest, ACrashLoopIsToldWithItsCauseAndOutlivesTheService) {
  FrailModel("frail", 7);
  ASSERT_THAT(Start("frail"), IsOk());
  LetEnd();
  ASSERT_TRUE(Eventually([&] { return around_.CountEvents("engine.error") == 1; })) << "and so it is stored";
  const absl::Status refused = Start("frail").status();
  EXPECT_THAT(refused, FailsWith(v1::ENGINE_CRASH_LOOP, "exited with code 7"));
  EXPECT_GT(std::stoi(DetailsOf(refused).metadata["retry_after_s"]), 3000);
  const auto due = Get("frail").next_start_at().seconds();
  EXPECT_GT(due, 0);

  Restart();
  EXPECT_EQ(Get("frail").next_start_at().seconds(), due) << "the counter and the time are stored";
  EXPECT_EQ(Get("frail").crashes(), 1);
  EXPECT_THAT(Start("frail"), FailsWith(v1::ENGINE_CRASH_LOOP, "frail"));

  Model("frail", "");  // somebody has mended it
  v1::RestartRequest request;
  request.set_name("frail");
  EXPECT_THAT(Await(service_->units.Restart(call_, request)), IsOk()) << "a person need not wait";
  EXPECT_EQ(Get("frail").crashes(), 0);
}

TEST_F(EngineRestartTest, TheBackoffGrowsWithEveryCrashAndAStablePeriodEndsIt) {
  patience_.last_backoff = absl::Milliseconds(40);
  Impatient(absl::Milliseconds(10));
  FrailModel("frail", 7);
  ASSERT_THAT(Start("frail"), IsOk());
  LetEnd();
  ASSERT_TRUE(Eventually([&] { return Get("frail").crashes() >= 3; }));
  Restart();
  EXPECT_GE(Get("frail").crashes(), 3);
  Model("frail", "");
  patience_.stable = absl::Milliseconds(10);
  Restart();
  EXPECT_TRUE(Eventually([&] { return Runs("frail") && Get("frail").crashes() == 0; }));
}

TEST_F(EngineRestartTest, AnEngineThatDiesOnItsWayBackIsStartedAgain) {
  Impatient(absl::Milliseconds(20));
  Model("smol", "");
  const absl::StatusOr<v1::StartResponse> first = Start("smol");
  ASSERT_THAT(first, IsOk());
  Model("smol", "exit-once 7 " + dir_ + "/tried\n");
  kill(first->process_id(), SIGKILL);
  ASSERT_TRUE(Eventually([&] { return Runs("smol") && Get("smol").generation() == 3; }));
  EXPECT_EQ(Get("smol").crashes(), 2);
}

TEST_F(EngineRestartTest, ACallerWhoComesBetweenTwoStartsWaitsForTheNext) {
  Impatient(absl::Milliseconds(700));
  Model("smol", "");
  const absl::StatusOr<v1::StartResponse> first = Start("smol");
  ASSERT_THAT(first, IsOk());
  kill(first->process_id(), SIGKILL);
  ASSERT_TRUE(Eventually([&] { return Failed("smol"); }));
  v1::StartRequest request;
  request.set_model_id("smol");
  Collector<v1::StartProgress> out;
  ASSERT_THAT(Await(service_->units.StartStream(call_, request, out)), IsOk());
  EXPECT_EQ(out.steps.front().phase(), "waiting");
  EXPECT_EQ(Get("smol").generation(), 2) << "one start, not the caller's and another one";
  EXPECT_EQ(around_.slots.size(), 1u);
}

TEST_F(EngineRestartTest, AStopEndsTheWishThatItRuns) {
  Model("smol", "");
  const absl::StatusOr<v1::StartResponse> first = Start("smol");
  ASSERT_THAT(first, IsOk());
  kill(first->process_id(), SIGKILL);
  ASSERT_TRUE(Eventually([&] { return Failed("smol"); }));
  EXPECT_THAT(Stop("smol"), IsOk());
  EXPECT_EQ(Get("smol").status(), v1::INSTANCE_STATUS_STOPPED);
  EXPECT_FALSE(Get("smol").has_next_start_at());
  Restart();
  EXPECT_EQ(Get("smol").status(), v1::INSTANCE_STATUS_STOPPED);
  EXPECT_THAT(Start("smol"), IsOk());
}

TEST_F(EngineRestartTest, AStopOfAStartThatWaitsForItsTurnIsQuickAndFinal) {
  Impatient(absl::Seconds(7));
  Model("smol", "");
  const absl::StatusOr<v1::StartResponse> first = Start("smol");
  ASSERT_THAT(first, IsOk());
  kill(first->process_id(), SIGKILL);
  ASSERT_TRUE(Eventually([&] { return Failed("smol"); }));
  std::optional<absl::StatusOr<v1::StartResponse>> waiting;
  service_->spawn(StartInto("smol", &waiting));
  ASSERT_TRUE(Eventually([&] { return service_->instances.Find("smol")->starting(); }));
  EXPECT_THAT(Stop("smol"), IsOk());
  ASSERT_TRUE(waiting);
  EXPECT_THAT(*waiting, FailsWith(v1::ENGINE_START_FAILED, "was stopped before it was started again"));
  EXPECT_EQ(Get("smol").status(), v1::INSTANCE_STATUS_STOPPED);
  EXPECT_EQ(Get("smol").generation(), 1);
}

TEST_F(EngineRestartTest, AnOrderlyEndOfTheServiceIsNoReasonToForgetWhatIsToRun) {
  Impatient(absl::Seconds(3));
  Model("smol", "");
  const absl::StatusOr<v1::StartResponse> first = Start("smol");
  ASSERT_THAT(first, IsOk());
  kill(first->process_id(), SIGKILL);
  ASSERT_TRUE(Eventually([&] { return Failed("smol"); }));
  std::optional<absl::StatusOr<v1::StartResponse>> waiting;
  service_->spawn(StartInto("smol", &waiting));
  ASSERT_TRUE(Eventually([&] { return service_->instances.Find("smol")->starting(); }));
  service_->spawn(service_->instances.Drain());
  ASSERT_TRUE(Eventually([&] { return waiting.has_value(); })) << "nobody is left waiting";
  EXPECT_FALSE(waiting->ok());
  Restart();
  EXPECT_EQ(Get("smol").crashes(), 1);
  EXPECT_TRUE(Eventually([&] { return Runs("smol"); }));
}

TEST_F(EngineRestartTest, WhatHasNeverBeenReadyIsNotStartedAgain) {
  Impatient(absl::Milliseconds(1));
  Model("bad", "exit 3\n");
  EXPECT_THAT(Start("bad"), FailsWith(v1::ENGINE_START_FAILED, "exited with code 3"));
  EXPECT_FALSE(Get("bad").has_next_start_at());
  EXPECT_EQ(Get("bad").crashes(), 0);
}

TEST_F(EngineRestartTest, AnEngineThatIsNeverToBeRestartedIsNot) {
  std::ofstream(dir_ + "/configs/fake.yaml") << kFakeEngine << "restart: never\n";
  Impatient(absl::Milliseconds(1));
  FrailModel("frail", 7);
  ASSERT_THAT(Start("frail"), IsOk());
  LetEnd();
  ASSERT_TRUE(Eventually([&] { return around_.CountEvents("engine.error") == 1; }));
  Restart();
  EXPECT_TRUE(Failed("frail"));
  EXPECT_EQ(Get("frail").generation(), 1);
  Model("frail", "");
  EXPECT_THAT(Start("frail"), IsOk()) << "a person may start it at any time";
}

TEST_F(EngineRestartTest, AnInstanceWhoseModelIsGoneIsGivenUp) {
  Impatient(absl::Milliseconds(20));
  Model("smol", "");
  const absl::StatusOr<v1::StartResponse> first = Start("smol");
  ASSERT_THAT(first, IsOk());
  around_.models.clear();
  kill(first->process_id(), SIGKILL);
  ASSERT_TRUE(Eventually([&] { return Failed("smol") && !Get("smol").has_next_start_at(); }));
  EXPECT_THAT(Get("smol").error(), HasSubstr("it is not started again: no model 'smol'"));
}

TEST_F(EngineRestartTest, AnInstanceWhoseModelIsBeingPulledAnewWaitsForIt) {
  Impatient(absl::Milliseconds(20));
  Model("smol", "");
  const absl::StatusOr<v1::StartResponse> first = Start("smol");
  ASSERT_THAT(first, IsOk());
  around_.models["smol"].set_status(model::v1::MODEL_STATUS_PULLING);
  const int asked = around_.times_a_model_was_asked_for;
  kill(first->process_id(), SIGKILL);
  ASSERT_TRUE(Eventually([&] { return around_.times_a_model_was_asked_for > asked; })) << "it is to be started again";
  around_.models["smol"].set_status(model::v1::MODEL_STATUS_READY);
  EXPECT_TRUE(Eventually([&] { return Runs("smol") && Get("smol").generation() == 2; }));
}

TEST_F(EngineRestartTest, TheExitOfAnEngineThatEndedWhileTheServiceWasAwayIsKnown) {
  FrailModel("frail", 7);
  ASSERT_THAT(Start("frail"), IsOk());
  const process::Identity shim = service_->instances.Find("frail")->record().shim;
  service_->Die(loop_);
  LetEnd();
  while (process::Lives(shim)) usleep(1000);
  Restart();
  ASSERT_TRUE(Eventually([&] { return Failed("frail"); }));
  EXPECT_THAT(Get("frail").error(), HasSubstr("exited with code 7, while the engine service was away"));
  EXPECT_TRUE(Eventually([&] { return around_.slots.empty(); }));
}

TEST_F(EngineRestartTest, AfterAnEndOfTheMachineWhatRanRunsAgain) {
  Model("smol", "");
  ASSERT_THAT(Start("smol"), IsOk());
  // The row of an earlier boot: its numbers may belong to anybody now.
  Record record = service_->instances.Find("smol")->record();
  const std::string run = dir_ + "/run/engines/" + record.run;
  ASSERT_THAT(Await(process::EndRun(record.shim, record.run, run, absl::Seconds(5))), IsOk());
  service_->Die(loop_);
  const auto stranger = process::Process::Spawn(loop_, {.argv = {"/bin/sleep", "1000"}});
  record.shim = record.process = (*stranger)->identity();
  record.shim.boot_id = record.process.boot_id = "another boot";
  auto db = pg::Open(loop_, database_);
  ASSERT_THAT(Await(db->Write(call_, InstanceStore(*db, service_->tenure).Save(record))), IsOk());
  fs::remove_all(Runs());
  Restart();
  EXPECT_TRUE(Eventually([&] { return Runs("smol") && Get("smol").generation() == 2; }));
  EXPECT_EQ(Get("smol").crashes(), 0) << "the machine's end was not its own";
  EXPECT_FALSE((*stranger)->Ended()) << "who has its number now is left alone";
  (*stranger)->Signal(SIGKILL);
}

TEST_F(EngineRestartTest, AShimThatSaysItIsAnotherInstancesIsNotAdopted) {
  Model("smol", "");
  ASSERT_THAT(Start("smol"), IsOk());
  const Record record = service_->instances.Find("smol")->record();
  service_->Die(loop_);
  const std::string state = dir_ + "/run/engines/" + record.run + "/state";
  std::ifstream in(state);
  std::string text((std::istreambuf_iterator<char>(in)), {});
  text.replace(text.find(record.run), record.run.size(), "run_of_another");
  std::ofstream(state) << text;
  Restart();
  EXPECT_TRUE(Eventually([&] { return Failed("smol"); }));
  EXPECT_TRUE(Eventually([&] { return process::FindMarked(kHomeVariable, dir_).empty(); }))
      << "its marker proves that it is ours to end";
}

TEST_F(EngineRestartTest, AShimOtherThanTheOneInTheRowIsNotAdopted) {
  Model("smol", "");
  ASSERT_THAT(Start("smol"), IsOk());
  Record record = service_->instances.Find("smol")->record();
  service_->Die(loop_);
  record.shim.start_time -= 1;  // the same number, but of a process before it
  auto db = pg::Open(loop_, database_);
  ASSERT_THAT(Await(db->Write(call_, InstanceStore(*db, service_->tenure).Save(record))), IsOk());
  Restart();
  EXPECT_TRUE(Eventually([&] { return Failed("smol"); }));
}

TEST_F(EngineRestartTest, FiftyRoundsLeaveNoProcessFilePortOrSlot) {
  const auto open_files = [] {
    return std::distance(fs::directory_iterator("/proc/self/fd"), fs::directory_iterator());
  };
  Model("smol", "");
  ASSERT_THAT(Start("smol"), IsOk());
  ASSERT_THAT(Stop("smol"), IsOk());
  const auto before = open_files();
  for (int round = 0; round < 50; ++round) {
    ASSERT_THAT(Start("smol"), IsOk());
    const int port = service_->instances.Find("smol")->record().port;
    ASSERT_THAT(Stop("smol", /*force=*/round % 2 == 0), IsOk());
    ASSERT_TRUE(process::PortIsFree(port));
  }
  EXPECT_EQ(open_files(), before);
  EXPECT_THAT(process::FindMarked(kHomeVariable, dir_), IsEmpty());
  EXPECT_THAT(around_.slots, IsEmpty());
  EXPECT_TRUE(fs::is_empty(Runs())) << "what shims wrote down is forgotten when it is stored";
}

}  // namespace
}  // namespace aima::engine
