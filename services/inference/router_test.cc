#include "services/inference/router.h"

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "libs/testing/status_matchers.h"
#include "libs/testing/task.h"
#include "services/inference/fakes.h"

namespace aima::inference {
namespace {

using testing::FailsWith;
using testing::IsOk;

Endpoint EndpointOf(const std::string& instance, const std::string& model, int max_concurrent = 2) {
  Endpoint endpoint;
  endpoint.instance_id = instance;
  endpoint.model_id = endpoint.served_name = model;
  endpoint.max_concurrent = max_concurrent;
  return endpoint;
}

class RouterTest : public ::testing::Test {
 protected:
  using Leased = absl::StatusOr<Router::Lease>;

  Leased Acquire(const std::string& model, Ask ask = Ask::kChat) {
    return testing::Run(loop_, router_.Acquire(call_, model, ask));
  }
  // Asks in the background; the result appears in the returned place.
  std::shared_ptr<std::optional<Leased>> Ask_(const std::string& model, CallContext call,
                                              boost::asio::cancellation_signal* cancel = nullptr) {
    auto result = std::make_shared<std::optional<Leased>>();
    const auto done = [result](std::exception_ptr error, Leased lease) {
      if (!error) result->emplace(std::move(lease));
    };
    // A function, whose arguments live as long as its coroutine.
    constexpr auto kAsk = [](Router& router, std::string model, CallContext call) -> Task<Leased> {
      co_return co_await router.Acquire(call, model, Ask::kChat);
    };
    if (cancel != nullptr) {
      boost::asio::co_spawn(loop_, kAsk(router_, model, call), boost::asio::bind_cancellation_slot(cancel->slot(), done));
    } else {
      boost::asio::co_spawn(loop_, kAsk(router_, model, call), done);
    }
    Settle();
    return result;
  }
  // Runs everything that can run now.
  void Settle() {
    loop_.restart();
    while (loop_.poll() > 0) {
    }
  }

  template <class Condition>
  void RunUntil(Condition condition) {
    loop_.restart();
    while (!condition() && loop_.run_one() > 0) {
    }
  }

