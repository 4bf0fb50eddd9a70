#include "services/cli/terminal.h"

#include <absl/time/clock.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "services/cli/table.h"

namespace aima::cli {
namespace {

using ::testing::HasSubstr;

TEST(Terminal, WidthIsInColumnsNotInBytes) {
  EXPECT_EQ(DisplayWidth("abc"), 3u);
  EXPECT_EQ(DisplayWidth("größe"), 5u);
  EXPECT_EQ(DisplayWidth("模型"), 4u);
  EXPECT_EQ(DisplayWidth("e\xcc\x81"), 1u);           // a combining accent
  EXPECT_EQ(DisplayWidth("\033[31mred\033[0m"), 3u);  // a colour
  EXPECT_EQ(DisplayWidth("a\xff"), 2u);               // no UTF-8
}

TEST(Terminal, TextIsCutBetweenCharacters) {
  EXPECT_EQ(CutTo("abcdef", 6), "abcdef");
  EXPECT_EQ(CutTo("abcdef", 4), "abc…");
  EXPECT_EQ(CutTo("模型模型", 6), "模型…");
  EXPECT_EQ(CutTo("模型模型", 5), "模型…");
  EXPECT_EQ(CutTo("abc", 0), "");
}

TEST(Terminal, NothingThatDrivesItIsLeftInHarmlessText) {
  EXPECT_EQ(Harmless("a\033[2Jb\nc\x7f", true), "a [2Jb c ");
  EXPECT_EQ(Harmless("a\nb\tc\r", false), "a\nb\tc ");
  EXPECT_EQ(Harmless("\xc2\x9b"
                     "31m größe",
                     true),
            "  31m größe");
}

TEST(Table, TheWidestColumnsGiveWhatDoesNotFitAndNoLineIsLonger) {
  const std::vector<std::vector<std::string>> rows = {
      {"NAME", "DESCRIPTION", "SIZE"}, {"smollm2-135m", "a small model that says a great deal", "98 MB"}};
  const std::string table = FormatTable(rows, {.width = 40});
  size_t begin = 0;
  for (size_t end; (end = table.find('\n', begin)) != std::string::npos; begin = end + 1) {
    EXPECT_LE(DisplayWidth(table.substr(begin, end - begin)), 40u);
  }
  EXPECT_THAT(table, HasSubstr("smollm2-135m"));
  EXPECT_THAT(table, HasSubstr("98 MB"));
  EXPECT_THAT(table, HasSubstr("…"));
  EXPECT_EQ(FormatTable(rows, {}).find("…"), std::string::npos);
}

TEST(Table, ColumnsForWhichThereIsNoRoomAreLeftOutOnTheRight) {
  const std::vector<std::vector<std::string>> rows = {{"ONE", "TWO", "THREE", "FOUR"},
                                                      {"abcdefgh", "abcdefgh", "abcdefgh", "abcdefgh"}};
  const std::string table = FormatTable(rows, {.width = 24});
  EXPECT_THAT(table, HasSubstr("TWO"));
  EXPECT_EQ(table.find("FOUR"), std::string::npos);
}

TEST(Table, TimesAreToldAsPeopleDo) {
  const auto at = [](absl::Duration from_now) {
    return absl::FormatTime(absl::RFC3339_full, absl::Now() + from_now, absl::UTCTimeZone());
  };
  EXPECT_EQ(RelativeTime(at(-absl::Seconds(1))), "just now");
  EXPECT_EQ(RelativeTime(at(-absl::Minutes(3) - absl::Seconds(1))), "3 minutes ago");
  EXPECT_EQ(RelativeTime(at(-absl::Hours(25))), "1 day ago");
  EXPECT_EQ(RelativeTime(at(absl::Hours(2) + absl::Seconds(30))), "in 2 hours");
  EXPECT_EQ(RelativeTime("soon"), "soon");
}

}  // namespace
}  // namespace aima::cli
