// Room for engines that somebody starts, made by those that nobody uses.
#include "services/inference/loader.h"

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>

#include "aima/engine/v1/engine.pb.h"
#include "services/inference/loader_for_test.h"

namespace aima::inference {
namespace {

using aima::testing::IsOk;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

class LoaderRoomTest : public LoaderTest {
 protected:
  // Somebody has pinned `b` without this service's knowing yet.
  void KeepB() {
    engines_.unload = [this](std::string instance, int64_t) -> Task<absl::Status> {
      if (instance == "b") co_return Error(engine::v1::ENGINE_INSTANCE_KEPT, "it is pinned");
      Remove(instance);
      co_return absl::OkStatus();
    };
  }
  // What was found of so much room on a machine that is full of these models, of which `b` is kept.
  Loader::Room RoomMadeOf(const std::vector<std::string>& models, int64_t bytes) {
    memory_ = 100 * static_cast<int64_t>(models.size());
    for (const std::string& model : models) EXPECT_THAT(Acquire(model), IsOk());
    KeepB();
    std::optional<Loader::Room> room;
    Spawn(MakeRoom(bytes, &room));
    RunUntil([&] { return room.has_value(); });
    return *room;
  }
  // Of `a` and `b`, which fill the machine, `a` is being unloaded for a request for `c`, until `ends_` is woken.
  void BeginToUnloadAForC() {
    memory_ = 200;
    for (const char* model : {"a", "b"}) ASSERT_THAT(Acquire(model), IsOk());
    engines_.unload = [this](std::string instance, int64_t) -> Task<absl::Status> {
      if (instance == "a") co_await ends_.Wait(absl::InfiniteFuture());
      Remove(instance);
      co_return absl::OkStatus();
    };
    Spawn(Client("c", 1));
    RunUntil([&] { return engines_.unloads.size() == 1; });
  }

