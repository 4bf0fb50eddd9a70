#include "services/resource/survey.h"

#include "services/resource/testbed.h"

namespace aima::resource {
namespace {

class SurveyTest : public ResourceTest {};

TEST_F(SurveyTest, ASmallMachineKeepsAQuarterForItsSystem) {
  config_.set_system_reserved_mb(10240);
  EXPECT_EQ(StocksOf(machine_, config_)->at(kMemory).reserved, 250 * kMiB);
  files_.SetMemory(100'000, 100'000);
  EXPECT_EQ(StocksOf(machine_, config_)->at(kMemory).reserved, 10240 * kMiB);
}

TEST_F(SurveyTest, PoolsMustNotTakeMoreThanEverything) {
  config_.set_container_pool_pct(0.6);
  EXPECT_THAT(StocksOf(machine_, config_), FailsWith(unit::v1::INVALID_INPUT, "container_pool_pct"));
}

TEST_F(SurveyTest, AMachineThatShrinksKeepsWhatItGrantedAndGrantsNoMore) {
  const auto slot = Allocate(500);
  ASSERT_THAT(slot, IsOk());
  files_.SetMemory(400, 400);
  Look();
  EXPECT_EQ(Budget().total(), 500 * kMiB);
  EXPECT_EQ(Budget().used(), 500 * kMiB);
  EXPECT_THAT(Allocate(1), FailsWith(v1::RESOURCE_INSUFFICIENT, "0 bytes of memory are available"));

  ASSERT_THAT(Release(slot->slot_id()), IsOk());
  Look();
  EXPECT_EQ(Budget().total(), 400 * kMiB);
  EXPECT_EQ(Budget().reserved(), 100 * kMiB);
}

TEST_F(SurveyTest, NothingIsWrittenWhileNothingChanges) {
  const std::string before = Sql("SELECT pg_current_wal_insert_lsn()");
  for (int i = 0; i < 5; ++i) Look();
  EXPECT_EQ(Sql("SELECT pg_current_wal_insert_lsn()"), before);
}

TEST_F(SurveyTest, SlotsThatEndedLongAgoAreForgotten) {
  const auto slot = Allocate(100);
  ASSERT_THAT(Release(slot->slot_id()), IsOk());
  Sql("UPDATE claim SET ended_at = now() - interval '8 days'");
  const auto later = NewReplica();
  ASSERT_THAT(Run(later->survey.Look(call_)), IsOk());
  EXPECT_THAT(Release(slot->slot_id()), FailsWith(v1::SLOT_NOT_FOUND, ""));
}

}  // namespace
}  // namespace aima::resource
