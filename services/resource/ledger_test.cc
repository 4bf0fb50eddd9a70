// What the ledger promises under concurrency, failures and long random runs.
#include "services/resource/ledger.h"

#include <random>
#include <set>

#include "services/resource/testbed.h"

namespace aima::resource {
namespace {

class LedgerTest : public ResourceTest {
 protected:
  using ResourceTest::ResourceTest;

  // Starts `task` on the loop and counts it in `running` until it is done.
  template <class T>
  void Start(Task<T> task) {
    ++running_;
    boost::asio::co_spawn(loop_, std::move(task), [this](std::exception_ptr error, auto...) {
      if (error) std::rethrow_exception(error);
      --running_;
    });
  }
  void FinishAll() {
    loop_.restart();
    while (running_ > 0 && loop_.run_one() > 0) {
    }
  }

  int running_ = 0;
};

TEST_F(LedgerTest, ManyAllocatorsInTwoProcessesNeverOversell) {
  // 64 callers on two replicas want 64 × 25 MiB of 640: exactly 25 can have them at a time.
  const auto second = NewReplica();
  ASSERT_THAT(Run(second->survey.Look(call_)), IsOk());
  std::vector<v1::AllocateResponse> granted;
  int refused = 0;
  const auto allocate = [&](ResourceUnits& units) -> Task<void> {
    CallContext call;
    const auto slot = co_await units.Allocate(call, Wanted(25));
    if (slot.ok()) granted.push_back(*slot);
    if (HasReason(slot.status(), v1::RESOURCE_INSUFFICIENT)) ++refused;
  };
  for (int i = 0; i < 64; ++i) Start(allocate(i % 2 ? replica_->units : second->units));
  FinishAll();

  EXPECT_EQ(granted.size(), 25u);
  EXPECT_EQ(refused, 39);
  EXPECT_EQ(Budget().used(), 625 * kMiB);
  EXPECT_EQ(LedgerAddsUp(), "t");
  std::set<int64_t> fences;
  for (const auto& slot : granted) fences.insert(slot.fence());
  EXPECT_EQ(fences.size(), granted.size());
}

TEST_F(LedgerTest, CallersThatComeAndGoNeverOversell) {
  const auto second = NewReplica();
  ASSERT_THAT(Run(second->survey.Look(call_)), IsOk());
  int errors = 0;
  const auto come_and_go = [&](ResourceUnits& units, int seed) -> Task<void> {
    std::minstd_rand random(seed);
    CallContext call;
    for (int i = 0; i < 8; ++i) {
      const auto slot = co_await units.Allocate(call, Wanted(1 + random() % 60));
      if (!slot.ok()) {
        errors += !HasReason(slot.status(), v1::RESOURCE_INSUFFICIENT);
        continue;
      }
      v1::UpdateSlotRequest resize;
      resize.set_slot_id(slot->slot_id());
      resize.set_memory_limit((1 + random() % 60) * kMiB);
      const auto resized = co_await units.UpdateSlot(call, resize);
      errors += !resized.ok() && !HasReason(resized.status(), v1::RESOURCE_INSUFFICIENT);
      v1::ReleaseRequest release;
      release.set_slot_id(slot->slot_id());
      const auto released = co_await units.Release(call, release);
      errors += !released.ok();
    }
  };
  for (int i = 0; i < 64; ++i) Start(come_and_go(i % 2 ? replica_->units : second->units, i + 1));
  while (running_ > 0) {
    for (int i = 0; i < 500 && running_ > 0; ++i) loop_.run_one();
    ASSERT_EQ(LedgerAddsUp(), "t");
  }
  EXPECT_EQ(errors, 0);
  EXPECT_EQ(Budget().used(), 0);
}

TEST_F(LedgerTest, LaterGrantsHaveGreaterFencesInEveryProcess) {
  const auto second = NewReplica();  // which knows of no fence yet
  int64_t last = 0;
  for (int i = 0; i < 6; ++i) {
    const auto slot = Run((i % 2 ? replica_ : second)->units.Allocate(call_, Wanted(1)));
    ASSERT_THAT(slot, IsOk());
    EXPECT_GT(slot->fence(), last);
    last = slot->fence();
  }
}

TEST_F(LedgerTest, AGrantWhoseConnectionDiesInBetweenLeavesNothing) {
  // Somebody holds the provider's lock, so that the grant has begun and cannot end; then its connection is killed.
  const auto second = NewReplica();
  constexpr pg::Statement kLock{"test_lock", "SELECT FROM provider FOR UPDATE"};
  constexpr pg::Statement kKill{"test_kill",
                                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                                "WHERE wait_event_type = 'Lock' AND datname = current_database()"};
  absl::Status outcome;
  const auto allocate = [&]() -> Task<void> {
    CallContext call;
    outcome = (co_await replica_->units.Allocate(call, Wanted(100))).status();
  };
  const auto kill_it = [&](pg::Transaction& transaction) -> Task<absl::Status> {
    CO_RETURN_IF_ERROR((co_await transaction.Query(kLock, {})).status());
    Start(allocate());
    for (int killed = 0; killed == 0;) {
      CO_ASSIGN_OR_RETURN(const pg::Result result, co_await transaction.Query(kKill, {}));
      killed = result.size();
    }
    co_return absl::OkStatus();
  };
  ASSERT_THAT(Run(second->db->Transact(call_, kill_it)), IsOk());
  FinishAll();

  EXPECT_THAT(outcome, FailsWith(unit::v1::OUTCOME_UNKNOWN, ""));
  EXPECT_EQ(Sql("SELECT count(*) FROM claim"), "0");
  EXPECT_EQ(Sql("SELECT count(*) FROM outbox"), "0");
  EXPECT_EQ(Sql("SELECT sum(used) FROM inventory"), "0");
}

class LedgerCrashTest : public LedgerTest {
 protected:
  LedgerCrashTest() : LedgerTest(Server()) {}
  static testing::Postgres& Server() {
    static testing::Postgres server;
    return server;
  }
};

TEST_F(LedgerCrashTest, WhatWasGrantedIsHeldAfterACrashOfTheDatabaseAndNothingElseIsHalfDone) {
  std::set<std::string> granted;
  const auto allocate = [&]() -> Task<void> {
    CallContext call;
    while (true) {
      const auto slot = co_await replica_->units.Allocate(call, Wanted(1));
      if (!slot.ok()) break;
      granted.insert(slot->slot_id());
    }
  };
  for (int i = 0; i < 16; ++i) Start(allocate());
  while (granted.size() < 100) loop_.run_one();
  Server().Stop();
  FinishAll();
  Server().Start();

  EXPECT_EQ(LedgerAddsUp(), "t");
  EXPECT_EQ(Sql("SELECT count(*) FROM claim"), Sql("SELECT count(*) FROM outbox"));
  for (const std::string& slot : granted) EXPECT_EQ(Sql("SELECT 1 FROM claim WHERE id = '" + slot + "'"), "1");
}

// The simplest ledger that could be right: slots in a map.
struct Model {
  struct Slot {
    v1::SlotType type;
    int64_t mib;
  };
  std::map<std::string, Slot> slots;

