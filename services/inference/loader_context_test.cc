// Models that are loaded with the context that requests want, and loaded again for more of it.
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>

#include "aima/engine/v1/engine.pb.h"
#include "libs/base/status_macros.h"
#include "services/inference/loader.h"
#include "services/inference/loader_for_test.h"

namespace aima::inference {
namespace {

using aima::testing::FailsWith;
using aima::testing::IsOk;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

const auto kReloadOfA = Pair("a", UnloadReason::kReload);

class LoaderContextTest : public LoaderTest {
 protected:
  LoaderContextTest() {
    engines_.start = [this](std::string model) -> Task<absl::Status> { return StartWithContext(std::move(model)); };
  }

  // As the engine service does it; contexts of more than `most_` find no memory.
  Task<absl::Status> StartWithContext(std::string model) {
    const v1::LoadOptions load = engines_.loads.back();
    if (load.context_length() > most_) {
      co_return Error(resource::v1::RESOURCE_INSUFFICIENT, "too little",
                      {{"class", "memory_bytes"}, {"needed", "200"}, {"available", "100"}});
    }
    CO_RETURN_IF_ERROR(co_await StartModel(model));
    if (load.has_context_length()) engines_.endpoints.back().context_length = load.context_length();
    co_return absl::OkStatus();
  }

  static Wanted With(int32_t context_length) {
    v1::LoadOptions load;
    load.set_context_length(context_length);
    return {"a", load};
  }
  Leased AcquireWith(int32_t context_length) {
    return aima::testing::Run(loop_, router_->Acquire(call_, With(context_length), Ask::kChat));
  }
  // Of the engine that a request for so much context is given; it has ended when this returns.
  int32_t ContextGiven(int32_t wanted) {
    const Leased lease = AcquireWith(wanted);
    EXPECT_THAT(lease, IsOk());
    return lease.ok() ? lease->endpoint().context_length : 0;
  }
  // That of each start; 0 is the usual one.
  std::vector<int32_t> ContextsAskedFor() const {
    std::vector<int32_t> contexts;
    for (const v1::LoadOptions& load : engines_.loads) contexts.push_back(load.context_length());
    return contexts;
  }

