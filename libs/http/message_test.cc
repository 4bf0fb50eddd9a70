#include "libs/http/message.h"

#include <gmock/gmock.h>

namespace aima::http {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

TEST(Headers, AreFoundWithoutRegardToCase) {
  Headers headers = {{"Content-Type", "a"}, {"x-one", "1"}, {"X-One", "2"}};
  EXPECT_EQ(headers.Get("content-type"), "a");
  EXPECT_EQ(headers.Get("X-ONE"), "1");
  EXPECT_EQ(headers.Find("missing"), nullptr);
  headers.Set("X-oNe", "3");
  EXPECT_EQ(headers.size(), 2u);
  EXPECT_EQ(headers.Get("x-one"), "3");
}

TEST(PercentDecode, RefusesWhatIsMalformedOrHoldsNul) {
  std::string out;
  EXPECT_TRUE(PercentDecode("asms%3A%2F%2Fa+b", false, out));
  EXPECT_EQ(out, "asms://a+b");
  EXPECT_FALSE(PercentDecode("%4", false, out));
  EXPECT_FALSE(PercentDecode("%zz", false, out));
  EXPECT_FALSE(PercentDecode("a%00b", false, out));
}

TEST(ParseQuery, KeepsOrderAndRepetition) {
  std::vector<std::pair<std::string, std::string>> out;
  ASSERT_TRUE(ParseQuery("a=1+2&b=%26&&a=3&flag", out));
  EXPECT_THAT(out, ElementsAre(Pair("a", "1 2"), Pair("b", "&"), Pair("a", "3"), Pair("flag", "")));
  EXPECT_FALSE(ParseQuery("a=%", out));
}

}  // namespace
}  // namespace aima::http
