// Migrations against a real PostgreSQL.
#include "libs/pg/database_test_fixture.h"

namespace aima::pg {
namespace {

class MigrateTest : public DatabaseTest {};

TEST_F(MigrateTest, AppliesWhatIsNewAndOnlyThat) {
  std::ofstream(directory_ + "/0002_more.sql") << "ALTER TABLE item ADD more text; CREATE TABLE other (id int);";
  EXPECT_THAT(Do(db_->Migrate(directory_)), IsOk());
  EXPECT_THAT(Do(db_->Migrate(directory_)), IsOk());
  EXPECT_EQ(Sql("SELECT string_agg(file, ',' ORDER BY file) FROM migrations"), "0001_item.sql,0002_more.sql");
}

TEST_F(MigrateTest, AFailingFileLeavesNothingBehind) {
  std::ofstream(directory_ + "/0002_wrong.sql") << "CREATE TABLE half (id int); SELECT nonsense;";
  EXPECT_THAT(Do(db_->Migrate(directory_)), FailsWith(unit::v1::INTERNAL_ERROR, "0002_wrong.sql"));
  EXPECT_EQ(Sql("SELECT to_regclass('half') IS NULL"), "t");
}

TEST_F(MigrateTest, AChangedFileIsAnError) {
  std::ofstream(directory_ + "/0001_item.sql") << "CREATE TABLE item (name text)";
  EXPECT_THAT(Do(db_->Migrate(directory_)), FailsWith(unit::v1::INTERNAL_ERROR, "was changed"));
}

TEST_F(MigrateTest, SetsDoNotDisturbEachOther) {
  const std::string other = directory_ + "_other/migrations";
  std::filesystem::create_directories(other);
  std::ofstream(other + "/0001_other.sql") << "CREATE TABLE other (id int)";
  EXPECT_THAT(Do(db_->Migrate(other)), IsOk());
  EXPECT_EQ(Sql("SELECT count(DISTINCT set) FROM migrations"), "2");
  std::filesystem::remove_all(directory_ + "_other");
}

TEST_F(MigrateTest, ManyAtOnceApplyEachFileOnce) {
  Options options = options_;
  options.schema = "fresh";
  auto db = Open(loop_, options);
  int done = 0;
  for (int i = 0; i < 5; ++i) {
    Spawn<absl::Status>(db->Migrate(directory_), [&](absl::Status status) {
      EXPECT_THAT(status, IsOk());
      ++done;
    });
  }
  RunAll();
  EXPECT_EQ(done, 5);
}

TEST_F(MigrateTest, AServerThatIsNotDurableIsRefused) {
  Options options = options_;
  options.allow_unsafe_server = false;
  auto db = Open(loop_, options);
  EXPECT_THAT(Do(db->Migrate(directory_)), FailsWith(unit::v1::UNAVAILABLE, "fsync is off"));
}

}  // namespace
}  // namespace aima::pg
