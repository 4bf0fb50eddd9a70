#include "libs/base/ids.h"

#include <absl/time/clock.h>
#include <gtest/gtest.h>

#include <set>

namespace aima {
namespace {

TEST(Ids, NoTwoAreTheSame) {
  std::set<std::string> seen;
  for (int i = 0; i < 10'000; ++i) EXPECT_TRUE(seen.insert(NewId("x_")).second);
}

TEST(Ids, TheySortByAge) {
  const std::string older = NewId("evt_");
  absl::SleepFor(absl::Milliseconds(2));
  EXPECT_LT(older, NewId("evt_"));
  EXPECT_EQ(older.size(), std::string("evt_").size() + 26);
}

TEST(Ids, SecretsHaveTwoDigitsPerByte) {
  EXPECT_EQ(RandomHex(32).size(), 64u);
  EXPECT_EQ(RandomHex(300).find_first_not_of("0123456789abcdef"), std::string::npos);
  EXPECT_NE(RandomHex(32), RandomHex(32));
}

}  // namespace
}  // namespace aima