  bool Fits(v1::SlotType type, int64_t mib, const std::string& except = "") const {
    std::map<v1::SlotType, int64_t> used;
    for (const auto& [id, slot] : slots) used[slot.type] += id == except ? 0 : slot.mib;
    used[type] += mib;
    const int64_t inference = std::max<int64_t>(0, used[v1::SLOT_TYPE_INFERENCE_NATIVE] - 400);
    const int64_t container = std::max<int64_t>(0, used[v1::SLOT_TYPE_DOCKER_CONTAINER] - 160);
    return inference + container + used[v1::SLOT_TYPE_SYSTEM_SERVICE] <= 240;
  }
};

TEST_F(LedgerTest, ThreeThousandRandomOperationsAgreeWithASimpleModel) {
  std::mt19937 random(20261121);
  const auto roll = [&random](int64_t bound) {
    return std::uniform_int_distribution<int64_t>(0, bound - 1)(random);
  };
  Model model;
  std::vector<std::string> released;
  int refused = 0;
  for (int step = 0; step < 3000; ++step) {
    SCOPED_TRACE(step);
    const bool have_slot = !model.slots.empty();
    auto slot = model.slots.begin();
    if (have_slot) std::advance(slot, roll(model.slots.size()));
    const int64_t mib = 1 + roll(120);
    const int64_t what = roll(10);
    if (what < 5 || !have_slot) {
      const auto type = static_cast<v1::SlotType>(1 + roll(3));
      const bool fits = model.Fits(type, mib);
      const auto granted = Allocate(mib, type);
      ASSERT_EQ(granted.ok(), fits) << granted.status();
      if (granted.ok()) model.slots[granted->slot_id()] = {type, mib};
      refused += !fits;
    } else if (what < 7) {
      const bool fits = mib <= slot->second.mib || model.Fits(slot->second.type, mib, slot->first);
      ASSERT_EQ(Resize(slot->first, mib).ok(), fits);
      if (fits) slot->second.mib = mib;
      refused += !fits;
    } else if (what < 9) {
      ASSERT_THAT(Release(slot->first), IsOk());
      released.push_back(slot->first);
      model.slots.erase(slot);
    } else if (!released.empty()) {
      ASSERT_THAT(Release(released[roll(released.size())]), IsOk());
    }
  }
  int64_t used = 0;
  for (const auto& [id, slot] : model.slots) used += slot.mib;
  EXPECT_EQ(Budget().used(), used * kMiB);
  EXPECT_EQ(LedgerAddsUp(), "t");
  EXPECT_GT(refused, 300);
}

}  // namespace
}  // namespace aima::resource
