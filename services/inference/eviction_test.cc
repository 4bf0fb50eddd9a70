#include "services/inference/eviction.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace aima::inference {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

const absl::Time kNow = absl::FromUnixSeconds(1'000'000);
const TurnPolicy kPolicy;

// Loaded on demand, and last used so long ago.
Held Engine(const std::string& id, int64_t memory, absl::Duration idle) {
  Held engine;
  engine.instance_id = id;
  engine.memory = memory;
  engine.evictable = true;
  engine.last_used = kNow - idle;
  engine.turn_began = kNow;
  engine.load_time = absl::Seconds(2);
  return engine;
}

Held Busy(const std::string& id, int64_t memory, absl::Duration turn) {
  Held engine = Engine(id, memory, absl::ZeroDuration());
  engine.in_flight = 1;
  engine.turn_began = kNow - turn;
  return engine;
}

EvictionPlan Plan(const std::vector<Held>& engines, int64_t needed) {
  return PlanEviction(engines, needed, kPolicy, kNow);
}

TEST(Eviction, TheLeastRecentlyUsedThatIsLargeEnoughGoes) {
  const EvictionPlan plan = Plan({Engine("new", 100, absl::Minutes(1)), Engine("old", 100, absl::Minutes(9)),
                                  Engine("older-but-small", 10, absl::Minutes(30))}, 100);
  EXPECT_THAT(plan.unload, ElementsAre("old"));
}

TEST(Eviction, SeveralGoWhereOneIsNotEnoughAndNoneInVain) {
  const EvictionPlan plan = Plan({Engine("a", 10, absl::Minutes(30)), Engine("b", 60, absl::Minutes(9)),
                                  Engine("c", 50, absl::Minutes(5)), Engine("d", 90, absl::Minutes(1))}, 110);
  EXPECT_THAT(plan.unload, UnorderedElementsAre("b", "c"));
}

TEST(Eviction, WhatIsPinnedOrStartedBySomebodyStays) {
  Held pinned = Engine("pinned", 1000, absl::Hours(9));
  pinned.evictable = false;
  const EvictionPlan plan = Plan({pinned, Engine("a", 10, absl::Minutes(1))}, 100);
  EXPECT_FALSE(plan.possible);
  EXPECT_THAT(plan.unload, IsEmpty());
  EXPECT_THAT(plan.close, IsEmpty());
}

TEST(Eviction, WhatHasARequestInHandIsNeverUnloaded) {
  Held busy = Busy("busy", 100, absl::Hours(1));
  busy.closed = true;
  const EvictionPlan plan = Plan({busy}, 100);
  EXPECT_TRUE(plan.possible) << "it is a matter of waiting";
  EXPECT_THAT(plan.unload, IsEmpty());
}

TEST(Eviction, ABusyEngineIsClosedWhenItsTurnIsOver) {
  EvictionPlan plan = Plan({Busy("busy", 100, absl::Seconds(7))}, 100);
  EXPECT_THAT(plan.close, IsEmpty());
  EXPECT_EQ(plan.look_again, kNow + absl::Seconds(1)) << "four loads of two seconds";
  plan = Plan({Busy("busy", 100, absl::Seconds(8))}, 100);
  EXPECT_THAT(plan.close, ElementsAre("busy"));
  Held many = Busy("busy", 100, absl::ZeroDuration());
  many.turn_served = kPolicy.batch;
  EXPECT_THAT(Plan({many}, 100).close, ElementsAre("busy"));
}

TEST(Eviction, AClosedEngineGoesWhenItIsDoneAlthoughRequestsAreQueuedForIt) {
  Held done = Engine("done", 100, absl::ZeroDuration());
  done.closed = true;
  done.queued = 5;
  EXPECT_THAT(Plan({done}, 100).unload, ElementsAre("done"));
}

TEST(Eviction, AnEngineThatWasUsedAMomentAgoIsGivenTheTimeForTheNextRequest) {
  const EvictionPlan plan = Plan({Engine("a", 100, absl::Milliseconds(400))}, 100);
  EXPECT_THAT(plan.unload, IsEmpty());
  EXPECT_TRUE(plan.possible);
  EXPECT_EQ(plan.look_again, kNow + absl::Milliseconds(100)) << "a quarter of its load";
  EXPECT_THAT(Plan({Engine("a", 100, absl::Milliseconds(500))}, 100).unload, ElementsAre("a"));
}

TEST(Eviction, WhatIsClosedAlreadyIsWaitedForBeforeOthersAreClosed) {
  Held closed = Busy("closed", 100, absl::Seconds(8));
  closed.closed = true;
  const EvictionPlan plan = Plan({Busy("other", 100, absl::Minutes(5)), closed}, 100);
  EXPECT_THAT(plan.close, IsEmpty());
}

TEST(Eviction, IdleEnginesServeOnUntilAllThatMustGoAreIdle) {
  const EvictionPlan plan = Plan({Engine("idle", 50, absl::Minutes(5)), Busy("busy", 100, absl::Seconds(1))}, 150);
  EXPECT_TRUE(plan.possible);
  EXPECT_THAT(plan.unload, IsEmpty());
  EXPECT_THAT(plan.close, IsEmpty());
}

}  // namespace
}  // namespace aima::inference
