#include "services/device/device_units.h"

#include <gmock/gmock.h>

#include "aima/event/v1/event.pb.h"
#include "libs/errors/errors.h"
#include "libs/events/events.h"
#include "libs/testing/postgres.h"
#include "libs/testing/status_matchers.h"
#include "libs/testing/task.h"
#include "services/device/device_watch.h"
#include "services/device/fake_provider.h"

namespace aima::device {
namespace {

using ::aima::testing::FailsWith;
using ::aima::testing::IsOk;
using ::aima::testing::Postgres;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr pg::Statement kEvents = {"test_events", "SELECT payload FROM outbox WHERE type = $1 ORDER BY seq"};

template <class T>
T Await(Loop& loop, Task<T> task) {
  return aima::testing::Run(loop, std::move(task));
}

// Calls nobody: the relay does not run here.
class NoClient : public rpc::Client {
 public:
  Task<absl::Status> CallUntyped(const CallContext&, const google::protobuf::Message&,
                                 google::protobuf::Message&) override {
    co_return absl::UnavailableError("no services in this test");
  }
  Task<absl::Status> CallDomain(const std::string&, const CallContext&, const google::protobuf::Message&,
                                google::protobuf::Message&) override {
    co_return absl::UnavailableError("no services in this test");
  }
  std::unique_ptr<RawReader> StreamUntyped(const CallContext&, const google::protobuf::Message&) override {
    return nullptr;
  }
};

// The real outbox, with what is only told kept for the test to see.
class TestOutbox : public events::EventOutbox {
 public:
  using EventOutbox::EventOutbox;
  void Tell(const CallContext&, const google::protobuf::Message& payload) override {
    alerts.push_back(static_cast<const v1::DeviceMetricsAlert&>(payload));
  }
  std::vector<v1::DeviceMetricsAlert> alerts;
};

// What one process of the service is made of.
struct Process {
  Process(Loop& loop, pg::Database& db, FakeProvider*& provider, const std::string& node_id)
      : outbox(loop, db, client) {
    auto made = std::make_unique<FakeProvider>();
    provider = made.get();
    std::vector<std::unique_ptr<DeviceProvider>> providers;
    providers.push_back(std::move(made));
    monitor = std::make_unique<DeviceMonitor>(std::move(providers));
    store = std::make_unique<DeviceStore>(db, outbox, node_id);
    watch = std::make_unique<DeviceWatch>(*monitor, *store, outbox);
    v1::Host host;
    host.set_hostname("rack");
    units = std::make_unique<DeviceUnits>(*monitor, *store, host);
  }

