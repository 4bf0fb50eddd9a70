#include "services/engine/engine_units.h"

#include <absl/time/clock.h>
#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <filesystem>
#include <fstream>

#include "aima/unit/v1/errors.pb.h"
#include "libs/base/ids.h"
#include "libs/events/events.h"
#include "libs/process/port.h"
#include "libs/testing/postgres.h"
#include "libs/testing/status_matchers.h"
#include "libs/testing/task.h"
#include "services/engine/fake_neighbourhood.h"

namespace aima::engine {
namespace {

namespace fs = std::filesystem;
using aima::testing::FailsWith;
using aima::testing::IsOk;
using aima::testing::Postgres;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr char kFakeEngine[] = R"(
name: fake
type: fake
description: Misbehaves on demand.
dialect: openai
formats: [gguf]
model_types: [llm]
features: {supports_streaming: true, max_concurrent: 2}
install: {detect: [fake-engine]}
launch: {args: [--port, "{port}", --model, "{model_path}"], context_shared: true}
health: {path: /health}
stop: {timeout: 300ms}
exit_codes:
  - {code: 3, meaning: the model is not to its taste}
  - {code: 4, meaning: the port was taken, port_taken: true}
  - {code: 132, meaning: wrong processor}
)";

// One life of the engine service. Dropping it without draining is what kill -9 does to the real one.
struct Service {
  Service(Loop& loop, const std::string& dir, pg::Options database, FakeNeighbourhood& around)
      : db(pg::Open(loop, std::move(database))),
        outbox(events::MakeOutbox(loop, *db, around)),
        catalogue(*EngineCatalogue::Load(dir + "/configs")),
        environment([](const std::string& name) {
          return name == "PATH" ? std::optional<std::string>(AIMA_SOURCE_DIR
                                                             "/services/engine/testdata:/usr/local/bin:/usr/bin:/bin")
                                : std::nullopt;
        }),
        installer(loop, dir, catalogue.directory(), environment),
        store(*db, "node"),
        neighbours(around),
        probe(loop),
        spawn([this, &loop](Task<void> task) {
          auto signal = std::make_shared<boost::asio::cancellation_signal>();
          background.push_back(signal);
          boost::asio::co_spawn(loop, std::move(task),
                                boost::asio::bind_cancellation_slot(signal->slot(), [](std::exception_ptr) {}));
        }),
        instances(Surroundings{.loop = loop, .data_dir = dir, .db = *db, .outbox = *outbox, .store = store,
                               .neighbours = neighbours, .probe = probe, .environment = environment,
                               .patience = {.stall = absl::Milliseconds(1500), .poll = absl::Milliseconds(50),
                                            .probe_every = absl::Milliseconds(100),
                                            .probe_timeout = absl::Milliseconds(500)},
                               .spawn = spawn, .background = [](std::string_view) { return CallContext(); },
                               .other_runs = [this] { return installer.runs(); }},
                  catalogue),
        units(loop, catalogue, installer, instances, neighbours, spawn) {
    spawn(outbox->Run());
  }

  // Ends the coroutines before what they use is gone.
  void Die(Loop& loop) {
    for (auto& signal : background) signal->emit(boost::asio::cancellation_type::terminal);
    loop.restart();
    loop.run_for(std::chrono::milliseconds(50));
  }

