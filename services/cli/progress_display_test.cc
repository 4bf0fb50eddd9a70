#include "services/cli/progress_display.h"

#include <gmock/gmock.h>

namespace aima::cli {
namespace {

using nlohmann::ordered_json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;

std::string Shown(bool terminal, const std::vector<ordered_json>& steps) {
  char* text = nullptr;
  size_t size = 0;
  FILE* out = open_memstream(&text, &size);
  ProgressDisplay display(out, terminal);
  for (const ordered_json& step : steps) display.Show(step);
  display.End();
  fclose(out);
  std::string shown(text, size);
  free(text);
  return shown;
}

TEST(ProgressDisplay, AStepWithoutBytesIsABarAndItsMessage) {
  EXPECT_THAT(ProgressLines({{"percent", 50.9}, {"message", "installing"}}, 80),
              ElementsAre(" 50% [============>           ]  installing"));
}

TEST(ProgressDisplay, BytesComeWithTheirSpeedAndTheTimeThatIsLeft) {
  const ordered_json step = {{"percent", 25}, {"message", "fetching"}, {"size", 4e9},
                             {"done", 1e9},   {"speed", 5e7},          {"eta", 60.0}};
  EXPECT_THAT(ProgressLines(step, 120), ElementsAre(HasSubstr("1.0 GB of 4.0 GB  50.0 MB/s  1:00 left  fetching")));
}

TEST(ProgressDisplay, PartsInHandHaveALineEach) {
  const ordered_json step = {{"percent", 10},
                             {"message", "fetching"},
                             {"items",
                              {{{"name", "done"}, {"size", 10}, {"done", 10}},
                               {{"name", "half"}, {"size", 1000}, {"done", 500}, {"speed", 10.0}, {"eta", 50.0}},
                               {{"name", "waiting"}, {"size", 10}, {"done", 0}}}}};
  const std::vector<std::string> lines = ProgressLines(step, 120);
  ASSERT_THAT(lines, SizeIs(2));
  EXPECT_THAT(lines[1], HasSubstr("50%  500 B of 1.0 kB  10 B/s  0:50 left  half"));
}

TEST(ProgressDisplay, LinesFitTheTerminalAndDoNotMoveItsCursor) {
  const auto lines = ProgressLines({{"percent", 1}, {"message", "\x1b[2J\r\n" + std::string(200, 'x')}}, 60);
  EXPECT_THAT(lines, ElementsAre(SizeIs(59), HasSubstr("1%"))) << "what does not fit into one line gets two";
  EXPECT_THAT(lines[0], Not(HasSubstr("\x1b")));
}

TEST(ProgressDisplay, ATerminalShowsOneStepInPlaceOfTheOther) {
  const std::string shown = Shown(true, {{{"percent", 1}, {"message", "one"}}, {{"percent", 2}, {"message", "two"}}});
  EXPECT_THAT(shown, HasSubstr("one\r\033[J"));
  EXPECT_THAT(shown, ::testing::EndsWith("two\n"));
}

TEST(ProgressDisplay, ElsewhereALineComesOnlyWhenThereIsNews) {
  std::vector<ordered_json> steps;
  for (int percent = 0; percent <= 100; ++percent) steps.push_back({{"percent", percent}, {"message", "fetching"}});
  steps.push_back({{"percent", 100}, {"message", "ready"}, {"result", ordered_json::object()}});
  const std::string shown = Shown(false, steps);
  EXPECT_EQ(std::count(shown.begin(), shown.end(), '\n'), 12) << shown;
  EXPECT_THAT(shown, ::testing::EndsWith("100% ready\n"));
}

TEST(ProgressDisplay, AmountsAreShort) {
  EXPECT_EQ(BytesText(0), "0 B");
  EXPECT_EQ(BytesText(999), "999 B");
  EXPECT_EQ(BytesText(999'950), "1.0 MB");
  EXPECT_EQ(BytesText(123'456'789), "123 MB");
  EXPECT_EQ(DurationText(0.2), "0:01");
  EXPECT_EQ(DurationText(3599), "59:59");
  EXPECT_EQ(DurationText(3661), "1:01:01");
}

}  // namespace
}  // namespace aima::cli