  Waiter ends_{loop_};
};

TEST_F(LoaderRoomTest, RoomForWhoAsksForItIsMadeByIdleEnginesThatWereUsedLeastRecently) {
  memory_ = 300;
  for (const char* model : {"a", "b", "c", "a"}) ASSERT_THAT(Acquire(model), IsOk());
  Leased busy = Acquire("b");
  const auto room = [&](int64_t bytes, bool only_look) {
    absl::StatusOr<Loader::Room> found =
        aima::testing::Run(loop_, router_->loader().MakeIdleRoom(call_, bytes, only_look));
    EXPECT_THAT(found, IsOk());
    EXPECT_TRUE(found->engines.empty() || found->unloaded.empty());
    return std::pair(found->enough, Names(found->unloaded.empty() ? found->engines : found->unloaded));
  };
  EXPECT_THAT(room(100, /*only_look=*/true), Pair(true, ElementsAre("c")));
  EXPECT_THAT(room(300, /*only_look=*/false), Pair(false, ::testing::UnorderedElementsAre("a", "c")));
  EXPECT_THAT(engines_.unloads, IsEmpty());
  EXPECT_THAT(room(200, /*only_look=*/false), Pair(true, ::testing::UnorderedElementsAre("a", "c")));
  EXPECT_EQ(engines_.unloads.size(), 2u);
  EXPECT_THAT(room(100, /*only_look=*/false), Pair(false, IsEmpty())) << "what is in use stays";
}

TEST_F(LoaderRoomTest, InPlaceOfAnEngineThatIsWantedAfterAllOthersMakeRoomAndOnlyWhatIsGoneIsTold) {
  const Loader::Room room = RoomMadeOf({"a", "b", "c"}, 200);
  EXPECT_TRUE(room.enough);
  EXPECT_THAT(Names(room.unloaded), ElementsAre("a", "c"));
  EXPECT_THAT(room.engines, IsEmpty());
}

TEST_F(LoaderRoomTest, WhereNoOtherCanTakeThePlaceOfAnEngineThatIsWantedWhatIsGoneIsTooLittle) {
  const Loader::Room room = RoomMadeOf({"a", "b"}, 200);
  EXPECT_FALSE(room.enough);
  EXPECT_THAT(Names(room.unloaded), ElementsAre("a"));
  EXPECT_THAT(room.engines, IsEmpty());
}

TEST_F(LoaderRoomTest, WhatAnEvictionThatIsCutShortHasFreedIsNotFreedAgain) {
  for (const char* model : {"d", "large"}) models_.Add(model, v1::MODEL_TYPE_LLM);
  Restart();
  memory_ = 400;
  engines_.start = [this](std::string model) -> Task<absl::Status> {
    const int64_t free = memory_ - 100 * static_cast<int64_t>(engines_.endpoints.size());
    if (model == "large" && free < 200) {
      co_return Error(resource::v1::RESOURCE_INSUFFICIENT, "too little",
                      {{"class", "memory_bytes"}, {"needed", "200"}, {"available", absl::StrCat(free)}});
    }
    co_return co_await StartModel(model);
  };
  KeepB();
  for (const char* model : {"a", "b", "c", "d"}) ASSERT_THAT(Acquire(model), IsOk());
  EXPECT_THAT(Acquire("large"), IsOk());
  EXPECT_THAT(engines_.unloads, ElementsAre(Pair("a", UnloadReason::kRoom), Pair("b", UnloadReason::kRoom),
                                            Pair("c", UnloadReason::kRoom)));
}

TEST_F(LoaderRoomTest, WhoStartsAnEngineWaitsUntilRoomThatIsBeingMadeForARequestIsUsed) {
  BeginToUnloadAForC();
  std::optional<Loader::Room> room;
  Spawn(MakeRoom(100, &room));
  loop_.poll();
  EXPECT_EQ(engines_.unloads.size(), 1u);
  ends_.Wake();
  RunUntil([&] { return room.has_value() && ended_ == 1; });
  EXPECT_THAT(engines_.unloads, ElementsAre(Pair("a", UnloadReason::kRoom), Pair("b", UnloadReason::kRoom)));
}

TEST_F(LoaderRoomTest, ARequestInLineLeavesToWhoStartsAnEngineWhatIsBeingUnloadedForIt) {
  settings_.turns.shortest_linger = settings_.turns.longest_linger = absl::Milliseconds(500);
  Restart();
  Leased busy = Acquire("a");
  Waiter ends(loop_);
  engines_.unload = [&](std::string instance, int64_t) -> Task<absl::Status> {
    if (engines_.unloads.size() == 1) co_await ends.Wait(absl::InfiniteFuture());
    Remove(instance);
    co_return absl::OkStatus();
  };
  Spawn(Client("b", 1));
  RunUntil([&] { return engines_.starts == 2; });
  loop_.poll();
  busy->Release();
  std::optional<Loader::Room> room;
  Spawn(MakeRoom(100, &room));  // it does not linger
  RunUntil([&] { return !engines_.unloads.empty(); });
  Waiter longer(loop_);
  aima::testing::Run(loop_, longer.Wait(absl::Now() + absl::Milliseconds(600)));
  EXPECT_EQ(engines_.unloads.size(), 1u) << "it is being unloaded already";
  ends.Wake();
  RunUntil([&] { return room.has_value() && ended_ == 1; });
  EXPECT_EQ(engines_.unloads.size(), 1u);
}

TEST_F(LoaderRoomTest, WhatARequestHasJustLoadedServesItBeforeItMakesRoom) {
  Waiter loaded(loop_), read(loop_);
  engines_.start = [&](std::string model) -> Task<absl::Status> {
    co_await loaded.Wait(absl::InfiniteFuture());
    co_return co_await StartModel(model);
  };
  Spawn(Client("a", 1));
  RunUntil([&] { return engines_.starts == 1; });
  // Who asks for room reads which engines run, and sees the new one before the request does.
  int reading = 0;
  engines_.reading = [&]() -> Task<void> {
    ++reading;
    co_await read.Wait(absl::InfiniteFuture());
  };
  std::optional<Loader::Room> room;
  Spawn(MakeRoom(100, &room));
  RunUntil([&] { return reading == 1; });
  loaded.Wake();
  loop_.poll();
  read.Wake();
  RunUntil([&] { return room.has_value() && ended_ == 1; });
  EXPECT_THAT(engines_.unloads, IsEmpty());
  EXPECT_FALSE(room->enough);
  EXPECT_EQ(engines_.starts, 1);
}

TEST_F(LoaderRoomTest, NothingIsUnloadedForWhoHasLeftWhileAnotherMadeRoom) {
  BeginToUnloadAForC();
  boost::asio::cancellation_signal leave;
  bool left = false;
  boost::asio::co_spawn(loop_, router_->loader().MakeIdleRoom(call_, 100, /*only_look=*/false),
                        boost::asio::bind_cancellation_slot(
                            leave.slot(), [&](std::exception_ptr, absl::StatusOr<Loader::Room>) { left = true; }));
  loop_.poll();
  leave.emit(boost::asio::cancellation_type::terminal);
  RunUntil([&] { return left; });
  ends_.Wake();
  RunUntil([&] { return ended_ == 1; });
  loop_.poll();
  EXPECT_THAT(engines_.unloads, ElementsAre(Pair("a", UnloadReason::kRoom)));
}

}  // namespace
}  // namespace aima::inference
