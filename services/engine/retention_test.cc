// For how long instances stay: who may unload them, and what it means to find no memory.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "libs/unit/catalogue.h"
#include "services/engine/engine_units_for_test.h"

namespace aima::engine {
namespace {

using aima::testing::FailsWith;
using aima::testing::IsOk;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class RetentionTest : public EngineUnitsTest {
 protected:
  absl::Status Unload(const std::string& instance, v1::UnloadReason reason, int64_t generation = 1) {
    v1::UnloadRequest request;
    request.set_instance_id(instance);
    request.set_generation(generation);
    request.set_reason(reason);
    return Await(service_->units.Unload(call_, request)).status();
  }
  Task<void> UnloadInBackground(std::string instance) {
    CallContext call;
    v1::UnloadRequest request;
    request.set_instance_id(instance);
    request.set_generation(1);
    request.set_reason(v1::UNLOAD_REASON_ROOM);
    (void)co_await service_->units.Unload(call, request);
  }
  Task<void> StartInPlaceOfIdleOnes(std::string model, std::optional<absl::StatusOr<v1::StartResponse>>* result) {
    CallContext call;
    v1::StartRequest request;
    request.set_model_id(model);
    request.set_evict_idle(true);
    absl::StatusOr<v1::StartResponse> response = co_await service_->units.Start(call, request);
    *result = std::move(response);
  }
  Task<void> StopInBackground(std::string instance, bool* stopped) {
    CallContext call;
    v1::StopRequest request;
    request.set_name(instance);
    EXPECT_THAT(co_await service_->units.Stop(call, request), IsOk());
    *stopped = true;
  }
  Task<void> DrainInBackground(bool* drained) {
    co_await service_->instances.Drain();
    *drained = true;
  }
  // Keeps everybody from writing until it is told to let go.
  Task<void> HoldRows(pg::Database& db, bool& held, const bool& release) {
    (void)co_await db.Transact(CallContext(), [&](pg::Transaction& transaction) -> Task<absl::Status> {
      const absl::StatusOr<pg::Result> locked =
          co_await transaction.Query({"test_hold", "SELECT FROM tenure FOR UPDATE"}, {});
      if (!locked.ok()) co_return locked.status();
      held = true;
      while (!release) {
        boost::asio::steady_timer timer(loop_, std::chrono::milliseconds(20));
        co_await timer.async_wait(boost::asio::use_awaitable);
      }
      co_return absl::OkStatus();
    });
  }
  v1::Endpoint Endpoint() { return Await(service_->units.Endpoints(call_, {}))->items(0); }
};

TEST_F(RetentionTest, WhatWasLoadedOnDemandIsUnloadedForBothReasonsAndTellsWhy) {
  Model("smol", "");
  ASSERT_THAT(Start("smol", "on_demand: true"), IsOk());
  EXPECT_TRUE(Endpoint().on_demand());
  EXPECT_EQ(Endpoint().idle_timeout(), 30 * 60 * 1000) << "what the configuration says";
  EXPECT_EQ(Endpoint().memory_bytes(), 64 << 20);
  EXPECT_THAT(Unload("smol", v1::UNLOAD_REASON_ROOM), IsOk());
  EXPECT_THAT(around_.slots, IsEmpty()) << "its memory is free when that returns";
  EXPECT_TRUE(Eventually([&] { return around_.CountEvents("engine.stopped") == 1; }));
  EXPECT_EQ(around_.LastEvent<v1::EngineStopped>().reason(), "room");
  EXPECT_THAT(Unload("smol", v1::UNLOAD_REASON_ROOM), IsOk()) << "it is gone already";

  ASSERT_THAT(Start("smol", "on_demand: true idle_timeout: 5000"), IsOk());
  EXPECT_EQ(Endpoint().idle_timeout(), 5000);
  ASSERT_THAT(Start("smol", "on_demand: true idle_timeout: 7000"), IsOk());
  EXPECT_EQ(Endpoint().idle_timeout(), 7000) << "what requests have loaded, requests may keep for longer";
  ASSERT_THAT(Start("smol", "on_demand: true"), IsOk());
  EXPECT_EQ(Endpoint().idle_timeout(), 7000);
  EXPECT_THAT(Unload("smol", v1::UNLOAD_REASON_IDLE, 2), IsOk());
  EXPECT_TRUE(Eventually([&] { return around_.CountEvents("engine.stopped") == 2; }));
  EXPECT_EQ(around_.LastEvent<v1::EngineStopped>().reason(), "idle");
}

TEST_F(RetentionTest, WhatSomebodyStartedStaysUnlessToldOtherwise) {
  Model("smol", "");
  ASSERT_THAT(Start("smol"), IsOk());
  EXPECT_THAT(Unload("smol", v1::UNLOAD_REASON_ROOM), FailsWith(v1::ENGINE_INSTANCE_KEPT, "somebody"));
  EXPECT_THAT(Unload("smol", v1::UNLOAD_REASON_IDLE), FailsWith(v1::ENGINE_INSTANCE_KEPT, "somebody"));
  ASSERT_THAT(Start("smol", "on_demand: true idle_timeout: 9000"), IsOk()) << "a request that needs it has no opinion on that";
  EXPECT_FALSE(Endpoint().on_demand());
  EXPECT_EQ(Endpoint().idle_timeout(), 0);
  ASSERT_THAT(Start("smol", "idle_timeout: 1000"), IsOk());
  EXPECT_EQ(Endpoint().idle_timeout(), 1000);
  EXPECT_TRUE(Eventually([&] { return around_.CountEvents("engine.retention_changed") == 1; }));
  EXPECT_THAT(Unload("smol", v1::UNLOAD_REASON_ROOM), FailsWith(v1::ENGINE_INSTANCE_KEPT, "somebody"));
  EXPECT_THAT(Unload("smol", v1::UNLOAD_REASON_IDLE), IsOk());
}

TEST_F(RetentionTest, AnInstanceThatIsPinnedWhileItRunsStaysAndStillDoesAfterTheServiceWasKilled) {
  Model("smol", "");
  ASSERT_THAT(Start("smol", "on_demand: true"), IsOk());
  const absl::StatusOr<v1::StartResponse> pinned = Start("smol", "pinned: true");
  ASSERT_THAT(pinned, IsOk());
  EXPECT_TRUE(pinned->already_running());
  Restart();
  ASSERT_TRUE(Eventually([&] { return CountEndpoints() == 1; }));
  EXPECT_TRUE(Endpoint().pinned());
  for (const auto reason : {v1::UNLOAD_REASON_ROOM, v1::UNLOAD_REASON_IDLE}) {
    EXPECT_THAT(Unload("smol", reason), FailsWith(v1::ENGINE_INSTANCE_KEPT, "pinned"));
  }
  EXPECT_THAT(Stop("smol"), IsOk()) << "who asks for that is heard";
}

TEST_F(RetentionTest, ALaterStartIsNotUnloadedForAnEarlierOne) {
  Model("smol", "");
  ASSERT_THAT(Start("smol", "on_demand: true"), IsOk());
  ASSERT_THAT(Stop("smol"), IsOk());
  ASSERT_THAT(Start("smol", "on_demand: true"), IsOk());
  EXPECT_THAT(Unload("smol", v1::UNLOAD_REASON_ROOM, 1), FailsWith(v1::ENGINE_INSTANCE_KEPT, "started again"));
}

TEST_F(RetentionTest, AnUnloadThatWasCutOffByAKillIsFinishedAfterIt) {
  Model("deaf", "ignore-term\n");
  ASSERT_THAT(Start("deaf", "on_demand: true"), IsOk());
  service_->spawn(UnloadInBackground("deaf"));
  ASSERT_TRUE(Eventually([&] { return Get("deaf").status() == v1::INSTANCE_STATUS_STOPPING; }));
  Restart();
  EXPECT_TRUE(Eventually([&] { return Get("deaf").status() == v1::INSTANCE_STATUS_STOPPED; }));
  EXPECT_THAT(process::FindMarked(kHomeVariable, dir_), IsEmpty());
  EXPECT_THAT(around_.slots, IsEmpty());
  EXPECT_THAT(Unload("deaf", v1::UNLOAD_REASON_ROOM), IsOk()) << "who repeats it learns that it is done";
}

TEST_F(RetentionTest, WhatIsToBeLoadedOnDemandAndFindsNoMemoryIsNotAFailedInstance) {
  Model("smol", "");
  around_.no_memory = true;
  EXPECT_THAT(Start("smol", "on_demand: true"), FailsWith(resource::v1::RESOURCE_INSUFFICIENT, "full"));
  EXPECT_FALSE(Exists("smol"));
  EXPECT_EQ(around_.CountEvents("engine.error"), 0);
  around_.no_memory = false;
  ASSERT_THAT(Start("smol", "on_demand: true"), IsOk());
  EXPECT_EQ(Get("smol").generation(), 1) << "it was started once";
}

TEST_F(RetentionTest, AStartThatIsRefusedBeforeItHasBegunLeavesNothingBehind) {
  Model("smol", "");
  around_.no_memory = true;
  EXPECT_THAT(Start("smol", "another: true"), FailsWith(resource::v1::RESOURCE_INSUFFICIENT, "full"));
  EXPECT_FALSE(Exists("smol"));
  EXPECT_THAT(Stop("smol"), FailsWith(v1::ENGINE_NOT_FOUND, "smol"));
  const absl::StatusOr<v1::ListResponse> list = Await(service_->units.List(call_, v1::ListRequest()));
  ASSERT_THAT(list, IsOk());
  for (const v1::Engine& engine : list->items()) EXPECT_EQ(engine.instances_size(), 0);
  Restart();
  EXPECT_FALSE(Exists("smol")) << "neither is it stored";

  around_.no_memory = false;
  ASSERT_THAT(Start("smol"), IsOk());
  ASSERT_THAT(Stop("smol"), IsOk());
  around_.no_memory = true;
  EXPECT_THAT(Start("smol"), FailsWith(resource::v1::RESOURCE_INSUFFICIENT, "full"));
  EXPECT_EQ(Get("smol").status(), v1::INSTANCE_STATUS_STOPPED) << "as it was before";
  EXPECT_EQ(Get("smol").generation(), 1);
  EXPECT_EQ(around_.slots.size(), 0u);
}

TEST_F(RetentionTest, HowARequestThatFoundNoMemoryWantedItsModelHoldsWhenInferenceHasMadeRoom) {
  Model("smol", "");
  around_.no_memory = true;
  around_.idle = {{"old", 5}};
  EXPECT_THAT(Start("smol", "on_demand: true config { context_length: 768 }"),
              FailsWith(resource::v1::RESOURCE_INSUFFICIENT, "full"));
  EXPECT_THAT(Start("smol", "on_demand: true"), FailsWith(resource::v1::RESOURCE_INSUFFICIENT, "full"));
  EXPECT_EQ(around_.rooms, 0);
  around_.no_memory = false;
  ASSERT_THAT(Start("smol", "on_demand: true"), IsOk());
  EXPECT_EQ(Get("smol").config().context_length(), 768);
  ASSERT_THAT(Stop("smol"), IsOk());
  ASSERT_THAT(Start("smol", "on_demand: true"), IsOk());
  EXPECT_EQ(Get("smol").config().context_length(), 4096) << "as any other: nobody has asked for anything else";
}

TEST_F(RetentionTest, WhoStartsAnEngineAndFindsNoMemoryIsToldWhoCouldBeUnloaded) {
  Model("smol", "");
  around_.no_memory = true;
  EXPECT_THAT(Start("smol"), FailsWith(resource::v1::RESOURCE_INSUFFICIENT, "full; no engine that is idle"));
  around_.idle = {{"old", 5}, {"older", 7}};
  absl::Status refused = Start("smol").status();
  EXPECT_THAT(refused, FailsWith(resource::v1::RESOURCE_INSUFFICIENT,
                                 "idle, and enough if unloaded: 'old' (5 bytes), 'older' (7 bytes); evict_idle"));
  EXPECT_EQ(DetailsOf(refused).metadata["evictable"], "old,older");
  EXPECT_EQ(DetailsOf(refused).metadata["needed"], "2") << "as the ledger said it";
  around_.idle_is_enough = false;
  EXPECT_THAT(Start("smol", "evict_idle: true"), FailsWith(resource::v1::RESOURCE_INSUFFICIENT, "is too little: 'old'"));
  EXPECT_THAT(around_.unloaded, IsEmpty());
  refused = Start("smol", "on_demand: true").status();
  EXPECT_EQ(refused.message(), "the machine is full") << "for requests inference makes room by itself";
}

TEST_F(RetentionTest, WhoAsksForItStartsAnEngineInPlaceOfIdleOnes) {
  Model("smol", "");
  around_.no_memory = true;
  around_.late = 3;
  around_.idle = {{"old", 5}};
  EXPECT_THAT(Start("smol", "evict_idle: true"), IsOk());
  EXPECT_THAT(around_.unloaded, ::testing::ElementsAre("old"));
  EXPECT_EQ(around_.late, -1) << "what is freed is waited for, not taken from others";
  EXPECT_EQ(Get("smol").status(), v1::INSTANCE_STATUS_RUNNING);
}

TEST_F(RetentionTest, WhereOneOfThoseThatWereToGoIsKeptWhatTheOthersFreedIsUsed) {
  Model("smol", "");
  around_.no_memory = true;
  around_.idle = {{"old", 5}, {"older", 7}};
  around_.wanted = {"older"};
  EXPECT_THAT(Start("smol", "evict_idle: true"), IsOk());
  EXPECT_THAT(around_.unloaded, ::testing::ElementsAre("old"));
}

TEST_F(RetentionTest, WhoIsRefusedAlthoughOthersWereUnloadedIsToldOfThem) {
  patience_.freed = absl::Milliseconds(1);
  Restart();
  Model("smol", "");
  around_.no_memory = true;
  around_.frees = false;
  around_.idle = {{"old", 5}};
  EXPECT_THAT(Start("smol", "evict_idle: true"),
              FailsWith(resource::v1::RESOURCE_INSUFFICIENT, "unloaded for it: 'old' (5 bytes); no engine that is idle"));
}

TEST_F(RetentionTest, RoomWhoseMakerDiesBeforeItAnswersIsNotMadeTwiceButUsed) {
  const auto* make_room = inference::v1::MakeRoomRequest::descriptor()->file()->service(0)->FindMethodByName("MakeRoom");
  EXPECT_FALSE(UnitOptions(*make_room).idempotent()) << "or the client would repeat it, and others would be unloaded";
  Model("smol", "");
  around_.no_memory = true;
  around_.room_answer_is_lost = true;
  around_.idle = {{"old", 5}};
  EXPECT_THAT(Start("smol", "evict_idle: true"), IsOk());
  EXPECT_EQ(around_.rooms, 1);
}

TEST_F(RetentionTest, AStopAndTheEndOfTheServiceDoNotWaitForOthersToMakeRoom) {
  Model("smol", "");
  around_.no_memory = true;
  around_.room_takes_forever = true;
  std::optional<absl::StatusOr<v1::StartResponse>> started;
  service_->spawn(StartInPlaceOfIdleOnes("smol", &started));
  ASSERT_TRUE(Eventually([&] { return around_.rooms == 1; }));
  bool stopped = false;
  service_->spawn(StopInBackground("smol", &stopped));
  EXPECT_TRUE(Eventually([&] { return stopped && started.has_value(); }, absl::Seconds(30)));
  EXPECT_THAT(started.value_or(absl::UnknownError("")), FailsWith(v1::ENGINE_START_FAILED, "was stopped"));

  started.reset();
  service_->spawn(StartInPlaceOfIdleOnes("smol", &started));
  ASSERT_TRUE(Eventually([&] { return around_.rooms == 2; }));
  bool drained = false;
  service_->spawn(DrainInBackground(&drained));
  EXPECT_TRUE(Eventually([&] { return drained && started.has_value(); }, absl::Seconds(30)));
  EXPECT_EQ(started.value_or(absl::UnknownError("")).status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(RetentionTest, WhatWasLoadedOnDemandAndHasDiedIsNotBroughtBackIntoMemoryThatAnotherHas) {
  patience_.first_backoff = absl::Milliseconds(20);
  Restart();
  Model("smol", "");
  const absl::StatusOr<v1::StartResponse> started = Start("smol", "on_demand: true");
  ASSERT_THAT(started, IsOk());
  around_.no_memory = true;
  kill(started->process_id(), SIGKILL);
  ASSERT_TRUE(Eventually([&] { return around_.CountEvents("engine.error") == 2; })) << "its end, and that it stays ended";
  EXPECT_FALSE(Get("smol").has_next_start_at());
  around_.no_memory = false;
  EXPECT_THAT(Start("smol", "on_demand: true"), IsOk());
}

TEST_F(RetentionTest, WhatSomebodyWantsOfAnInstanceThatWaitsForItsNextStartCountsAlready) {
  patience_.first_backoff = absl::Milliseconds(1500);
  Restart();
  Model("smol", "");
  const absl::StatusOr<v1::StartResponse> first = Start("smol", "on_demand: true");
  ASSERT_THAT(first, IsOk());
  kill(first->process_id(), SIGKILL);
  ASSERT_TRUE(Eventually([&] { return Get("smol").has_next_start_at(); }));
  std::optional<absl::StatusOr<v1::StartResponse>> pinned;
  service_->spawn(StartInto("smol", &pinned, /*pinned=*/true));
  ASSERT_TRUE(Eventually([&] { return service_->instances.Find("smol")->starting(); }));
  EXPECT_FALSE(Get("smol").pinned()) << "its time has not come";
  ASSERT_THAT(Start("smol", "on_demand: true"), IsOk()) << "a request that needs it meanwhile";
  EXPECT_TRUE(Eventually([&] { return pinned.has_value(); }));
  EXPECT_TRUE(Get("smol").pinned());
  EXPECT_FALSE(Get("smol").on_demand());
}

TEST_F(RetentionTest, AnInstanceThatWaitsForItsNextStartIsNotUnloaded) {
  Model("smol", "");
  const absl::StatusOr<v1::StartResponse> started = Start("smol", "on_demand: true");
  ASSERT_THAT(started, IsOk());
  kill(started->process_id(), SIGKILL);
  ASSERT_TRUE(Eventually([&] { return Get("smol").has_next_start_at(); }));
  EXPECT_THAT(Unload("smol", v1::UNLOAD_REASON_ROOM), FailsWith(v1::ENGINE_INSTANCE_KEPT, "started again"));
  EXPECT_TRUE(Get("smol").has_next_start_at()) << "it is still wanted";
}

TEST_F(RetentionTest, ARestartUnderTheSameKeyIsARestartOnce) {
  Model("smol", "");
  ASSERT_THAT(Start("smol", "pinned: true"), IsOk());
  v1::RestartRequest request;
  request.set_name("smol");
  CallContext keyed = call_;
  keyed.idempotency_key = "again";
  const absl::StatusOr<v1::RestartResponse> first = Await(service_->units.Restart(keyed, request));
  ASSERT_THAT(first, IsOk());
  // The answer was lost, and the service killed.
  Restart();
  ASSERT_TRUE(Eventually([&] { return CountEndpoints() == 1; }));
  const absl::StatusOr<v1::RestartResponse> second = Await(service_->units.Restart(keyed, request));
  ASSERT_THAT(second, IsOk());
  EXPECT_EQ(second->process_id(), first->process_id());
  EXPECT_EQ(Get("smol").generation(), 2);
  EXPECT_TRUE(Get("smol").pinned()) << "as it was";
  keyed.idempotency_key = "another";
  ASSERT_THAT(Await(service_->units.Restart(keyed, request)), IsOk());
  EXPECT_EQ(Get("smol").generation(), 3);
}

TEST_F(RetentionTest, ARestartThatWasCutOffBetweenStopAndStartIsFinishedUnderItsKey) {
  Model("smol", "");
  ASSERT_THAT(Start("smol"), IsOk());
  const auto instance = service_->instances.Find("smol");
  ASSERT_THAT(Await(instance->Stop(call_, {.restart_key = "again"})->Result()), IsOk());
  Restart();
  v1::RestartRequest request;
  request.set_name("smol");
  CallContext keyed = call_;
  keyed.idempotency_key = "again";
  ASSERT_THAT(Await(service_->units.Restart(keyed, request)), IsOk());
  EXPECT_EQ(Get("smol").generation(), 2);
}

TEST_F(RetentionTest, AnInstanceWhoseStopCouldNotBeStoredIsWatchedOn) {
  Model("smol", "");
  const absl::StatusOr<v1::StartResponse> started = Start("smol");
  ASSERT_THAT(started, IsOk());
  const auto db = pg::Open(loop_, database_);
  bool held = false, release = false;
  service_->spawn(HoldRows(*db, held, release));
  ASSERT_TRUE(Eventually([&] { return held; }));
  // Waits for the row for as long as a write may; the watch sees meanwhile that the instance is being stopped, and leaves.
  EXPECT_EQ(Stop("smol").status().code(), absl::StatusCode::kUnavailable);
  release = true;
  EXPECT_EQ(Get("smol").status(), v1::INSTANCE_STATUS_RUNNING);
  kill(started->process_id(), SIGKILL);
  EXPECT_TRUE(Eventually([&] { return Get("smol").status() == v1::INSTANCE_STATUS_FAILED; }, absl::Seconds(20)))
      << "its end is seen";
}

TEST_F(RetentionTest, AServiceThatHasBeenSupersededWritesNothingAndEndsNothing) {
  Model("smol", "");
  Model("other", "");
  const absl::StatusOr<v1::StartResponse> started = Start("smol");
  ASSERT_THAT(started, IsOk());
  // Another one takes over, in the database only, as from a machine with the same data directory.
  auto db = pg::Open(loop_, database_);
  const std::string elsewhere = dir_ + "/elsewhere";
  std::filesystem::create_directories(elsewhere + "/run");
  const absl::StatusOr<Tenure> newer = Service::Begin(loop_, *db, elsewhere);
  ASSERT_THAT(newer, IsOk());
  EXPECT_GT(newer->epoch(), service_->tenure.epoch());
  EXPECT_EQ(Start("other").status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(Stop("smol").status().code(), absl::StatusCode::kUnavailable);
  EXPECT_GT(service_->times_superseded, 0) << "where the real one ends";
  EXPECT_TRUE(process::ReadEntry(started->process_id())) << "it was not its to end any more";
  EXPECT_EQ(process::FindMarked(kHomeVariable, dir_).size(), 2u) << "nor was it to start anything";
  Record record = service_->instances.Find("smol")->record();
  EXPECT_TRUE(Tenure::Refused(Await(db->Write(call_, service_->store.Save(record))).status()));
  EXPECT_THAT(Await(db->Write(call_, InstanceStore(*db, *newer).Save(record))), IsOk());
}

TEST_F(RetentionTest, AServiceThatHasBeenSupersededOnItsMachineSignalsNobody) {
  Model("smol", "");
  const absl::StatusOr<v1::StartResponse> started = Start("smol");
  ASSERT_THAT(started, IsOk());
  std::ofstream(Tenure::FileIn(dir_)) << getpid() << " 1 boot " << service_->tenure.epoch() + 1 << "\n";
  EXPECT_FALSE(service_->tenure.Holds());
  EXPECT_EQ(Stop("smol", /*force=*/true).status().code(), absl::StatusCode::kInternal);
  EXPECT_TRUE(process::ReadEntry(started->process_id()));
  EXPECT_GT(service_->times_superseded, 0);
  std::filesystem::remove(Tenure::FileIn(dir_));
}

}  // namespace
}  // namespace aima::engine