  std::unique_ptr<pg::Database> db;
  std::unique_ptr<events::EventOutbox> outbox;
  const EngineCatalogue catalogue;
  const Environment environment;
  Installer installer;
  InstanceStore store;
  Neighbours neighbours;
  HealthProbe probe;
  std::vector<std::shared_ptr<boost::asio::cancellation_signal>> background;
  const std::function<void(Task<void>)> spawn;
  Instances instances;
  EngineUnits units;
};

class EngineUnitsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    fs::create_directories(dir_ + "/configs");
    std::ofstream(dir_ + "/configs/fake.yaml") << kFakeEngine;
    UseDatabase(Postgres::Shared());
  }

  void UseDatabase(Postgres& server) {
    database_ = server.FreshOptions("engine");
    auto db = pg::Open(loop_, database_);
    for (const char* folder : {"/libs/events/migrations", "/services/engine/migrations"}) {
      absl::Status migrated;
      do {
        migrated = Await(db->Migrate(std::string(AIMA_SOURCE_DIR) + folder));
      } while (migrated.code() == absl::StatusCode::kUnavailable);
      ASSERT_THAT(migrated, IsOk());
    }
    Restart();
  }

  void TearDown() override {
    service_->Die(loop_);
    for (const process::Marked& left : process::FindMarked(kHomeVariable, dir_)) {
      process::SendSignal(left.identity, SIGKILL);
    }
    fs::remove_all(dir_);
  }

  template <class T>
  T Await(Task<T> task) {
    return aima::testing::Run(loop_, std::move(task));
  }

  // What a stream brings.
  template <class Step>
  struct Collector : StreamWriter<Step> {
    Task<absl::Status> Write(const Step& step) override {
      steps.push_back(step);
      co_return absl::OkStatus();
    }
    std::vector<Step> steps;
  };

  // kill -9 and a new start of the service.
  void Restart() {
    if (service_) service_->Die(loop_);
    service_ = std::make_unique<Service>(loop_, dir_, database_, around_);
    absl::Status recovered;
    do {
      recovered = Await(service_->instances.Recover());
    } while (recovered.code() == absl::StatusCode::kUnavailable);
    ASSERT_THAT(recovered, IsOk());
  }

  // A model whose engine behaves as the lines say.
  void Model(const std::string& id, const std::string& behaviour) {
    const std::string path = dir_ + "/" + id + ".gguf";
    std::ofstream(path) << behaviour;
    around_.AddModel(id, path);
  }

  absl::StatusOr<v1::StartResponse> Start(const std::string& model, const std::string& more = "") {
    v1::StartRequest request;
    google::protobuf::TextFormat::ParseFromString("model_id: '" + model + "' " + more, &request);
    return Await(service_->units.Start(call_, request));
  }

  absl::StatusOr<v1::StopResponse> Stop(const std::string& name, bool force = false) {
    v1::StopRequest request;
    request.set_name(name);
    request.set_force(force);
    return Await(service_->units.Stop(call_, request));
  }

  // For starts that the test does not wait for.
  Task<void> StartInto(std::string model, std::optional<absl::StatusOr<v1::StartResponse>>* result) {
    v1::StartRequest request;
    request.set_model_id(model);
    CallContext call;
    absl::StatusOr<v1::StartResponse> response = co_await service_->units.Start(call, request);
    *result = std::move(response);
  }

  v1::Instance Get(const std::string& instance) {
    v1::GetRequest request;
    request.set_name(instance);
    const absl::StatusOr<v1::GetResponse> response = Await(service_->units.Get(call_, request));
    EXPECT_THAT(response, IsOk());
    return response.ok() && response->instances_size() == 1 ? response->instances(0) : v1::Instance();
  }

  int CountEndpoints() { return Await(service_->units.Endpoints(call_, {}))->items_size(); }

  // Lets the service work until the condition holds.
  template <class Condition>
  bool Eventually(Condition condition, absl::Duration patience = absl::Seconds(20)) {
    const absl::Time end = absl::Now() + patience;
    loop_.restart();
    while (!condition()) {
      if (absl::Now() > end) return false;
      loop_.run_one_for(std::chrono::milliseconds(20));
    }
    return true;
  }

  Loop loop_;
  CallContext call_;
  const std::string dir_ = ::testing::TempDir() + "/" + NewId("engine-");
  pg::Options database_;
  FakeNeighbourhood around_;
  std::unique_ptr<Service> service_;
};

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
  EXPECT_EQ(process::FindMarked(kHomeVariable, dir_).size(), 1u);
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

