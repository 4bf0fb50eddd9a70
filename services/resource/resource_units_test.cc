#include "services/resource/testbed.h"

namespace aima::resource {
namespace {

using ::testing::Eq;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class ResourceUnitsTest : public ResourceTest {
 protected:
  v1::AllocationsResponse Allocations(v1::AllocationsRequest request = {}) {
    ApplyDefaults(request);
    return Run(replica_->units.Allocations(call_, request)).value();
  }
  v1::CanAllocateResponse CanAllocate(int64_t mib, double gpus = 0, double cores = 0) {
    v1::CanAllocateRequest request;
    request.set_memory_bytes(mib * kMiB);
    request.set_gpu_fraction(gpus);
    request.set_cpu_cores(cores);
    return Run(replica_->units.CanAllocate(call_, request)).value();
  }
  std::string EventCount(const std::string& type) {
    return Sql("SELECT count(*) FROM outbox WHERE type = '" + type + "'");
  }
};

TEST_F(ResourceUnitsTest, ASlotIsChargedWhileItIsHeldAndToldOfOnce) {
  const auto slot = Allocate(100);
  ASSERT_THAT(slot, IsOk());
  EXPECT_EQ(Budget().used(), 100 * kMiB);
  EXPECT_EQ(Budget().available(), 700 * kMiB);
  EXPECT_EQ(EventCount("resource.allocated"), "1");

  EXPECT_THAT(Release(slot->slot_id()), IsOk());
  EXPECT_EQ(Budget().used(), 0);
  EXPECT_EQ(EventCount("resource.released"), "1");
  EXPECT_THAT(Allocations().allocations(), IsEmpty());
}

TEST_F(ResourceUnitsTest, AGrantThatDoesNotFitNamesWhatIsNeededAndWhatIsLeft) {
  ASSERT_THAT(Allocate(600), IsOk());
  const auto refused = Allocate(100);
  EXPECT_THAT(refused,
              FailsWith(v1::RESOURCE_INSUFFICIENT, "104857600 bytes of memory are needed, 41943040 bytes"));
  EXPECT_THAT(DetailsOf(refused.status()).metadata, ::testing::Contains(::testing::Pair("available", "41943040")));
  EXPECT_THAT(Allocations().allocations(), SizeIs(1));
  EXPECT_EQ(EventCount("resource.allocated"), "1");
}

TEST_F(ResourceUnitsTest, PoolsKeepTheirShareAndSpillIntoTheFlexibleOne) {
  // Inference: its own 400 and 240 that are anybody's, but not the 160 of containers.
  ASSERT_THAT(Allocate(640), IsOk());
  EXPECT_THAT(Allocate(1), FailsWith(v1::RESOURCE_INSUFFICIENT, "0 bytes of memory are available"));
  EXPECT_THAT(Allocate(1, v1::SLOT_TYPE_SYSTEM_SERVICE),
              FailsWith(v1::RESOURCE_INSUFFICIENT, "0 bytes of memory are available"));
  ASSERT_THAT(Allocate(160, v1::SLOT_TYPE_DOCKER_CONTAINER), IsOk());

  const v1::BudgetResponse budget = Budget();
  EXPECT_EQ(budget.total(), 1000 * kMiB);
  EXPECT_EQ(budget.reserved(), 200 * kMiB);
  EXPECT_EQ(budget.available(), 0);
  EXPECT_EQ(budget.pools().at("inference").reserved(), 400 * kMiB);
  EXPECT_EQ(budget.pools().at("container").total(), 160 * kMiB);
  EXPECT_EQ(budget.pools().at("flexible").total(), 240 * kMiB);
  EXPECT_EQ(budget.pools().at("flexible").reserved(), 240 * kMiB);
  EXPECT_EQ(budget.pools().at("flexible").available(), 0);
}

TEST_F(ResourceUnitsTest, WhatOtherProgramsUseIsNotGivenAway) {
  files_.SetMemory(1000, 500);
  Look();
  EXPECT_EQ(Budget().external(), 500 * kMiB);
  EXPECT_THAT(Allocate(301), FailsWith(v1::RESOURCE_INSUFFICIENT, ""));
  const auto slot = Allocate(300);
  ASSERT_THAT(slot, IsOk());

  // The slot's own process comes up. Its memory is the slot's, with that of its children.
  v1::UpdateSlotRequest running;
  running.set_slot_id(slot->slot_id());
  running.set_process_pid(100);
  ASSERT_THAT(Run(replica_->units.UpdateSlot(call_, running)), IsOk());
  files_.SetProcess(100, 50, "101");
  files_.SetProcess(101, 150);
  files_.SetMemory(1000, 300);
  Look();
  EXPECT_EQ(Budget().external(), 500 * kMiB);
  EXPECT_EQ(Allocations().allocations(0).actual_memory(), 200 * kMiB);
}

TEST_F(ResourceUnitsTest, ReleasingASlotAgainChangesNothing) {
  const auto slot = Allocate(100);
  const auto other = Allocate(100);
  EXPECT_THAT(Release(slot->slot_id()), IsOk());
  EXPECT_THAT(Release(slot->slot_id()), IsOk());
  EXPECT_EQ(Budget().used(), 100 * kMiB);
  EXPECT_EQ(EventCount("resource.released"), "1");
  EXPECT_THAT(Release("slot_that_never_was"), FailsWith(v1::SLOT_NOT_FOUND, "slot_that_never_was"));
}

TEST_F(ResourceUnitsTest, OnlyTheHolderOfTheFenceReleasesASlot) {
  const auto slot = Allocate(100);
  EXPECT_THAT(Release(slot->slot_id(), slot->fence() + 1), FailsWith(v1::SLOT_FENCE_MISMATCH, slot->slot_id()));
  EXPECT_EQ(Budget().used(), 100 * kMiB);
  EXPECT_THAT(Release(slot->slot_id(), slot->fence()), IsOk());
  EXPECT_EQ(Budget().used(), 0);
}

TEST_F(ResourceUnitsTest, ASlotGrowsOnlyIntoWhatIsLeft) {
  const auto slot = Allocate(100);
  ASSERT_THAT(Allocate(500), IsOk());
  EXPECT_THAT(Resize(slot->slot_id(), 140), IsOk());
  EXPECT_THAT(Resize(slot->slot_id(), 141),
              FailsWith(v1::RESOURCE_INSUFFICIENT, "1048576 bytes of memory are needed, 0"));
  EXPECT_EQ(Budget().used(), 640 * kMiB);
  EXPECT_THAT(Resize(slot->slot_id(), 10), IsOk());
  EXPECT_EQ(Budget().used(), 510 * kMiB);
}

TEST_F(ResourceUnitsTest, AnUpdateChangesOnlyTheGivenFields) {
  const auto slot = Allocate(100);
  v1::UpdateSlotRequest request;
  request.set_slot_id(slot->slot_id());
  request.set_status(v1::SLOT_STATUS_IDLE);
  request.set_current_model("smollm2");
  ASSERT_THAT(Run(replica_->units.UpdateSlot(call_, request)), IsOk());
  v1::UpdateSlotRequest second;
  second.set_slot_id(slot->slot_id());
  second.set_actual_memory(5);
  ASSERT_THAT(Run(replica_->units.UpdateSlot(call_, second)), IsOk());

  const v1::Slot updated = Allocations().allocations(0);
  EXPECT_EQ(updated.status(), v1::SLOT_STATUS_IDLE);
  EXPECT_EQ(updated.current_model(), "smollm2");
  EXPECT_EQ(updated.actual_memory(), 5);
  EXPECT_EQ(updated.memory_limit(), 100 * kMiB);
  EXPECT_EQ(updated.priority(), 40);
}

TEST_F(ResourceUnitsTest, AReleasedSlotCannotBeUpdated) {
  const auto slot = Allocate(100);
  ASSERT_THAT(Release(slot->slot_id()), IsOk());
  EXPECT_THAT(Resize(slot->slot_id(), 50), FailsWith(v1::SLOT_NOT_FOUND, slot->slot_id()));
  EXPECT_EQ(Budget().used(), 0);
}

TEST_F(ResourceUnitsTest, ASlotHasTheIdThatItsHolderWroteDownBeforeAsking) {
  v1::AllocateRequest request = Wanted(10);
  request.set_slot_id("slot_01jd6v0000000000000000000a");
  EXPECT_EQ(Run(replica_->units.Allocate(call_, request))->slot_id(), request.slot_id());
  const absl::Status again = Run(replica_->units.Allocate(call_, request)).status();
  EXPECT_THAT(again, FailsWith(unit::v1::INVALID_INPUT, "slot_id"));
  EXPECT_EQ(pg::SqlState(again), pg::kUniqueViolation) << "by which the middleware knows that it may be the same call";
  EXPECT_EQ(Budget().used(), 10 * kMiB);
  EXPECT_THAT(Release(request.slot_id()), IsOk());
  EXPECT_EQ(Budget().used(), 0);
}

TEST_F(ResourceUnitsTest, AnAllocationThatComesAfterItsReleaseHoldsNothing) {
  v1::AllocateRequest request = Wanted(10);
  request.set_slot_id("slot_01jd6v0000000000000000000b");
  EXPECT_THAT(Release(request.slot_id()), FailsWith(v1::SLOT_NOT_FOUND, "0b"));
  EXPECT_THAT(Release("slot_01jd6v0000000000000000000c"), FailsWith(v1::SLOT_NOT_FOUND, "0c"));
  EXPECT_THAT(Run(replica_->units.Allocate(call_, request)), FailsWith(unit::v1::INVALID_INPUT, "slot_id"));
  EXPECT_EQ(Budget().used(), 0);
  EXPECT_THAT(Release(request.slot_id()), FailsWith(v1::SLOT_NOT_FOUND, "0b")) << "it still was none";
  EXPECT_THAT(Allocate(10), IsOk());
}

TEST_F(ResourceUnitsTest, AFailedUpdateOfMemoryLeavesTheOtherFieldsToo) {
  const auto slot = Allocate(100);
  v1::UpdateSlotRequest request;
  request.set_slot_id(slot->slot_id());
  request.set_memory_limit(10'000 * kMiB);
  request.set_current_model("too-large");
  EXPECT_THAT(Run(replica_->units.UpdateSlot(call_, request)), FailsWith(v1::RESOURCE_INSUFFICIENT, ""));
  EXPECT_EQ(Allocations().allocations(0).current_model(), "");
}

TEST_F(ResourceUnitsTest, GpusAreGrantedOnlyWhereThereAreSome) {
  v1::AllocateRequest request = Wanted(10);
  request.set_gpu_fraction(0.6);
  EXPECT_THAT(Run(replica_->units.Allocate(call_, request)),
              FailsWith(v1::RESOURCE_INSUFFICIENT, "0.6 GPUs are needed, 0 GPUs are available"));
  EXPECT_EQ(Budget().used(), 0);

  files_.AddGpu(0);
  Look();
  EXPECT_THAT(Run(replica_->units.Allocate(call_, request)), IsOk());
  EXPECT_THAT(Run(replica_->units.Allocate(call_, request)),
              FailsWith(v1::RESOURCE_INSUFFICIENT, "0.4 GPUs are available"));
  EXPECT_EQ(Budget().used(), 10 * kMiB);
  EXPECT_DOUBLE_EQ(Allocations().allocations(0).gpu_fraction(), 0.6);
}

TEST_F(ResourceUnitsTest, CanAllocateAgreesWithAllocate) {
  EXPECT_TRUE(CanAllocate(640).can_allocate());
  EXPECT_THAT(CanAllocate(641).reason(), ::testing::HasSubstr("are available"));
  EXPECT_FALSE(CanAllocate(1, 0.5).can_allocate());
  EXPECT_FALSE(CanAllocate(1, 0, 1e4).can_allocate());
  EXPECT_THAT(Allocate(641), FailsWith(v1::RESOURCE_INSUFFICIENT, ""));
  EXPECT_THAT(Allocate(640), IsOk());
}

TEST_F(ResourceUnitsTest, ACommandThatIsRepeatedWithItsKeyGrantsOneSlot) {
  call_.unit = "resource.allocate";
  call_.idempotency_key = "once";
  const auto first = Allocate(100);
  ASSERT_THAT(first, IsOk());
  // The runtime answers this failure with the reply that was stored by the first.
  EXPECT_EQ(pg::SqlState(Allocate(100).status()), pg::kUniqueViolation);
  EXPECT_EQ(Budget().used(), 100 * kMiB);

  const auto stored = Run(events::FindReply(*replica_->db, call_));
  ASSERT_TRUE(stored.ok() && stored->has_value());
  v1::AllocateResponse reply;
  ASSERT_TRUE(reply.ParseFromString((*stored)->response));
  EXPECT_EQ(reply.slot_id(), first->slot_id());
  EXPECT_EQ(reply.fence(), first->fence());
}

TEST_F(ResourceUnitsTest, AllocationsComeInPagesOldestFirst) {
  std::vector<std::string> ids;
  for (int i = 0; i < 5; ++i) {
    ids.push_back(Allocate(1, i == 4 ? v1::SLOT_TYPE_SYSTEM_SERVICE : v1::SLOT_TYPE_INFERENCE_NATIVE)->slot_id());
  }
  v1::AllocationsRequest page;
  page.set_limit(2);
  std::vector<std::string> seen;
  do {
    const v1::AllocationsResponse response = Allocations(page);
    for (const v1::Slot& slot : response.allocations()) seen.push_back(slot.slot_id());
    page.set_page_token(response.next_page_token());
  } while (!page.page_token().empty());
  EXPECT_THAT(seen, Eq(ids));

  v1::AllocationsRequest typed;
  typed.set_type(v1::SLOT_TYPE_SYSTEM_SERVICE);
  EXPECT_EQ(Allocations(typed).allocations(0).slot_id(), ids[4]);
  v1::AllocationsRequest one;
  one.set_slot_id(ids[2]);
  EXPECT_THAT(Allocations(one).allocations(), SizeIs(1));
  one.set_slot_id("nope");
  EXPECT_THAT(Allocations(one).allocations(), IsEmpty());
}

TEST_F(ResourceUnitsTest, PressureRisesWithTheMemoryInUse) {
  const auto pressure_at = [this](int64_t used_mib) {
    files_.SetMemory(1000, 1000 - used_mib);
    return Run(replica_->units.Status(call_, {}))->pressure();
  };
  EXPECT_EQ(pressure_at(499), v1::PRESSURE_LOW);
  EXPECT_EQ(pressure_at(501), v1::PRESSURE_MEDIUM);
  EXPECT_EQ(pressure_at(751), v1::PRESSURE_HIGH);
  EXPECT_EQ(pressure_at(901), v1::PRESSURE_CRITICAL);
}

TEST_F(ResourceUnitsTest, StatusShowsTheMachineAndItsSlots) {
  files_.SetMemory(1000, 700);
  const auto slot = Allocate(100);
  const v1::StatusResponse status = Run(replica_->units.Status(call_, {})).value();
  EXPECT_EQ(status.memory().total(), 1000 * kMiB);
  EXPECT_EQ(status.memory().used(), 300 * kMiB);
  EXPECT_GT(status.storage().total(), 0);
  EXPECT_EQ(status.storage().used(), status.storage().total() - status.storage().available());
  ASSERT_THAT(status.slots(), SizeIs(1));
  EXPECT_EQ(status.slots(0).slot_id(), slot->slot_id());
  EXPECT_EQ(status.slots(0).type(), v1::SLOT_TYPE_INFERENCE_NATIVE);
}

}  // namespace
}  // namespace aima::resource