  NoClient client;
  TestOutbox outbox;
  std::unique_ptr<DeviceMonitor> monitor;
  std::unique_ptr<DeviceStore> store;
  std::unique_ptr<DeviceWatch> watch;
  std::unique_ptr<DeviceUnits> units;
};

class DeviceUnitsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    db_ = Postgres::Shared().Open(loop_, "device", {AIMA_SOURCE_DIR "/services/device/migrations"});
    Start();
    provider_->Add("cpu", v1::DEVICE_TYPE_CPU, 64'000);
    provider_->Add("npu-1", v1::DEVICE_TYPE_NPU, 100'000);
    provider_->Add("gpu-small", v1::DEVICE_TYPE_GPU, 8'000);
    v1::Device& gpu = provider_->Add("gpu-big", v1::DEVICE_TYPE_GPU, 24'000);
    gpu.mutable_power_limit()->set_current_watts(300);
    gpu.mutable_power_limit()->set_settable(true);
  }

  // A process starts, or starts again with the same database.
  void Start(const std::string& node_id = "node-a") {
    process_ = std::make_unique<Process>(loop_, *db_, provider_, node_id);
  }

  absl::Status Round() { return Await(loop_, process_->watch->Round(call_)); }

  template <class Event>
  std::vector<Event> Emitted() {
    std::vector<Event> events;
    const std::string type = Event::descriptor()->options().GetExtension(unit::v1::event).type();
    const absl::StatusOr<pg::Result> rows = Await(loop_, db_->Query(call_, kEvents, {type}));
    EXPECT_THAT(rows, IsOk());
    for (int i = 0; rows.ok() && i < rows->size(); ++i) {
      google::protobuf::Any any;
      any.ParseFromString((*rows)[i].Get<pg::Bytes>(0).data);
      EXPECT_TRUE(any.UnpackTo(&events.emplace_back()));
    }
    return events;
  }

  template <class Response, class Request>
  absl::StatusOr<Response> Ask(Task<absl::StatusOr<Response>> (DeviceUnits::*unit)(CallContext&, const Request&),
                               const Request& request) {
    return Await(loop_, ((*process_->units).*unit)(call_, request));
  }

  Loop loop_;
  CallContext call_;
  std::unique_ptr<pg::Database> db_;
  FakeProvider* provider_ = nullptr;
  std::unique_ptr<Process> process_;
};

TEST_F(DeviceUnitsTest, DetectListsTheMainDeviceFirstAndTellsOfEachNewDeviceOnce) {
  const auto first = Ask(&DeviceUnits::Detect, v1::DetectRequest());
  ASSERT_THAT(first, IsOk());
  std::vector<std::string> ids;
  for (const v1::Device& device : first->devices()) ids.push_back(device.id());
  EXPECT_THAT(ids, ElementsAre("gpu-big", "gpu-small", "npu-1", "cpu"));
  EXPECT_TRUE(first->devices(0).main());
  EXPECT_FALSE(first->devices(1).main());
  EXPECT_THAT(first->new_device_ids(), SizeIs(4));
  const std::vector<v1::DeviceDetected> told = Emitted<v1::DeviceDetected>();
  ASSERT_EQ(told.size(), 4u);
  EXPECT_EQ(told[0].device().name(), "Device gpu-big");
  EXPECT_EQ(told[0].node_id(), "node-a");

  const auto second = Ask(&DeviceUnits::Detect, v1::DetectRequest());
  ASSERT_THAT(second, IsOk());
  EXPECT_THAT(second->devices(), SizeIs(4));
  EXPECT_THAT(second->new_device_ids(), IsEmpty());

  provider_->Add("gpu-hot", v1::DEVICE_TYPE_GPU, 1'000);
  ASSERT_THAT(Round(), IsOk());
  const auto third = Ask(&DeviceUnits::Detect, v1::DetectRequest());
  ASSERT_THAT(third, IsOk());
  EXPECT_EQ(Emitted<v1::DeviceDetected>().size(), 5u);
}

TEST_F(DeviceUnitsTest, ARestartTellsOfNothingAgainButAnotherMachineDoes) {
  ASSERT_THAT(Round(), IsOk());
  EXPECT_EQ(Emitted<v1::DeviceDetected>().size(), 4u);
  Start();
  provider_->Add("cpu", v1::DEVICE_TYPE_CPU, 64'000);
  ASSERT_THAT(Round(), IsOk());
  EXPECT_EQ(Emitted<v1::DeviceDetected>().size(), 4u);
  Start("node-b");
  provider_->Add("cpu", v1::DEVICE_TYPE_CPU, 64'000);
  ASSERT_THAT(Round(), IsOk());
  EXPECT_EQ(Emitted<v1::DeviceDetected>().size(), 5u);
}

TEST_F(DeviceUnitsTest, DetectKeepsItsReplyUnderTheIdempotencyKey) {
  call_.unit = "device.detect";
  call_.idempotency_key = "key-1";
  const auto reply = Ask(&DeviceUnits::Detect, v1::DetectRequest());
  ASSERT_THAT(reply, IsOk());
  const auto kept = Await(loop_, events::FindReply(*db_, call_));
  ASSERT_THAT(kept, IsOk());
  ASSERT_TRUE(kept->has_value());
  EXPECT_EQ((*kept)->response, reply->SerializeAsString());
}

TEST_F(DeviceUnitsTest, InfoWithoutAnIdIsTheMainDeviceAndTheListOfAll) {
  ASSERT_THAT(Round(), IsOk());
  const auto all = Ask(&DeviceUnits::Info, v1::InfoRequest());
  ASSERT_THAT(all, IsOk());
  EXPECT_EQ(all->id(), "gpu-big");
  EXPECT_EQ(all->name(), "Device gpu-big");
  EXPECT_EQ(all->memory().used(), 12'000);
  EXPECT_DOUBLE_EQ(all->power_limit().current_watts(), 300);
  EXPECT_EQ(all->host().hostname(), "rack");
  EXPECT_THAT(all->devices(), SizeIs(4));

  v1::InfoRequest request;
  request.set_device_id("cpu");
  const auto one = Ask(&DeviceUnits::Info, request);
  ASSERT_THAT(one, IsOk());
  EXPECT_EQ(one->type(), v1::DEVICE_TYPE_CPU);
  EXPECT_THAT(one->devices(), IsEmpty());
}

TEST_F(DeviceUnitsTest, AGpuWithoutADriverOrMemoryOfItsOwnIsNotMain) {
  provider_->devices.clear();
  provider_->Add("cpu", v1::DEVICE_TYPE_CPU, 64'000);
  provider_->Add("gpu-undriven", v1::DEVICE_TYPE_GPU, 99'000).clear_driver();
  provider_->Add("gpu-integrated", v1::DEVICE_TYPE_GPU, 64'000).mutable_memory()->set_unified(true);
  ASSERT_THAT(Round(), IsOk());
  EXPECT_EQ(Ask(&DeviceUnits::Info, v1::InfoRequest())->id(), "cpu");
  // What shares the machine's memory but computes is main, as in NVIDIA GB10.
  v1::Device& gb10 = provider_->Add("gpu-gb10", v1::DEVICE_TYPE_GPU, 64'000);
  gb10.mutable_memory()->set_unified(true);
  gb10.add_capabilities("cuda");
  ASSERT_THAT(Ask(&DeviceUnits::Detect, v1::DetectRequest()), IsOk());
  EXPECT_EQ(Ask(&DeviceUnits::Info, v1::InfoRequest())->id(), "gpu-gb10");
}

TEST_F(DeviceUnitsTest, AnUnknownDeviceIsNamedInTheError) {
  ASSERT_THAT(Round(), IsOk());
  v1::InfoRequest info;
  info.set_device_id("gpu-7");
  EXPECT_THAT(Ask(&DeviceUnits::Info, info), FailsWith(v1::DEVICE_NOT_FOUND, "gpu-7"));
  v1::MetricsRequest metrics;
  metrics.set_device_id("gpu-7");
  EXPECT_THAT(Ask(&DeviceUnits::Metrics, metrics), FailsWith(v1::DEVICE_NOT_FOUND, "gpu-7"));
  v1::HealthRequest health;
  health.set_device_id("gpu-7");
  EXPECT_THAT(Ask(&DeviceUnits::Health, health), FailsWith(v1::DEVICE_NOT_FOUND, "gpu-7"));
  v1::SetPowerLimitRequest limit;
  limit.set_device_id("gpu-7");
  limit.set_limit_watts(100);
  EXPECT_THAT(Ask(&DeviceUnits::SetPowerLimit, limit), FailsWith(v1::DEVICE_NOT_FOUND, "gpu-7"));
}

TEST_F(DeviceUnitsTest, MetricsAreTheLastMeasurementAndTheHistoryAskedFor) {
  Reading& reading = provider_->readings["gpu-big"];
  reading.temperature = 60;
  reading.power = 250;
  reading.throttle_reasons = {"power_cap"};
  ASSERT_THAT(Round(), IsOk());
  reading.utilization = 90;
  ASSERT_THAT(Round(), IsOk());

  const auto now = Ask(&DeviceUnits::Metrics, v1::MetricsRequest());
  ASSERT_THAT(now, IsOk());
  EXPECT_EQ(now->device_id(), "gpu-big");
  EXPECT_DOUBLE_EQ(now->utilization(), 90);
  EXPECT_DOUBLE_EQ(now->temperature(), 60);
  EXPECT_DOUBLE_EQ(now->power(), 250);
  EXPECT_EQ(now->memory_used(), 12'000);
  EXPECT_EQ(now->memory_total(), 24'000);
  EXPECT_THAT(now->throttle_reasons(), ElementsAre("power_cap"));
  EXPECT_THAT(now->history(), IsEmpty());
  EXPECT_THAT(now->devices(), SizeIs(4));
  EXPECT_FALSE(now->devices(3).has_temperature()) << "not told, so not there";

  v1::MetricsRequest request;
  request.set_device_id("gpu-big");
  request.set_history(600'000);
  request.set_history_samples(60);
  const auto past = Ask(&DeviceUnits::Metrics, request);
  ASSERT_THAT(past, IsOk());
  ASSERT_EQ(past->history_size(), 2);
  EXPECT_DOUBLE_EQ(past->history(0).utilization(), 10);
  EXPECT_DOUBLE_EQ(past->history(1).utilization(), 90);
  request.set_history_samples(1);
  EXPECT_DOUBLE_EQ(Ask(&DeviceUnits::Metrics, request)->history(0).utilization(), 50);
}

TEST_F(DeviceUnitsTest, TheFirstCallerAfterAStartFindsEverythingMeasuredTwice) {
  const auto start = [](DeviceWatch& watch) -> Task<bool> {
    co_await watch.Start();
    co_return true;
  };
  Await(loop_, start(*process_->watch));
  v1::MetricsRequest request;
  request.set_history(60'000);
  request.set_history_samples(60);
  const auto metrics = Ask(&DeviceUnits::Metrics, request);
  ASSERT_THAT(metrics, IsOk());
  EXPECT_TRUE(metrics->has_utilization());
  EXPECT_THAT(metrics->history(), SizeIs(2));
  EXPECT_THAT(Emitted<v1::DeviceDetected>(), IsEmpty()) << "the database is not needed to start";
}

TEST_F(DeviceUnitsTest, HealthOfTheMachineIsTheWorstOfItsDevices) {
  ASSERT_THAT(Round(), IsOk());
  const auto well = Ask(&DeviceUnits::Health, v1::HealthRequest());
  ASSERT_THAT(well, IsOk());
  EXPECT_EQ(well->status(), v1::HEALTH_STATUS_OK);
  EXPECT_THAT(well->issues(), IsEmpty());

  provider_->readings["gpu-small"].temperature = 120;
  provider_->readings["cpu"].memory_pressure = 30;
  ASSERT_THAT(Round(), IsOk());
  const auto ill = Ask(&DeviceUnits::Health, v1::HealthRequest());
  ASSERT_THAT(ill, IsOk());
  EXPECT_EQ(ill->status(), v1::HEALTH_STATUS_CRITICAL);
  ASSERT_EQ(ill->issues_size(), 2);
  EXPECT_EQ(ill->issues(0).device_id(), "gpu-small");
  EXPECT_EQ(ill->issues(0).code(), "temperature_high");
  EXPECT_EQ(ill->issues(1).device_id(), "cpu");
  EXPECT_EQ(ill->issues(1).code(), "memory_pressure");

  v1::HealthRequest request;
  request.set_device_id("cpu");
  const auto cpu = Ask(&DeviceUnits::Health, request);
  EXPECT_EQ(cpu->status(), v1::HEALTH_STATUS_WARNING);
  EXPECT_TRUE(cpu->has_since());
}

TEST_F(DeviceUnitsTest, TellsOfChangedHealthAndOfFiguresOutOfBoundsOnce) {
  ASSERT_THAT(Round(), IsOk());
  EXPECT_THAT(Emitted<v1::DeviceHealthChanged>(), IsEmpty()) << "that a new device is well is no news";
  provider_->readings["gpu-big"].temperature = 97;
  ASSERT_THAT(Round(), IsOk());
  ASSERT_THAT(Round(), IsOk());
  const std::vector<v1::DeviceHealthChanged> changes = Emitted<v1::DeviceHealthChanged>();
  ASSERT_EQ(changes.size(), 1u);
  EXPECT_EQ(changes[0].device_id(), "gpu-big");
  EXPECT_EQ(changes[0].old_status(), v1::HEALTH_STATUS_OK);
  EXPECT_EQ(changes[0].new_status(), v1::HEALTH_STATUS_WARNING);
  EXPECT_THAT(changes[0].issues(), SizeIs(1));
  EXPECT_EQ(changes[0].node_id(), "node-a");

  ASSERT_EQ(process_->outbox.alerts.size(), 1u);
  const v1::DeviceMetricsAlert& alert = process_->outbox.alerts[0];
  EXPECT_EQ(alert.device_id(), "gpu-big");
  EXPECT_EQ(alert.metric(), "temperature");
  EXPECT_DOUBLE_EQ(alert.value(), 97);
  EXPECT_DOUBLE_EQ(alert.threshold(), 90);
}

TEST_F(DeviceUnitsTest, AChangeOfHealthOverARestartIsNoticed) {
  provider_->readings["cpu"].memory_pressure = 30;
  ASSERT_THAT(Round(), IsOk());
  ASSERT_EQ(Emitted<v1::DeviceHealthChanged>().size(), 1u);
  Start();
  provider_->Add("cpu", v1::DEVICE_TYPE_CPU, 64'000);
  ASSERT_THAT(Round(), IsOk());
  const std::vector<v1::DeviceHealthChanged> changes = Emitted<v1::DeviceHealthChanged>();
  ASSERT_EQ(changes.size(), 2u);
  EXPECT_EQ(changes[1].old_status(), v1::HEALTH_STATUS_WARNING);
  EXPECT_EQ(changes[1].new_status(), v1::HEALTH_STATUS_OK);
}

TEST_F(DeviceUnitsTest, ADeviceThatVanishesStaysAndIsReportedLost) {
  ASSERT_THAT(Round(), IsOk());
  std::erase_if(provider_->devices, [](const v1::Device& device) { return device.id() == "gpu-small"; });
  Reading lost;
  lost.faults.push_back({"device_lost", v1::HEALTH_STATUS_CRITICAL, "gone"});
  provider_->readings["gpu-small"] = lost;
  const auto detected = Ask(&DeviceUnits::Detect, v1::DetectRequest());
  ASSERT_THAT(detected, IsOk());
  EXPECT_THAT(detected->devices(), SizeIs(4));
  ASSERT_THAT(Round(), IsOk());
  v1::InfoRequest request;
  request.set_device_id("gpu-small");
  EXPECT_EQ(Ask(&DeviceUnits::Info, request)->memory().total(), 8'000) << "what it was stays known";
  EXPECT_EQ(Ask(&DeviceUnits::Health, v1::HealthRequest())->status(), v1::HEALTH_STATUS_CRITICAL);
}

TEST_F(DeviceUnitsTest, ADeviceThatABetterProviderSpeaksForTakesTheOldOnesPlace) {
  provider_->Add("nvidia-0000-01-00-0", v1::DEVICE_TYPE_GPU, 0).set_pci_address("0000:01:00.0");
  ASSERT_THAT(Round(), IsOk());
  provider_->devices.back().set_id("nvidia-5e0f9c1a");
  const auto detected = Ask(&DeviceUnits::Detect, v1::DetectRequest());
  ASSERT_THAT(detected, IsOk());
  EXPECT_THAT(detected->devices(), SizeIs(5));
  EXPECT_THAT(detected->new_device_ids(), ElementsAre("nvidia-5e0f9c1a"));
}

TEST_F(DeviceUnitsTest, APowerLimitIsSetAndTheOldOneTold) {
  ASSERT_THAT(Round(), IsOk());
  v1::SetPowerLimitRequest request;
  request.set_device_id("gpu-big");
  request.set_limit_watts(220);
  const auto set = Ask(&DeviceUnits::SetPowerLimit, request);
  ASSERT_THAT(set, IsOk());
  EXPECT_TRUE(set->success());
  EXPECT_DOUBLE_EQ(set->limit_watts(), 220);
  EXPECT_DOUBLE_EQ(set->previous_watts(), 300);
  EXPECT_DOUBLE_EQ(provider_->limits["gpu-big"], 220);
  EXPECT_DOUBLE_EQ(Ask(&DeviceUnits::Info, v1::InfoRequest())->power_limit().current_watts(), 220);

  provider_->limit_answer = Error(v1::POWER_LIMIT_DENIED, "not allowed");
  EXPECT_THAT(Ask(&DeviceUnits::SetPowerLimit, request), FailsWith(v1::POWER_LIMIT_DENIED, "not allowed"));
}

TEST(DeviceWatch, MeasuresOnWhileTheDatabaseIsAwayAndCatchesUpAfterwards) {
  Postgres postgres;
  Loop loop;
  const std::unique_ptr<pg::Database> db =
      postgres.Open(loop, "device", {AIMA_SOURCE_DIR "/services/device/migrations"});
  FakeProvider* provider = nullptr;
  Process process(loop, *db, provider, "node-a");
  provider->Add("cpu", v1::DEVICE_TYPE_CPU, 64'000);
  CallContext call;
  ASSERT_THAT(Await(loop, process.watch->Round(call)), IsOk());

  postgres.Stop();
  provider->readings["cpu"].temperature = 95;
  EXPECT_FALSE(Await(loop, process.watch->Round(call)).ok());
  EXPECT_EQ(Await(loop, process.units->Health(call, v1::HealthRequest()))->status(), v1::HEALTH_STATUS_WARNING);
  EXPECT_EQ(process.outbox.alerts.size(), 1u);

  postgres.Start();
  absl::Status told = absl::UnknownError("not tried");
  for (const absl::Time end = absl::Now() + absl::Minutes(2); !told.ok() && absl::Now() < end;) {
    told = Await(loop, process.watch->Round(call));
  }
  ASSERT_THAT(told, IsOk());
  EXPECT_EQ(process.monitor->Find("cpu")->reported, v1::HEALTH_STATUS_WARNING);
  EXPECT_EQ(process.outbox.alerts.size(), 1u) << "told of once";
}

}  // namespace
}  // namespace aima::device