TEST_F(EngineUnitsTest, AnEngineThatExitsIsReportedAtOnceWithItsLog) {
  Model("bad", "say the model is bad indeed\nexit 3\n");
  const absl::Time begun = absl::Now();
  const absl::Status failed = Start("bad").status();
  EXPECT_LT(absl::Now() - begun, absl::Seconds(10));
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

TEST_F(EngineUnitsTest, AKilledEngineTellsWhatTheSignalMeans) {
  Model("amx", "signal 4\n");
  EXPECT_THAT(Start("amx"), FailsWith(v1::ENGINE_START_FAILED, "wrong processor"));
}

TEST_F(EngineUnitsTest, AnEngineThatHangsIsGivenUpAfterTheStallTimeout) {
  Model("stuck", "ignore-term\nhang\n");
  const absl::Time begun = absl::Now();
  EXPECT_THAT(Start("stuck"), FailsWith(v1::ENGINE_START_FAILED, "made no progress for 1.5s"));
  EXPECT_GE(absl::Now() - begun, absl::Milliseconds(1500));
  EXPECT_THAT(process::FindMarked(kHomeVariable, dir_), IsEmpty());
  EXPECT_THAT(around_.slots, IsEmpty());
}

TEST_F(EngineUnitsTest, AnEngineThatLoadsLongerThanTheStallTimeoutIsNotGivenUp) {
  Model("large", "load 4\n");
  EXPECT_THAT(Start("large"), IsOk());
}

TEST_F(EngineUnitsTest, ATakenPortIsTriedAgainWithAnother) {
  Model("unlucky", "exit-once 4 " + dir_ + "/tried\n");
  EXPECT_THAT(Start("unlucky"), IsOk());
  EXPECT_TRUE(fs::exists(dir_ + "/tried"));
}

TEST_F(EngineUnitsTest, AStopKillsWhatIgnoresItAndItsGrandchildren) {
  Model("deaf", "ignore-term\ngrandchild\n");
  ASSERT_THAT(Start("deaf"), IsOk());
  ASSERT_EQ(process::FindMarked(kHomeVariable, dir_).size(), 3u) << "engine, shell and sleep";
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

TEST_F(EngineUnitsTest, ARunningEngineThatDiesIsReportedWithItsLogAndItsSlotIsFree) {
  Model("frail", "exit-later 0.8 139\n");
  ASSERT_THAT(Start("frail"), IsOk());
  ASSERT_TRUE(Eventually([&] { return around_.CountEvents("engine.error") == 1; }));
  EXPECT_THAT(around_.LastEvent<v1::EngineError>().log_tail(), HasSubstr("cannot go on"));
  EXPECT_THAT(around_.LastEvent<v1::EngineError>().error(), HasSubstr("exited with code 139"));
  EXPECT_EQ(Get("frail").status(), v1::INSTANCE_STATUS_FAILED);
  EXPECT_THAT(around_.slots, IsEmpty());
  EXPECT_EQ(CountEndpoints(), 0);
}

TEST_F(EngineUnitsTest, AnEngineThatStopsAnsweringIsUnhealthyUntilItAnswersAgain) {
  Model("moody", "");
  const absl::StatusOr<v1::StartResponse> started = Start("moody");
  ASSERT_THAT(started, IsOk());
  kill(started->process_id(), SIGSTOP);
  ASSERT_TRUE(Eventually([&] { return CountEndpoints() == 0; }));
  EXPECT_EQ(Get("moody").health(), v1::HEALTH_UNHEALTHY);
  EXPECT_EQ(Get("moody").status(), v1::INSTANCE_STATUS_RUNNING);
  kill(started->process_id(), SIGCONT);
  ASSERT_TRUE(Eventually([&] { return CountEndpoints() == 1; }));
  EXPECT_TRUE(Eventually([&] { return around_.CountEvents("engine.health_changed") == 2; }));
}

TEST_F(EngineUnitsTest, AServiceThatWasKilledFindsItsInstancesAgain) {
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

TEST_F(EngineUnitsTest, AStartThatWasCutOffByAKillGoesOn) {
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

TEST_F(EngineUnitsTest, ProcessesThatNobodyWantsAreEndedAtTheSecondLook) {
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

TEST_F(EngineUnitsTest, WithoutTheLedgerNothingIsStarted) {
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

TEST_F(EngineUnitsTest, WithoutTheDatabaseNothingIsStartedAndWhatHappensIsStoredLater) {
  Postgres server;
  UseDatabase(server);
  Model("frail", "exit-later 3 7\n");
  Model("other", "");
  ASSERT_THAT(Start("frail"), IsOk());
  server.Stop();
  EXPECT_EQ(Start("other").status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(process::FindMarked(kHomeVariable, dir_).size(), 1u);
  ASSERT_TRUE(Eventually([&] { return Get("frail").status() == v1::INSTANCE_STATUS_FAILED; })) << "known at once";
  server.Start();
  EXPECT_TRUE(Eventually([&] { return around_.CountEvents("engine.error") == 1; }));
  Restart();
  EXPECT_EQ(Get("frail").status(), v1::INSTANCE_STATUS_FAILED);
  EXPECT_THAT(Get("frail").error(), HasSubstr("exited with code 7"));
  EXPECT_THAT(Start("other"), IsOk());
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

TEST_F(EngineUnitsTest, DrainingLeavesWhatRunsAndGivesUpWhatStarts) {
  Model("smol", "");
  Model("slow", "load 1000\n");
  const absl::StatusOr<v1::StartResponse> running = Start("smol");
  ASSERT_THAT(running, IsOk());
  std::optional<absl::StatusOr<v1::StartResponse>> starting;
  service_->spawn(StartInto("slow", &starting));
  ASSERT_TRUE(Eventually([&] { return process::FindMarked(kHomeVariable, dir_).size() == 2; }));
  service_->spawn(service_->instances.Drain());
  EXPECT_TRUE(Eventually([&] { return starting.has_value(); }));
  EXPECT_FALSE(starting->ok());
  EXPECT_TRUE(Eventually([&] { return process::FindMarked(kHomeVariable, dir_).size() == 1 && around_.slots.size() == 1; }));
  EXPECT_EQ(Get("smol").status(), v1::INSTANCE_STATUS_RUNNING);
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
