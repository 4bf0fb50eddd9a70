// Loading on demand, through the router.
#include "services/inference/loader.h"

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>

#include "aima/engine/v1/engine.pb.h"
#include "services/inference/loader_for_test.h"

namespace aima::inference {
namespace {

using aima::testing::FailsWith;
using aima::testing::IsOk;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Le;
using ::testing::Pair;

TEST_F(LoaderTest, TheModelThatWasUsedLeastRecentlyMakesRoom) {
  memory_ = 200;
  EXPECT_THAT(Acquire("a"), IsOk());
  EXPECT_THAT(Acquire("b"), IsOk());
  EXPECT_THAT(Acquire("a"), IsOk());
  EXPECT_THAT(Acquire("c"), IsOk());
  EXPECT_THAT(engines_.unloads, ElementsAre(Pair("b", UnloadReason::kRoom)));
}

TEST_F(LoaderTest, WhileOneOfSeveralThatMakeRoomStopsTheOthersGetNothingInHand) {
  memory_ = 200;
  EXPECT_THAT(Acquire("a"), IsOk());
  EXPECT_THAT(Acquire("b"), IsOk());
  engines_.start = [this](std::string model) -> Task<absl::Status> {
    const int64_t free = memory_ - 100 * static_cast<int64_t>(engines_.endpoints.size());
    if (model == "c" && free < 200) {
      co_return Error(resource::v1::RESOURCE_INSUFFICIENT, "too little",
                      {{"class", "memory_bytes"}, {"needed", "200"}, {"available", absl::StrCat(free)}});
    }
    co_return co_await StartModel(model);
  };
  std::vector<int> served_before;
  engines_.unload = [&](std::string instance, int64_t) -> Task<absl::Status> {
    served_before.push_back(served_["b"]);
    if (instance == "a") Spawn(Client("b", 1));
    Waiter waiter(loop_);
    co_await waiter.Wait(absl::Now() + absl::Milliseconds(20));
    std::erase_if(engines_.endpoints, [&](const Endpoint& endpoint) { return endpoint.instance_id == instance; });
    co_return absl::OkStatus();
  };
  EXPECT_THAT(Acquire("c"), IsOk());
  EXPECT_THAT(engines_.unloads, ElementsAre(Pair("a", UnloadReason::kRoom), Pair("b", UnloadReason::kRoom)));
  EXPECT_THAT(served_before, ElementsAre(0, 0));
}

TEST_F(LoaderTest, FortyInterleavedRequestsForTwoModelsCostTwoLoads) {
  for (int i = 0; i < 40; ++i) Spawn(Client(i % 2 == 0 ? "a" : "b", 1));
  RunUntil([&] { return ended_ == 40; });
  EXPECT_EQ(served_["a"], 20);
  EXPECT_EQ(served_["b"], 20);
  // `a`, refused `b`, `b`.
  EXPECT_EQ(engines_.starts, 3);
  EXPECT_EQ(engines_.unloads.size(), 1u);
}

TEST_F(LoaderTest, ClientsThatAskOneAfterTheOtherDoNotMakeModelsTakeTurnsForEachRequest) {
  Spawn(Client("a", 20));
  Spawn(Client("b", 20));
  RunUntil([&] { return ended_ == 2; });
  EXPECT_EQ(served_["a"] + served_["b"], 40);
  EXPECT_EQ(engines_.unloads.size(), 1u);
}

TEST_F(LoaderTest, NobodyStarvesWhileAnotherModelIsAskedWithoutEnd) {
  settings_.turns.batch = 8;
  Restart();
  for (int i = 0; i < 4; ++i) Spawn(Client("a", 30));
  for (int i = 0; i < 4; ++i) Spawn(Client("b", 30));
  RunUntil([&] { return served_["b"] > 0; });
  EXPECT_THAT(served_["a"], Le(8 + 2 + 2)) << "its turn, what it had in hand, and what it served before anybody waited";
  RunUntil([&] { return ended_ == 8; });
  EXPECT_EQ(served_["a"] + served_["b"], 240);
  EXPECT_THAT(engines_.unloads.size(), Le(240u / 8)) << "each load serves a batch";
  int longest = 0;
  for (int i = 0, run = 0; i < 200; ++i) {
    run = i > 0 && order_[i] == order_[i - 1] ? run + 1 : 1;
    longest = std::max(longest, run);
  }
  EXPECT_THAT(longest, Le(8 + 4));
}

TEST_F(LoaderTest, ARequestInHandIsNeverCutOffAndTheErrorNamesWhoHoldsTheMemory) {
  Leased busy = Acquire("a");
  ASSERT_THAT(busy, IsOk());
  EXPECT_THAT(AcquireWithin(absl::Milliseconds(100), "b"),
              FailsWith(v1::INFERENCE_NO_ROOM, "'a' (1 MB, 1 requests in hand)"));
  EXPECT_THAT(engines_.unloads, IsEmpty());
  busy->Release();
  EXPECT_THAT(Acquire("b"), IsOk());
  EXPECT_THAT(engines_.unloads, ElementsAre(Pair("a", UnloadReason::kRoom)));
}

TEST_F(LoaderTest, WhoNobodyWaitsForAnyMoreMakesNobodyLeave) {
  settings_.turns.batch = 1;  // so that `a` is closed at once
  Restart();
  Leased busy = Acquire("a");
  boost::asio::cancellation_signal leave;
  boost::asio::co_spawn(loop_, router_->Acquire(call_, "b", Ask::kChat),
                        boost::asio::bind_cancellation_slot(leave.slot(), [](std::exception_ptr, Leased) {}));
  RunUntil([&] { return engines_.starts == 2; });
  loop_.poll();
  EXPECT_THAT(Acquire("a"), IsOk()) << "the last of its turn";
  EXPECT_FALSE(AcquireWithin(absl::Milliseconds(20), "a").ok()) << "it is closed";
  leave.emit(boost::asio::cancellation_type::terminal);
  EXPECT_THAT(AcquireWithin(absl::Seconds(20), "a"), IsOk()) << "it is open again";
  busy->Release();
  loop_.poll();
  EXPECT_THAT(engines_.unloads, IsEmpty());
}

TEST_F(LoaderTest, WherePinnedModelsHoldTheMemoryThatIsToldAtOnce) {
  engines_.endpoints = {EndpointOf("a")};
  engines_.endpoints[0].retention.pinned = true;
  EXPECT_THAT(Acquire("b"), FailsWith(v1::INFERENCE_NO_ROOM, "'a' (1 MB, pinned)"));
  engines_.endpoints[0].retention = {};
  EXPECT_THAT(Acquire("b"), FailsWith(v1::INFERENCE_NO_ROOM, "'a' (1 MB, started by somebody)"));
  EXPECT_THAT(engines_.unloads, IsEmpty());
}

TEST_F(LoaderTest, AModelThatSomebodyHasPinnedMeanwhileServesOn) {
  EXPECT_THAT(Acquire("a"), IsOk());
  engines_.unload = [&](std::string instance, int64_t) -> Task<absl::Status> {
    engines_.endpoints[0].retention.pinned = true;
    co_return Error(engine::v1::ENGINE_INSTANCE_KEPT, "it is pinned");
  };
  EXPECT_THAT(Acquire("b"), FailsWith(v1::INFERENCE_NO_ROOM, "pinned"));
  EXPECT_THAT(Acquire("a"), IsOk());
  EXPECT_EQ(engines_.unloads.size(), 1u);
}

TEST_F(LoaderTest, ADeadEngineServiceIsWaitedForInTheMiddleOfAnEviction) {
  EXPECT_THAT(Acquire("a"), IsOk());
  int deaths = 0;
  engines_.unload = [&](std::string instance, int64_t) -> Task<absl::Status> {
    if (++deaths < 3) co_return absl::UnavailableError("killed");
    engines_.endpoints.clear();
    engines_.start = [&](std::string model) -> Task<absl::Status> {
      if (++deaths < 6) co_return absl::UnavailableError("killed again");
      co_return co_await StartModel(model);
    };
    co_return absl::OkStatus();
  };
  EXPECT_THAT(Acquire("b"), IsOk());
  EXPECT_EQ(deaths, 6);
}

TEST_F(LoaderTest, AnEngineServiceThatStaysAwayIsToldOf) {
  settings_.unreachable = absl::Milliseconds(30);
  Restart();
  engines_.start = [&](std::string) -> Task<absl::Status> { co_return absl::UnavailableError("gone"); };
  EXPECT_EQ(Acquire("a").status().message(), "gone");
}

TEST_F(LoaderTest, ASecondModelWaitsForOneThatIsBeingLoaded) {
  Waiter loaded(loop_);
  bool loading = false;
  engines_.start = [&](std::string model) -> Task<absl::Status> {
    if (model == "b") {
      if (engines_.endpoints.empty() || !engines_.unloads.empty()) co_return co_await StartModel(model);
      co_return Error(resource::v1::RESOURCE_INSUFFICIENT, "too little",
                      {{"class", "memory_bytes"}, {"needed", "100"}, {"available", "0"}});
    }
    loading = true;
    co_await loaded.Wait(absl::InfiniteFuture());
    co_return co_await StartModel(model);
  };
  engines_.endpoints = {};
  Spawn(Client("a", 1));
  RunUntil([&] { return loading; });
  engines_.start = [this](std::string) -> Task<absl::Status> {
    if (!engines_.unloads.empty()) co_return co_await StartModel("b");
    co_return Error(resource::v1::RESOURCE_INSUFFICIENT, "too little",
                    {{"class", "memory_bytes"}, {"needed", "100"}, {"available", "0"}});
  };
  Spawn(Client("b", 1));
  loop_.poll();
  EXPECT_EQ(ended_, 0);
  loaded.Wake();
  RunUntil([&] { return ended_ == 2; });
  EXPECT_THAT(order_, ElementsAre("a", "b"));
}

TEST_F(LoaderTest, AStartThatFailedIsToldToAllWhoWaitAndNotRepeatedForAWhile) {
  settings_.first_backoff = absl::Hours(1);
  Restart();
  engines_.start = [&](std::string) -> Task<absl::Status> {
    co_return Error(engine::v1::ENGINE_START_FAILED, "the model is broken");
  };
  int told = 0;
  for (int i = 0; i < 10; ++i) {
    boost::asio::co_spawn(loop_, router_->Acquire(call_, "a", Ask::kChat), [&](std::exception_ptr, Leased lease) {
      EXPECT_THAT(lease, FailsWith(engine::v1::ENGINE_START_FAILED, "the model is broken"));
      ++told;
    });
  }
  RunUntil([&] { return told == 10; });
  EXPECT_THAT(Acquire("a"), FailsWith(engine::v1::ENGINE_START_FAILED, "the model is broken"));
  EXPECT_EQ(engines_.starts, 1);

  router_->loader().ForgetFailures();  // as when the model's files have changed
  EXPECT_THAT(Acquire("a"), FailsWith(engine::v1::ENGINE_START_FAILED, "broken"));
  EXPECT_EQ(engines_.starts, 2);
  engines_.endpoints = {EndpointOf("a")};  // somebody has started it
  EXPECT_THAT(Acquire("a"), IsOk());
}

TEST_F(LoaderTest, AStartThatFailedIsTriedAgainAfterAWhile) {
  settings_.first_backoff = absl::Milliseconds(5);
  Restart();
  bool broken = true;
  engines_.start = [&](std::string model) -> Task<absl::Status> {
    if (broken) co_return Error(engine::v1::ENGINE_START_FAILED, "the model is broken");
    co_return co_await StartModel(model);
  };
  EXPECT_FALSE(Acquire("a").ok());
  broken = false;
  Leased lease = Acquire("a");
  while (!lease.ok()) lease = Acquire("a");
  EXPECT_EQ(engines_.starts, 2);
}

TEST_F(LoaderTest, NoMoreThanAFewWaitForALoad) {
  settings_.max_waiting = 3;
  Restart();
  Waiter never(loop_);
  engines_.start = [&](std::string) -> Task<absl::Status> {
    co_await never.Wait(absl::InfiniteFuture());
    co_return absl::InternalError("woken");
  };
  int told = 0;
  for (int i = 0; i < 3; ++i) {
    boost::asio::co_spawn(loop_, router_->Acquire(call_, "a", Ask::kChat), [&](std::exception_ptr, Leased) { ++told; });
  }
  loop_.poll();
  EXPECT_THAT(Acquire("a"), FailsWith(unit::v1::OVERLOADED, "3 waiting"));
  never.Wake();
  RunUntil([&] { return told == 3; });
}

TEST_F(LoaderTest, AnEngineIsUnloadedWhenNobodyHasAskedItForItsIdleTimeout) {
  engines_.endpoints = {EndpointOf("a"), EndpointOf("b"), EndpointOf("c")};
  engines_.endpoints[0].retention.idle_timeout = absl::Milliseconds(20);
  engines_.endpoints[1].retention.idle_timeout = absl::Milliseconds(20);
  engines_.endpoints[1].retention.pinned = true;
  Leased held = Acquire("a");
  Spawn(router_->loader().UnloadIdle(call_));
  Waiter longer(loop_);
  aima::testing::Run(loop_, longer.Wait(absl::Now() + absl::Milliseconds(60)));
  EXPECT_THAT(engines_.unloads, IsEmpty()) << "it has a request in hand";
  held->Release();
  RunUntil([&] { return !engines_.unloads.empty(); });
  EXPECT_THAT(engines_.unloads, ElementsAre(Pair("a", UnloadReason::kIdle)));
  EXPECT_THAT(router_->LoadOf("a").replicas, IsEmpty());
}

}  // namespace
}  // namespace aima::inference
