#include "services/engine/engine_units.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "aima/unit/v1/errors.pb.h"
#include "libs/process/port.h"
#include "services/engine/engine_units_for_test.h"

namespace aima::engine {
namespace {

using aima::testing::FailsWith;
using aima::testing::IsOk;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST_F(EngineUnitsTest, AStartedInstanceServesHoldsItsSlotAndIsGoneAfterAStop) {
  Model("smol", "load 0.3\n");
  const absl::StatusOr<v1::StartResponse> started = Start("smol");
  ASSERT_THAT(started, IsOk());
  EXPECT_EQ(started->instance_id(), "smol");
  EXPECT_EQ(started->engine(), "fake");
  EXPECT_EQ(started->status(), v1::INSTANCE_STATUS_RUNNING);
  ASSERT_EQ(around_.slots.size(), 1u);
  EXPECT_EQ(around_.occupants[*around_.slots.begin()], started->process_id());
  const v1::EndpointsResponse endpoints = *Await(service_->units.Endpoints(call_, {}));
  ASSERT_EQ(endpoints.items_size(), 1);
  EXPECT_EQ(endpoints.items(0).model_id(), "smol");
  EXPECT_EQ(endpoints.items(0).max_concurrent(), 2);
  EXPECT_EQ(endpoints.items(0).context_length(), 2048) << "4 096 tokens for two requests";
  EXPECT_GE(endpoints.items(0).api_key().size(), 32u);
  const int port = endpoints.items(0).port();

  EXPECT_THAT(Stop("smol"), IsOk());
  EXPECT_FALSE(process::ReadEntry(started->process_id()));
  EXPECT_TRUE(process::PortIsFree(port));
  EXPECT_THAT(around_.slots, IsEmpty());
  EXPECT_EQ(CountEndpoints(), 0);
  EXPECT_EQ(Get("smol").status(), v1::INSTANCE_STATUS_STOPPED);
  EXPECT_TRUE(Eventually([&] { return around_.CountEvents("engine.stopped") == 1; }));
  EXPECT_EQ(around_.CountEvents("engine.started"), 1);
  EXPECT_EQ(around_.LastEvent<v1::EngineStarted>().process_id(), started->process_id());
  EXPECT_THAT(Stop("smol"), IsOk()) << "what is stopped can be stopped";
}

TEST_F(EngineUnitsTest, ASecondStartJoinsTheFirst) {
  Model("smol", "load 0.5\n");
  std::optional<absl::StatusOr<v1::StartResponse>> first, second;
  service_->spawn(StartInto("smol", &first));
  service_->spawn(StartInto("smol", &second));
  ASSERT_TRUE(Eventually([&] { return first && second; }));
  ASSERT_THAT(*first, IsOk());
  ASSERT_THAT(*second, IsOk());
  EXPECT_EQ((*first)->process_id(), (*second)->process_id());
  const absl::StatusOr<v1::StartResponse> again = Start("smol");
  ASSERT_THAT(again, IsOk());
  EXPECT_TRUE(again->already_running());
  EXPECT_EQ(process::FindMarked(kHomeVariable, dir_).size(), 2u) << "engine and shim";
}

TEST_F(EngineUnitsTest, AStreamedStartTellsItsStepsAndEndsWithTheResult) {
  Model("smol", "load 1.2\n");
  v1::StartRequest request;
  request.set_model_id("smol");
  Collector<v1::StartProgress> out;
  ASSERT_THAT(Await(service_->units.StartStream(call_, request, out)), IsOk());
  std::vector<std::string> phases;
  for (const v1::StartProgress& step : out.steps) {
    if (phases.empty() || phases.back() != step.phase()) phases.push_back(step.phase());
  }
  EXPECT_THAT(phases, ElementsAre("reserving", "spawning", "loading", "ready"));
  EXPECT_EQ(out.steps.back().result().instance_id(), "smol");
  EXPECT_EQ(out.steps.back().percent(), 100);

  v1::InstallRequest install;
  install.set_name("fake");
  Collector<v1::InstallProgress> installed;
  ASSERT_THAT(Await(service_->units.InstallStream(call_, install, installed)), IsOk());
  EXPECT_EQ(installed.steps.back().phase(), "done");
  EXPECT_TRUE(installed.steps.back().result().success());
}

TEST_F(EngineUnitsTest, AnotherInstanceOfAModelGetsTheNextId) {
  Model("smol", "");
  ASSERT_THAT(Start("smol"), IsOk());
  const absl::StatusOr<v1::StartResponse> second = Start("smol", "another: true");
  ASSERT_THAT(second, IsOk());
  EXPECT_EQ(second->instance_id(), "smol-2");
  EXPECT_EQ(CountEndpoints(), 2);
  EXPECT_THAT(Stop("fake"), FailsWith(v1::ENGINE_AMBIGUOUS, "smol, smol-2"));
  ASSERT_THAT(Stop("smol"), IsOk());
  ASSERT_THAT(Stop("fake"), IsOk()) << "the only one left";
  EXPECT_EQ(CountEndpoints(), 0);
}

TEST_F(EngineUnitsTest, AStopKillsWhatIgnoresItAndItsGrandchildren) {
  Model("deaf", "ignore-term\ngrandchild\n");
  ASSERT_THAT(Start("deaf"), IsOk());
  ASSERT_TRUE(Eventually([&] { return process::FindMarked(kHomeVariable, dir_).size() == 4; })) << "shim, engine, shell and sleep";
  EXPECT_THAT(Stop("deaf"), IsOk());
  EXPECT_THAT(process::FindMarked(kHomeVariable, dir_), IsEmpty());
}

TEST_F(EngineUnitsTest, AStopEndsAStartThatIsUnderWay) {
  Model("slow", "load 1000\n");
  std::optional<absl::StatusOr<v1::StartResponse>> started;
  service_->spawn(StartInto("slow", &started));
  ASSERT_TRUE(Eventually([&] { return !process::FindMarked(kHomeVariable, dir_).empty(); }));
  EXPECT_THAT(Stop("slow"), IsOk());
  ASSERT_TRUE(Eventually([&] { return started.has_value(); }));
  EXPECT_THAT(*started, FailsWith(v1::ENGINE_START_FAILED, "slow"));
  EXPECT_EQ(Get("slow").status(), v1::INSTANCE_STATUS_STOPPED);
  EXPECT_THAT(around_.slots, IsEmpty());
  EXPECT_EQ(around_.CountEvents("engine.error"), 0);
}

TEST_F(EngineUnitsTest, ARestartKeepsTheConfiguration) {
  Model("smol", "");
  const absl::StatusOr<v1::StartResponse> first = Start("smol", "config { context_length: 1024 threads: 1 }");
  ASSERT_THAT(first, IsOk());
  v1::RestartRequest request;
  request.set_name("smol");
  const absl::StatusOr<v1::RestartResponse> second = Await(service_->units.Restart(call_, request));
  ASSERT_THAT(second, IsOk());
  EXPECT_NE(second->process_id(), first->process_id());
  EXPECT_EQ(Get("smol").config().context_length(), 1024);
  EXPECT_EQ(Get("smol").generation(), 2);
  EXPECT_EQ(around_.slots.size(), 1u);
}

TEST_F(EngineUnitsTest, WhatCannotBeServedIsRefusedWithTheReason) {
  EXPECT_THAT(Start("nope"), FailsWith(model::v1::MODEL_NOT_FOUND, "nope"));
  Model("pending", "");
  around_.models["pending"].set_status(model::v1::MODEL_STATUS_PULLING);
  EXPECT_THAT(Start("pending"), FailsWith(v1::ENGINE_MODEL_NOT_READY, "pulling"));
  Model("onnx", "");
  around_.models["onnx"].set_format(model::v1::MODEL_FORMAT_ONNX);
  EXPECT_THAT(Start("onnx"), FailsWith(v1::ENGINE_INCOMPATIBLE, "onnx"));
  Model("smol", "");
  EXPECT_THAT(Start("smol", "name: 'fakke'"), FailsWith(v1::ENGINE_NOT_FOUND, "did you mean 'fake'"));
  EXPECT_THAT(Stop("nope"), FailsWith(v1::ENGINE_NOT_FOUND, "nope"));
  v1::StartRequest request;
  request.set_name("fake");
  EXPECT_THAT(Await(service_->units.Start(call_, request)), FailsWith(unit::v1::INVALID_INPUT, "model_id"));
}

TEST_F(EngineUnitsTest, EnginesAreListedWithTheirStateAndFeatures) {
  v1::ListRequest running;
  running.set_status(v1::ENGINE_STATUS_RUNNING);
  EXPECT_EQ(Await(service_->units.List(call_, running))->items_size(), 0);
  Model("smol", "");
  ASSERT_THAT(Start("smol"), IsOk());
  const v1::ListResponse list = *Await(service_->units.List(call_, running));
  ASSERT_EQ(list.items_size(), 1);
  EXPECT_EQ(list.items(0).name(), "fake");
  EXPECT_THAT(list.items(0).models(), ElementsAre("smol"));
  EXPECT_THAT(list.items(0).capabilities(), ElementsAre("streaming"));
  v1::FeaturesRequest features;
  features.set_name("fake");
  EXPECT_EQ(Await(service_->units.Features(call_, features))->max_concurrent(), 2);
  v1::InstallRequest install;
  install.set_name("fake");
  EXPECT_THAT(Await(service_->units.Install(call_, install))->path(), HasSubstr("testdata/fake-engine"));
}

}  // namespace
}  // namespace aima::engine
