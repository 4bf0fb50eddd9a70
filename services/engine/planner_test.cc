#include "services/engine/planner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

namespace aima::engine {
namespace {

using ::testing::ElementsAre;
using Action = Step::Action;
using Tree = Observed::Tree;
using Why = Step::Why;

const absl::Time kNow = absl::FromUnixSeconds(1'000'000);
const Policy kPolicy{.restart = true,
                     .stall = absl::Minutes(1),
                     .start = absl::Minutes(30),
                     .hung = absl::Minutes(2),
                     .stable = absl::Minutes(10),
                     .first_backoff = absl::Seconds(1),
                     .last_backoff = absl::Minutes(5)};

// One instance as it is stored and seen.
struct Situation {
  Record record;
  Observed seen;
  Policy policy = kPolicy;

  Step Planned(absl::Time now = kNow) const { return Plan(record, seen, policy, now); }
};

Situation At(v1::InstanceStatus status, Tree tree) {
  Situation it;
  it.record.status = status;
  it.record.started_at = kNow - absl::Seconds(10);
  it.seen.tree = tree;
  return it;
}

// Every combination of what the planner looks at.
void ForEverySituation(const std::function<void(const Situation&)>& check) {
  for (int status = 1; status <= 5; ++status)
    for (Tree tree : {Tree::kUnknown, Tree::kNone, Tree::kAlive, Tree::kEnded, Tree::kHeadless})
      for (bool wanted : {false, true})
        for (bool slot : {false, true})
          for (bool restart : {false, true})
            for (bool ready : {false, true})
              for (absl::Duration started : {absl::Seconds(1), absl::Minutes(5), absl::Minutes(31)})
                for (absl::Duration advanced : {absl::Seconds(1), absl::Minutes(2)})
                  for (absl::Duration silent : {-absl::InfiniteDuration(), absl::Seconds(5), absl::Minutes(3)})
                    for (absl::Duration due : {-absl::Seconds(30), absl::Seconds(30)}) {
                      Situation it = At(static_cast<v1::InstanceStatus>(status), tree);
                      it.record.wanted = wanted;
                      if (slot) it.record.slot_id = "slot_1";
                      it.policy.restart = restart;
                      it.seen.ready = ready;
                      it.record.started_at = kNow - started;
                      it.seen.advanced = kNow - advanced;
                      it.seen.silent_since = kNow - silent;
                      it.record.next_start_at = kNow + due;
                      check(it);
                    }
}

std::string Show(const Situation& it) {
  return absl::StrCat(v1::InstanceStatus_Name(it.record.status), " tree=", static_cast<int>(it.seen.tree),
                      " wanted=", it.record.wanted, " slot=", it.record.slot_id, " restart=", it.policy.restart,
                      " ready=", it.seen.ready);
}

bool Ends(Action action) {
  return action == Action::kFail || action == Action::kFinishStop || action == Action::kClear;
}

TEST(Planner, NothingIsDoneOnTheStrengthOfWhatCouldNotBeSeen) {
  ForEverySituation([](const Situation& it) {
    if (it.seen.tree == Tree::kUnknown) EXPECT_EQ(it.Planned().action, Action::kLook) << Show(it);
  });
}

TEST(Planner, WhatLivesIsNeverStartedASecondTime) {
  ForEverySituation([](const Situation& it) {
    if (it.Planned().action != Action::kStart) return;
    EXPECT_TRUE(it.seen.tree == Tree::kNone || it.seen.tree == Tree::kEnded) << Show(it);
    EXPECT_TRUE(it.record.wanted && it.policy.restart && it.record.slot_id.empty()) << Show(it);
    EXPECT_LE(*it.record.next_start_at, kNow) << Show(it);
    EXPECT_EQ(it.record.status, v1::INSTANCE_STATUS_FAILED) << Show(it);
  });
}

TEST(Planner, AnInstanceThatLivesAndGetsOnIsLeftAlone) {
  ForEverySituation([](const Situation& it) {
    const bool starting = it.record.status == v1::INSTANCE_STATUS_STARTING;
    const bool running = it.record.status == v1::INSTANCE_STATUS_RUNNING;
    if (!(starting || running) || it.seen.tree != Tree::kAlive || !Ends(it.Planned().action)) return;
    const bool stalled = kNow - std::max(it.seen.advanced, *it.record.started_at) >= kPolicy.stall;
    const bool too_slow = kNow - *it.record.started_at >= kPolicy.start;
    const bool hung = kNow - it.seen.silent_since >= kPolicy.hung;
    EXPECT_TRUE(starting ? !it.seen.ready && (stalled || too_slow) : hung) << Show(it);
  });
}

TEST(Planner, OnlyWhatIsReadyIsAnnounced) {
  ForEverySituation([](const Situation& it) {
    if (it.Planned().action != Action::kAnnounce) return;
    EXPECT_TRUE(it.seen.ready && it.seen.tree == Tree::kAlive) << Show(it);
    EXPECT_EQ(it.record.status, v1::INSTANCE_STATUS_STARTING) << Show(it);
  });
}

TEST(Planner, ASlotIsNotForgotten) {
  ForEverySituation([](const Situation& it) {
    if (it.Planned().action == Action::kRest) EXPECT_EQ(it.record.slot_id, "") << Show(it);
  });
}

TEST(Planner, AWaitSaysUntilWhen) {
  ForEverySituation([](const Situation& it) {
    const Step step = it.Planned();
    if (step.action != Action::kLook || it.seen.tree == Tree::kUnknown) return;
    EXPECT_GT(step.at, kNow) << Show(it);
    // At that moment something is done, unless the instance answers and may run for ever.
    if (step.at != absl::InfiniteFuture()) EXPECT_NE(it.Planned(step.at).action, Action::kLook) << Show(it);
  });
}

// What the step brings about, if all goes well.
void Carry(const Step& step, Situation& it, absl::Time& now) {
  const auto gone = [&] {
    it.seen.tree = Tree::kNone;
    it.record.slot_id.clear();
  };
  switch (step.action) {
    case Action::kRest: break;
    case Action::kLook: now = std::max(now + absl::Milliseconds(1), step.at); break;
    case Action::kAnnounce:
      it.record.status = v1::INSTANCE_STATUS_RUNNING;
      it.seen.silent_since = absl::InfiniteFuture();
      break;
    case Action::kFail: {
      gone();
      it.record.status = v1::INSTANCE_STATUS_FAILED;
      const Retry retry = PlanRetry(it.record, false, it.policy, now, 0);
      it.record.crashes = retry.crashes;
      it.record.next_start_at = retry.at;
      break;
    }
    case Action::kFinishStop:
      gone();
      it.record.status = v1::INSTANCE_STATUS_STOPPED;
      break;
    case Action::kClear: gone(); break;
    case Action::kStart:
      it.record.status = v1::INSTANCE_STATUS_STARTING;
      it.record.started_at = now;
      it.record.slot_id = "slot_2";
      it.seen = {.tree = Tree::kAlive, .ready = true, .advanced = now};
      break;
  }
}

TEST(Planner, FromEverySituationItGetsToRestOrToAHealthyRun) {
  ForEverySituation([](Situation it) {
    const Situation from = it;
    absl::Time now = kNow;
    if (it.seen.tree == Tree::kUnknown) it.seen.tree = Tree::kAlive;  // the next look succeeds
    Step step{Action::kLook};
    for (int steps = 0; steps < 10; ++steps) {
      step = Plan(it.record, it.seen, it.policy, now);
      const bool runs = it.record.status == v1::INSTANCE_STATUS_RUNNING && step.at == absl::InfiniteFuture();
      if (step.action == Action::kRest || (step.action == Action::kLook && runs)) break;
      Carry(step, it, now);
    }
    const bool runs = it.record.status == v1::INSTANCE_STATUS_RUNNING && it.seen.tree == Tree::kAlive;
    EXPECT_TRUE(step.action == Action::kRest || runs) << "from " << Show(from) << " to " << Show(it);
    // What is to run does run in the end, unless somebody was stopping it.
    const v1::InstanceStatus was = from.record.status;
    const bool stops = was == v1::INSTANCE_STATUS_STOPPING || was == v1::INSTANCE_STATUS_STOPPED;
    if (from.record.wanted && from.policy.restart && !stops) EXPECT_TRUE(runs) << Show(from);
  });
}

TEST(Planner, AStartThatGetsNowhereIsGivenUpWithTheReason) {
  Situation it = At(v1::INSTANCE_STATUS_STARTING, Tree::kAlive);
  EXPECT_EQ(it.Planned(), (Step{Action::kLook, Why::kNone, *it.record.started_at + kPolicy.stall}));
  EXPECT_EQ(it.Planned(kNow + absl::Seconds(50)), (Step{Action::kFail, Why::kStalled}));
  it.seen.advanced = *it.record.started_at + kPolicy.start;
  EXPECT_EQ(it.Planned(*it.record.started_at + kPolicy.start), (Step{Action::kFail, Why::kTooSlow}));
}

TEST(Planner, ARunningEngineThatIsSilentForLongIsHung) {
  Situation it = At(v1::INSTANCE_STATUS_RUNNING, Tree::kAlive);
  it.seen.silent_since = kNow;
  EXPECT_EQ(it.Planned(kNow + absl::Seconds(119)).action, Action::kLook);
  EXPECT_EQ(it.Planned(kNow + absl::Seconds(120)), (Step{Action::kFail, Why::kHung}));
}

TEST(Planner, TheTimeBetweenStartsDoublesUpToTheLongest) {
  Record record;
  std::vector<int64_t> seconds;
  for (int i = 0; i < 11; ++i) {
    const Retry retry = PlanRetry(record, false, kPolicy, kNow, 0);
    seconds.push_back(absl::ToInt64Seconds(retry.at - kNow));
    record.crashes = retry.crashes;
  }
  EXPECT_THAT(seconds, ElementsAre(1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300));
  record.crashes = 1'000'000;
  EXPECT_EQ(PlanRetry(record, false, kPolicy, kNow, 1).at, kNow + kPolicy.last_backoff);
}

TEST(Planner, JitterOnlyLengthensABackoff) {
  Record record;
  EXPECT_EQ(PlanRetry(record, false, kPolicy, kNow, 1).at, kNow + absl::Milliseconds(1250));
}

TEST(Planner, AStablePeriodWipesTheSlateClean) {
  Record record;
  record.crashes = 6;
  record.running_since = kNow - absl::Minutes(9);
  EXPECT_EQ(PlanRetry(record, false, kPolicy, kNow, 0).crashes, 7);
  record.running_since = kNow - absl::Minutes(10);
  EXPECT_EQ(PlanRetry(record, false, kPolicy, kNow, 0), (Retry{1, kNow + absl::Seconds(1)}));
}

TEST(Planner, TheEndOfTheMachineIsNotTheInstancesOwn) {
  Record record;
  record.crashes = 3;
  EXPECT_EQ(PlanRetry(record, true, kPolicy, kNow, 0), (Retry{3, kNow}));
}

TEST(Planner, OrphansAreWhatNoWantedRunExplains) {
  const std::vector<process::Marked> marked = {{{"boot", 100, 5000}, "run_1"}, {{"boot", 101, 5001}, "run_0"}};
  const std::vector<process::Marked> orphans = FindOrphans(marked, {"run_1"});
  ASSERT_EQ(orphans.size(), 1u);
  EXPECT_EQ(orphans[0].marker, "run_0");
}

}  // namespace
}  // namespace aima::engine
