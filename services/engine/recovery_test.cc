#include "services/engine/recovery.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace aima::engine {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Action = Recovery::Action;

const process::Identity kRecorded{"boot", 100, 5000};
const process::Identity kYounger{"boot", 101, 5001};

Record Row(v1::InstanceStatus status) {
  Record record;
  record.instance_id = "smol";
  record.status = status;
  record.run = "run_1";
  record.process = kRecorded;
  return record;
}

bool Alive(const process::Identity&) { return true; }
bool Dead(const process::Identity&) { return false; }

TEST(Recovery, WhatLivesIsAdoptedWithItsIdentity) {
  for (v1::InstanceStatus status : {v1::INSTANCE_STATUS_RUNNING, v1::INSTANCE_STATUS_STARTING}) {
    EXPECT_THAT(PlanRecovery({Row(status)}, {}, Alive), ElementsAre(Recovery{Action::kAdopt, "smol", kRecorded}));
  }
}

TEST(Recovery, WhatIsDeadIsBuriedEvenIfSomethingOfItIsLeft) {
  EXPECT_THAT(PlanRecovery({Row(v1::INSTANCE_STATUS_RUNNING)}, {{kYounger, "run_1"}}, Dead),
              ElementsAre(Recovery{Action::kBury, "smol", {}}));
}

TEST(Recovery, AProcessMadeJustBeforeItsNumberWasStoredIsFoundByItsMarker) {
  Record record = Row(v1::INSTANCE_STATUS_STARTING);
  record.process = {};
  EXPECT_THAT(PlanRecovery({record}, {{kYounger, "run_1"}, {kRecorded, "run_1"}, {{"boot", 7, 1}, "run_0"}}, Alive),
              ElementsAre(Recovery{Action::kAdopt, "smol", kRecorded}));
  EXPECT_THAT(PlanRecovery({record}, {{kYounger, "run_0"}}, Alive), ElementsAre(Recovery{Action::kBury, "smol", {}}));
}

TEST(Recovery, AStopIsFinished) {
  for (const auto& lives : {Alive, Dead}) {
    EXPECT_THAT(PlanRecovery({Row(v1::INSTANCE_STATUS_STOPPING)}, {}, lives),
                ElementsAre(Recovery{Action::kFinishStop, "smol", {}}));
  }
}

TEST(Recovery, WhatIsAtRestIsLeftAloneUnlessItsSlotIsHeld) {
  for (v1::InstanceStatus status : {v1::INSTANCE_STATUS_STOPPED, v1::INSTANCE_STATUS_FAILED}) {
    Record record = Row(status);
    EXPECT_THAT(PlanRecovery({record}, {}, Alive), IsEmpty());
    record.slot_id = "slot_1";
    EXPECT_THAT(PlanRecovery({record}, {}, Alive), ElementsAre(Recovery{Action::kFreeSlot, "smol", {}}));
  }
}

TEST(Recovery, OrphansAreWhatNoWantedRunExplains) {
  const std::vector<process::Marked> marked = {{kRecorded, "run_1"}, {kYounger, "run_0"}};
  const std::vector<process::Marked> orphans = FindOrphans(marked, {"run_1"});
  ASSERT_EQ(orphans.size(), 1u);
  EXPECT_EQ(orphans[0].marker, "run_0");
}

}  // namespace
}  // namespace aima::engine
