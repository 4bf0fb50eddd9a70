#include "libs/base/ids.h"

#include <absl/time/clock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <thread>
#include <vector>

namespace aima {
namespace {

TEST(Ids, TheySortByAgeWithinAMillisecondToo) {
  std::string last;
  for (int i = 0; i < 10'000; ++i) {
    const std::string id = NewId("evt_");
    ASSERT_LT(last, id);
    ASSERT_EQ(id.size(), std::string("evt_").size() + 26);
    last = id;
  }
}

TEST(Ids, NoTwoThreadsMakeTheSame) {
  constexpr int kThreads = 4;
  constexpr int kIds = 2'500;
  std::vector<std::vector<std::string>> made(kThreads);
  std::vector<std::thread> threads;
  for (std::vector<std::string>& ids : made) {
    threads.emplace_back([&ids] {
      for (int i = 0; i < kIds; ++i) ids.push_back(NewId("x_"));
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::set<std::string> seen;
  for (const std::vector<std::string>& ids : made) seen.insert(ids.begin(), ids.end());
  EXPECT_EQ(seen.size(), size_t{kThreads * kIds});
}

TEST(Ids, TheyBeginWithTheirMillisecond) {
  const std::string alphabet = "0123456789abcdefghjkmnpqrstvwxyz";
  const int64_t before = absl::ToUnixMillis(absl::Now());
  const std::string id = NewId("");
  int64_t told = 0;
  for (const char c : id.substr(0, 10)) told = told * 32 + static_cast<int64_t>(alphabet.find(c));
  EXPECT_GE(told, before);
  EXPECT_LE(told, absl::ToUnixMillis(absl::Now()));
}

TEST(Ids, SecretsHaveTwoDigitsPerByte) {
  EXPECT_EQ(RandomHex(32).size(), 64u);
  EXPECT_EQ(RandomHex(300).find_first_not_of("0123456789abcdef"), std::string::npos);
  EXPECT_NE(RandomHex(32), RandomHex(32));
}

}  // namespace
}  // namespace aima