  int32_t most_ = 100'000;
};

TEST_F(LoaderContextTest, AModelIsLoadedAsTheRequestThatNeedsItWantsItAlsoAfterAStartThatFailed) {
  settings_.first_backoff = absl::ZeroDuration();
  Restart();
  v1::LoadOptions load = With(4096).load;
  load.set_threads(3);
  const auto start = engines_.start;
  engines_.start = [](std::string) -> Task<absl::Status> {
    co_return Error(engine::v1::ENGINE_START_FAILED, "the model is broken");
  };
  EXPECT_THAT(Acquire("a"), FailsWith(engine::v1::ENGINE_START_FAILED, "broken"));
  engines_.start = start;
  const Leased lease = aima::testing::Run(loop_, router_->Acquire(call_, {"a", load}, Ask::kChat));
  ASSERT_THAT(lease, IsOk());
  EXPECT_EQ(lease->endpoint().context_length, 4096);
  EXPECT_EQ(engines_.loads.back().threads(), 3);
}

TEST_F(LoaderContextTest, ARequestForMoreContextHasItsModelLoadedAgainAndOneForLessIsServedByWhatThereIs) {
  EXPECT_THAT(Acquire("a"), IsOk());
  EXPECT_EQ(ContextGiven(4096), 4096);
  EXPECT_THAT(engines_.unloads, ElementsAre(kReloadOfA));
  EXPECT_EQ(ContextGiven(1024), 4096);
  EXPECT_EQ(ContextGiven(4096), 4096);
  EXPECT_THAT(Acquire("a"), IsOk());
  EXPECT_EQ(ContextGiven(1'000'000), 8192) << "what it was made for";
  EXPECT_EQ(ContextGiven(2'000'000), 8192);
  EXPECT_THAT(ContextsAskedFor(), ElementsAre(0, 4096, 8192));
}

TEST_F(LoaderContextTest, WhatOthersUseIsNotTakenFromThem) {
  Leased held = Acquire("a");
  EXPECT_EQ(ContextGiven(4096), 2048);
  EXPECT_THAT(engines_.unloads, IsEmpty());
  held->Release();
  EXPECT_EQ(ContextGiven(4096), 4096);
}

TEST_F(LoaderContextTest, WhoComesWhileAModelIsLoadedAgainIsServedByTheNewOne) {
  EXPECT_THAT(Acquire("a"), IsOk());
  Waiter ends(loop_);
  engines_.unload = [&](std::string instance, int64_t) -> Task<absl::Status> {
    co_await ends.Wait(absl::InfiniteFuture());
    Remove(instance);
    co_return absl::OkStatus();
  };
  boost::asio::cancellation_signal leave;
  boost::asio::co_spawn(loop_, router_->Acquire(call_, With(4096), Ask::kChat),
                        boost::asio::bind_cancellation_slot(leave.slot(), [](std::exception_ptr, Leased) {}));
  RunUntil([&] { return !engines_.unloads.empty(); });
  for (int i = 0; i < 3; ++i) Spawn(Client("a", 1));
  loop_.poll();
  EXPECT_EQ(ended_, 0);
  leave.emit(boost::asio::cancellation_type::terminal);
  loop_.poll();
  ends.Wake();
  RunUntil([&] { return ended_ == 3; });
  EXPECT_THAT(ContextsAskedFor(), ElementsAre(0, 4096)) << "although the one who wanted it has left";
}

TEST_F(LoaderContextTest, WhatSomebodyStartedOrPinnedStaysAsItIs) {
  engines_.endpoints = {EndpointOf("a")};
  engines_.endpoints[0].retention = {};
  EXPECT_EQ(ContextGiven(4096), 2048);
  engines_.endpoints[0].retention = {.on_demand = true, .pinned = true};
  aima::testing::Run(loop_, router_->Refresh(call_)).IgnoreError();
  EXPECT_EQ(ContextGiven(4096), 2048);
  EXPECT_THAT(engines_.unloads, IsEmpty());
}

TEST_F(LoaderContextTest, WhatSomebodyHasPinnedMeanwhileServesOn) {
  EXPECT_THAT(Acquire("a"), IsOk());
  engines_.unload = [&](std::string, int64_t) -> Task<absl::Status> {
    co_return Error(engine::v1::ENGINE_INSTANCE_KEPT, "it is pinned");
  };
  EXPECT_EQ(ContextGiven(4096), 2048);
  EXPECT_EQ(ContextGiven(4096), 2048);
  EXPECT_EQ(engines_.unloads.size(), 1u) << "it is left alone for a while";
}

TEST_F(LoaderContextTest, AModelForWhoseContextThereIsNoMemoryServesAsUsualAndIsLeftAlone) {
  most_ = 4000;
  EXPECT_THAT(Acquire("a"), IsOk());
  EXPECT_EQ(ContextGiven(4096), 2048);
  EXPECT_EQ(ContextGiven(8192), 2048);
  EXPECT_EQ(engines_.unloads.size(), 1u);
  EXPECT_EQ(engines_.loads.back().context_length(), 0);
  EXPECT_EQ(ContextGiven(3000), 3000) << "what is smaller may fit";
}

TEST_F(LoaderContextTest, AModelThatDoesNotStartWithSoMuchContextIsLoadedAsUsual) {
  engines_.start = [this](std::string model) -> Task<absl::Status> {
    if (engines_.loads.back().has_context_length()) co_return Error(engine::v1::ENGINE_START_FAILED, "it was killed");
    co_return co_await StartModel(model);
  };
  EXPECT_EQ(ContextGiven(4096), 2048);
  EXPECT_THAT(ContextsAskedFor(), ElementsAre(4096, 0));
}

TEST_F(LoaderContextTest, AModelThatDoesNotStartAtAllIsGivenTheContextOnceItDoes) {
  settings_.first_backoff = absl::ZeroDuration();
  Restart();
  const auto start = engines_.start;
  engines_.start = [](std::string) -> Task<absl::Status> {
    co_return Error(engine::v1::ENGINE_START_FAILED, "the model is broken");
  };
  EXPECT_THAT(AcquireWith(4096), FailsWith(engine::v1::ENGINE_START_FAILED, "broken"));
  engines_.start = start;
  EXPECT_EQ(ContextGiven(4096), 4096);
}

TEST_F(LoaderContextTest, WhereRequestsMayHaveNothingStartedNothingIsLoadedAgain) {
  engines_.endpoints = {EndpointOf("a")};
  Router router(loop_, models_, engines_, /*auto_start=*/false, settings_);
  EXPECT_THAT(aima::testing::Run(loop_, router.Acquire(call_, With(4096), Ask::kChat)), IsOk());
  EXPECT_THAT(engines_.unloads, IsEmpty());
}

}  // namespace
}  // namespace aima::inference
