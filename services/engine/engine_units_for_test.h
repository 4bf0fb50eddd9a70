// An engine service over a fake engine program and a real PostgreSQL.
#pragma once

#include <absl/strings/str_cat.h>
#include <absl/time/clock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "libs/base/ids.h"
#include "libs/events/events.h"
#include "libs/testing/postgres.h"
#include "libs/testing/status_matchers.h"
#include "libs/testing/task.h"
#include "services/engine/engine_units.h"
#include "services/engine/fake_neighbourhood.h"

namespace aima::engine {

inline constexpr char kFakeEngine[] = R"(
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
  Service(Loop& loop, const std::string& dir, pg::Options database, FakeNeighbourhood& around, Patience patience)
      : db(pg::Open(loop, std::move(database))),
        outbox(events::MakeOutbox(loop, *db, around)),
        catalogue(*EngineCatalogue::Load(dir + "/configs")),
        environment([](const std::string& name) {
          return name == "PATH" ? std::optional<std::string>(AIMA_SOURCE_DIR
                                                             "/services/engine/testdata:/usr/local/bin:/usr/bin:/bin")
                                : std::nullopt;
        }),
        installer(loop, dir, catalogue.directory(), environment, [this] { return tenure.Holds(); }),
        tenure(*Begin(loop, *db, dir)),
        store(*db, tenure),
        neighbours(around),
        probe(loop),
        spawn([this, &loop](Task<void> task) {
          auto signal = std::make_shared<boost::asio::cancellation_signal>();
          background.push_back(signal);
          ++running;
          boost::asio::co_spawn(
              loop, std::move(task),
              boost::asio::bind_cancellation_slot(signal->slot(), [this](std::exception_ptr) { --running; }));
        }),
        instances(Surroundings{.loop = loop, .data_dir = dir, .db = *db, .outbox = *outbox, .store = store,
                               .neighbours = neighbours, .probe = probe, .environment = environment,
                               .patience = patience,
                               .spawn = spawn, .background = [](std::string_view) { return CallContext(); },
                               .other_runs = [this] { return installer.runs(); },
                               .superseded = [this] { ++times_superseded; },
                               .in_office = [this] { return tenure.Holds(); },
                               .tenure_file = Tenure::FileIn(dir)},
                  catalogue),
        units(loop, catalogue, installer, instances, neighbours, spawn) {
    spawn(outbox->Run());
  }

  // The database may be on its way back.
  static absl::StatusOr<Tenure> Begin(Loop& loop, pg::Database& db, const std::string& dir) {
    std::filesystem::create_directories(dir + "/run");
    absl::StatusOr<Tenure> tenure = absl::UnavailableError("not tried");
    while (!tenure.ok() && tenure.status().code() == absl::StatusCode::kUnavailable) {
      tenure = aima::testing::Run(loop, Tenure::Begin(db, CallContext(), "node", dir));
    }
    return tenure;
  }

  // Ends the coroutines before what they use is gone.
  void Die(Loop& loop) {
    loop.restart();
    do {
      // What ends may begin something else with its last breath.
      for (size_t i = 0; i < background.size(); ++i) background[i]->emit(boost::asio::cancellation_type::terminal);
      loop.poll();  // in which the signals are heard
    } while (running > 0 && loop.run_one() > 0);
    loop.poll();
    background.clear();
  }

  std::unique_ptr<pg::Database> db;
  std::unique_ptr<events::EventOutbox> outbox;
  const EngineCatalogue catalogue;
  const Environment environment;
  Installer installer;
  const Tenure tenure;
  int times_superseded = 0;
  InstanceStore store;
  Neighbours neighbours;
  HealthProbe probe;
  std::vector<std::shared_ptr<boost::asio::cancellation_signal>> background;
  int running = 0;  // of them
  const std::function<void(Task<void>)> spawn;
  Instances instances;
  EngineUnits units;
};

class EngineUnitsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directories(dir_ + "/configs");
    std::ofstream(dir_ + "/configs/fake.yaml") << kFakeEngine;
    UseDatabase(aima::testing::Postgres::Shared());
  }

  void UseDatabase(aima::testing::Postgres& server) {
    database_ = server.FreshOptions("engine");
    auto db = pg::Open(loop_, database_);
    for (const char* folder : {"/libs/events/migrations", "/services/engine/migrations"}) {
      absl::Status migrated;
      do {
        migrated = Await(db->Migrate(std::string(AIMA_SOURCE_DIR) + folder));
      } while (migrated.code() == absl::StatusCode::kUnavailable);
      ASSERT_THAT(migrated, aima::testing::IsOk());
    }
    Restart();
  }

  void TearDown() override {
    service_->Die(loop_);
    std::error_code error;
    for (const auto& run : std::filesystem::directory_iterator(dir_ + "/run/engines", error)) {
      (void)Await(process::EndRun({}, run.path().filename(), run.path(), absl::ZeroDuration()));
    }
    for (const process::Marked& left : process::FindMarked(kHomeVariable, dir_)) {
      process::SendSignal(left.identity, SIGKILL);
    }
    std::filesystem::remove_all(dir_);
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
    service_ = std::make_unique<Service>(loop_, dir_, database_, around_, patience_);
    absl::Status recovered;
    do {
      recovered = Await(service_->instances.Recover());
    } while (recovered.code() == absl::StatusCode::kUnavailable);
    ASSERT_THAT(recovered, aima::testing::IsOk());
  }

  // A model whose engine behaves as the lines say.
  void Model(const std::string& id, const std::string& behaviour) {
    const std::string path = dir_ + "/" + id + ".gguf";
    std::ofstream(path) << behaviour;
    around_.AddModel(id, path);
  }

  // A model whose engine ends with this code once it is let, at whatever time it has become ready.
  void FrailModel(const std::string& id, int code) { Model(id, absl::StrCat("exit-when ", dir_, "/let-end ", code, "\n")); }
  void LetEnd() { std::ofstream(dir_ + "/let-end").flush(); }

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

  absl::Status RestartUnit(const std::string& name) {
    v1::RestartRequest request;
    request.set_name(name);
    return Await(service_->units.Restart(call_, request)).status();
  }

  // For starts that the test does not wait for.
  Task<void> StartInto(std::string model, std::optional<absl::StatusOr<v1::StartResponse>>* result,
                       bool pinned = false) {
    v1::StartRequest request;
    request.set_model_id(model);
    request.set_pinned(pinned);
    CallContext call;
    absl::StatusOr<v1::StartResponse> response = co_await service_->units.Start(call, request);
    *result = std::move(response);
  }

  v1::Instance Get(const std::string& instance) {
    v1::GetRequest request;
    request.set_name(instance);
    const absl::StatusOr<v1::GetResponse> response = Await(service_->units.Get(call_, request));
    EXPECT_THAT(response, aima::testing::IsOk());
    return response.ok() && response->instances_size() == 1 ? response->instances(0) : v1::Instance();
  }

  bool Exists(const std::string& instance) {
    v1::GetRequest request;
    request.set_name(instance);
    return Await(service_->units.Get(call_, request)).ok();
  }

  int CountEndpoints() { return Await(service_->units.Endpoints(call_, {}))->items_size(); }

  // Lets the service work until the condition holds.
  template <class Condition>
  bool Eventually(Condition condition, absl::Duration patience = absl::Minutes(2)) {
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
  // Looks often and gives up late, so that a slow machine changes nothing; who tests giving up makes it shorter, and
  // restarts.
  Patience patience_ = {.poll = absl::Milliseconds(50), .probe_every = absl::Milliseconds(100),
                        .probe_timeout = absl::Seconds(30), .hung = absl::Hours(1), .first_backoff = absl::Hours(1),
                        .last_backoff = absl::Hours(10)};
  std::unique_ptr<Service> service_;
};

}  // namespace aima::engine
