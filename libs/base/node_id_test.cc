#include "libs/base/node_id.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "libs/base/ids.h"

namespace aima {
namespace {

TEST(NodeId, IsMadeOnceAndKept) {
  const std::string directory = ::testing::TempDir() + "/" + NewId("node-");
  std::filesystem::create_directories(directory);
  const absl::StatusOr<std::string> first = LoadNodeId(directory, "");
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_TRUE(first->starts_with("node_")) << *first;
  EXPECT_EQ(*LoadNodeId(directory, ""), *first);
  EXPECT_EQ(*LoadNodeId(directory, "spark-1"), "spark-1");
  EXPECT_EQ(*LoadNodeId(directory, ""), *first) << "a configured name does not replace it";
  EXPECT_FALSE(LoadNodeId("/nonexistent", "").ok());
  std::filesystem::remove_all(directory);
}

}  // namespace
}  // namespace aima