  Loop loop_;
  FakeModels models_;
  FakeEngines engines_;
  CallContext call_;
  Router router_{loop_, models_, engines_, /*auto_start=*/true};
};

TEST_F(RouterTest, AnUnknownModelIsNamedTogetherWithThoseThereAre) {
  EXPECT_THAT(Acquire("chattty"), FailsWith(v1::INFERENCE_MODEL_NOT_FOUND, "did you mean chatty"));
  EXPECT_THAT(Acquire("gpt-4o"), FailsWith(v1::INFERENCE_MODEL_NOT_FOUND, "there are chatty, vectors"));
}

TEST_F(RouterTest, AModelIsFoundByIdAndByNameAndAskedForOnce) {
  engines_.endpoints = {EndpointOf("a", "chatty")};
  EXPECT_THAT(Acquire("chatty"), IsOk());
  EXPECT_THAT(Acquire("The chatty"), IsOk());
  EXPECT_EQ(models_.reads, 1);
  EXPECT_EQ(engines_.reads, 1);
}

TEST_F(RouterTest, ModelsOfAnOllamaServerAreFoundAsThoseOfItsLibraryAre) {
  models_.Add("smol:latest", v1::MODEL_TYPE_LLM);
  models_.Add("llama3.2:1b", v1::MODEL_TYPE_LLM);
  models_.Add("chatty:latest", v1::MODEL_TYPE_EMBEDDING);
  engines_.endpoints = {EndpointOf("a", "smol:latest"), EndpointOf("b", "llama3.2:1b"), EndpointOf("c", "chatty")};
  for (const char* name : {"smol:latest", "smol", "llama3.2:1b", "llama3.2-1b"}) EXPECT_THAT(Acquire(name), IsOk()) << name;
  EXPECT_THAT(Acquire("chatty"), IsOk()) << "what has the name itself comes first";
}

TEST_F(RouterTest, AModelThatWasMadeAMomentAgoIsFound) {
  engines_.endpoints = {EndpointOf("a", "chatty"), EndpointOf("b", "fresh")};
  EXPECT_THAT(Acquire("chatty"), IsOk());
  models_.Add("fresh", v1::MODEL_TYPE_LLM);
  EXPECT_THAT(Acquire("fresh"), IsOk());
}

TEST_F(RouterTest, TheLeastBusyEngineTakesTheRequest) {
  engines_.endpoints = {EndpointOf("a", "chatty"), EndpointOf("b", "chatty")};
  Leased one = Acquire("chatty");
  Leased two = Acquire("chatty");
  ASSERT_THAT(one, IsOk());
  ASSERT_THAT(two, IsOk());
  EXPECT_NE(one->endpoint().instance_id, two->endpoint().instance_id);
}

TEST_F(RouterTest, AModelIsAskedOnlyForWhatItDoes) {
  engines_.endpoints = {EndpointOf("a", "chatty"), EndpointOf("b", "vectors")};
  EXPECT_THAT(Acquire("vectors", Ask::kChat), FailsWith(v1::INFERENCE_WRONG_MODEL_TYPE, "is of type embedding"));
  EXPECT_THAT(Acquire("chatty", Ask::kEmbed), FailsWith(v1::INFERENCE_WRONG_MODEL_TYPE, "is of type llm"));
  EXPECT_THAT(Acquire("vectors", Ask::kEmbed), IsOk());
}

TEST_F(RouterTest, OneEngineIsStartedForAllWhoAskAtOnce) {
  Waiter started(loop_);
  engines_.start = [&](std::string model) -> Task<absl::Status> {
    co_await started.Wait(absl::InfiniteFuture());
    engines_.endpoints = {EndpointOf(model, model)};
    co_return absl::OkStatus();
  };
  auto one = Ask_("chatty", call_);
  auto two = Ask_("chatty", call_);
  EXPECT_FALSE(one->has_value() || two->has_value());
  started.Wake();
  Settle();
  ASSERT_TRUE(one->has_value() && two->has_value());
  EXPECT_THAT(**one, IsOk());
  EXPECT_THAT(**two, IsOk());
  EXPECT_EQ(engines_.starts, 1);
}

TEST_F(RouterTest, AStartGoesOnWhenTheOneWhoAskedLeaves) {
  Waiter started(loop_);
  engines_.start = [&](std::string model) -> Task<absl::Status> {
    co_await started.Wait(absl::InfiniteFuture());
    engines_.endpoints = {EndpointOf(model, model)};
    co_return absl::OkStatus();
  };
  boost::asio::cancellation_signal leave;
  auto first = Ask_("chatty", call_, &leave);
  auto second = Ask_("chatty", call_);
  leave.emit(boost::asio::cancellation_type::terminal);
  Settle();
  started.Wake();
  Settle();
  ASSERT_TRUE(second->has_value());
  EXPECT_THAT(**second, IsOk());
  EXPECT_EQ(engines_.starts, 1);
}

TEST_F(RouterTest, ARefusedStartIsToldAndTheNextRequestTriesAgain) {
  engines_.start = [&](std::string) -> Task<absl::Status> { co_return absl::InternalError("out of luck"); };
  EXPECT_EQ(Acquire("chatty").status().message(), "out of luck");
  EXPECT_EQ(Acquire("chatty").status().message(), "out of luck");
  EXPECT_EQ(engines_.starts, 2);
}

TEST_F(RouterTest, NothingIsStartedWhereThatIsOff) {
  Router manual(loop_, models_, engines_, /*auto_start=*/false);
  EXPECT_THAT(testing::Run(loop_, manual.Acquire(call_, "chatty", Ask::kChat)),
              FailsWith(v1::INFERENCE_MODEL_NOT_RUNNING, "chatty"));
  EXPECT_EQ(engines_.starts, 0);
}

TEST_F(RouterTest, AModelThatIsNotReadyIsNotStarted) {
  models_.Add("half", v1::MODEL_TYPE_LLM, /*ready=*/false);
  EXPECT_THAT(Acquire("half"), FailsWith(v1::INFERENCE_MODEL_NOT_READY, "pulling"));
}

TEST_F(RouterTest, WhoFindsNoPlaceWaitsForOneInTurn) {
  engines_.endpoints = {EndpointOf("a", "chatty", 1)};
  Leased busy = Acquire("chatty");
  auto first = Ask_("chatty", call_);
  auto second = Ask_("chatty", call_);
  EXPECT_EQ(router_.LoadOf("chatty").queued, 2);
  busy->Release();
  Settle();
  EXPECT_TRUE(first->has_value());
  EXPECT_FALSE(second->has_value());
  first->reset();
  Settle();
  EXPECT_TRUE(second->has_value());
}

TEST_F(RouterTest, WhoLeavesTheQueueHoldsNothing) {
  engines_.endpoints = {EndpointOf("a", "chatty", 1)};
  Leased busy = Acquire("chatty");
  boost::asio::cancellation_signal leave;
  auto gone = Ask_("chatty", call_, &leave);
  leave.emit(boost::asio::cancellation_type::terminal);
  Settle();
  EXPECT_EQ(router_.LoadOf("chatty").queued, 0);
  busy->Release();
  EXPECT_THAT(Acquire("chatty"), IsOk());
  EXPECT_EQ(router_.LoadOf("chatty").replicas[0]->in_flight, 0);
}

TEST_F(RouterTest, APlaceGrantedToOneWhoLeavesGoesToTheNext) {
  engines_.endpoints = {EndpointOf("a", "chatty", 1)};
  Leased busy = Acquire("chatty");
  boost::asio::cancellation_signal leave;
  auto gone = Ask_("chatty", call_, &leave);
  auto next = Ask_("chatty", call_);
  busy->Release();
  leave.emit(boost::asio::cancellation_type::terminal);  // before the first has seen that it is its turn
  Settle();
  gone->reset();
  Settle();
  EXPECT_TRUE(next->has_value());
}

TEST_F(RouterTest, WaitingEndsWithTheDeadline) {
  engines_.endpoints = {EndpointOf("a", "chatty", 1)};
  Leased busy = Acquire("chatty");
  CallContext hurried = call_;
  hurried.deadline = absl::Now() + absl::Milliseconds(20);
  EXPECT_THAT(testing::Run(loop_, router_.Acquire(hurried, "chatty", Ask::kChat)),
              FailsWith(unit::v1::DEADLINE_EXCEEDED, "chatty"));
  EXPECT_EQ(router_.LoadOf("chatty").queued, 0);
}

TEST_F(RouterTest, AFullQueueSaysWhenToComeBack) {
  engines_.endpoints = {EndpointOf("a", "chatty", 1)};
  Leased busy = Acquire("chatty");
  std::vector<std::shared_ptr<std::optional<Leased>>> waiting;
  for (size_t i = 0; i < Router::kMaxQueued; ++i) waiting.push_back(Ask_("chatty", call_));
  const Leased refused = Acquire("chatty");
  EXPECT_THAT(refused, FailsWith(unit::v1::OVERLOADED, "64 waiting"));
  EXPECT_EQ(DetailsOf(refused.status()).metadata["retry_after_s"], "1");
}

TEST_F(RouterTest, WaitersMoveToANewEngineWhenTheirsGoesAway) {
  engines_.endpoints = {EndpointOf("a", "chatty", 1)};
  Leased busy = Acquire("chatty");
  auto waiting = Ask_("chatty", call_);
  engines_.endpoints = {EndpointOf("b", "chatty", 1)};
  testing::Run(loop_, router_.Refresh(call_)).IgnoreError();
  Settle();
  ASSERT_TRUE(waiting->has_value());
  ASSERT_THAT(**waiting, IsOk());
  EXPECT_EQ((**waiting)->endpoint().instance_id, "b");
}

TEST_F(RouterTest, AnEngineThatWasLostIsOfferedAgainAlthoughNobodyAsks) {
  Router router(loop_, models_, engines_, /*auto_start=*/true, {.pause = absl::Milliseconds(1)});
  engines_.endpoints = {EndpointOf("a", "chatty"), EndpointOf("b", "chatty")};
  Leased lease = testing::Run(loop_, router.Acquire(call_, "chatty", Ask::kChat));
  ASSERT_THAT(lease, IsOk());
  engines_.failure = absl::UnavailableError("the engine service restarts");
  const int reads = engines_.reads;
  lease->MarkLost();
  lease->Release();
  EXPECT_EQ(router.LoadOf("chatty").replicas.size(), 1u);
  RunUntil([&] { return engines_.reads == reads + 3; });
  engines_.failure = absl::OkStatus();
  RunUntil([&] { return router.LoadOf("chatty").replicas.size() == 2; });
  EXPECT_EQ(router.LoadOf("chatty").replicas.size(), 2u);
}

TEST_F(RouterTest, AnEngineThatWasLostAndIsGoneStaysAwayAndIsNotAskedAboutForEver) {
  Router router(loop_, models_, engines_, /*auto_start=*/true, {.pause = absl::Milliseconds(1)});
  engines_.endpoints = {EndpointOf("a", "chatty"), EndpointOf("b", "chatty")};
  Leased lease = testing::Run(loop_, router.Acquire(call_, "chatty", Ask::kChat));
  ASSERT_THAT(lease, IsOk());
  std::erase_if(engines_.endpoints,
                [&](const Endpoint& one) { return one.instance_id == lease->endpoint().instance_id; });
  const int reads = engines_.reads;
  lease->MarkLost();
  lease->Release();
  loop_.restart();
  loop_.run();  // until nothing is left to do
  EXPECT_EQ(engines_.reads, reads + 1);
  EXPECT_EQ(router.LoadOf("chatty").replicas.size(), 1u);
}

TEST_F(RouterTest, ModelsThatRunAreServedWhileTheModelServiceIsAway) {
  engines_.endpoints = {EndpointOf("a", "chatty")};
  EXPECT_THAT(Acquire("chatty"), IsOk());
  router_.catalog().Forget();
  models_.failure = absl::UnavailableError("down");
  EXPECT_THAT(Acquire("chatty"), IsOk());
  EXPECT_EQ(Acquire("nope").status().message(), "down");
}

TEST_F(RouterTest, WhoReadsWhichEnginesRunMayOutliveTheRouter) {
  auto router = std::make_unique<Router>(loop_, models_, engines_, true, LoaderSettings{.pause = absl::Milliseconds(1)});
  engines_.endpoints = {EndpointOf("a", "chatty")};
  Leased lease = testing::Run(loop_, router->Acquire(call_, "chatty", Ask::kChat));
  ASSERT_THAT(lease, IsOk());
  const int reads = engines_.reads;
  Waiter answered(loop_), longer(loop_);
  engines_.reading = [&]() -> Task<void> { co_await answered.Wait(absl::InfiniteFuture()); };
  boost::asio::co_spawn(loop_, router->Refresh(call_), boost::asio::detached);
  RunUntil([&] { return engines_.reads == reads + 1; });
  lease->MarkLost();  // asks as soon as this reading is over
  lease->Release();
  testing::Run(loop_, longer.Wait(absl::Now() + absl::Milliseconds(50)));
  router.reset();
  answered.Wake();
  loop_.restart();
  loop_.run();
  EXPECT_EQ(engines_.reads, reads + 1);
}

TEST_F(RouterTest, ALeaseMayOutliveTheRouter) {
  auto router = std::make_unique<Router>(loop_, models_, engines_, true);
  engines_.endpoints = {EndpointOf("a", "chatty")};
  Leased lease = testing::Run(loop_, router->Acquire(call_, "chatty", Ask::kChat));
  ASSERT_THAT(lease, IsOk());
  router.reset();
  lease->Release();
}

}  // namespace
}  // namespace aima::inference
