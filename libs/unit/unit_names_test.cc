#include "libs/unit/unit_names.h"

#include <gtest/gtest.h>

namespace aima {
namespace {

std::string Shown(std::string_view text) {
  return ShowUnits(text, [](std::string_view name) { return name == "model.list" ? "aima ls" : std::string(); });
}

TEST(UnitNames, AreShownAsWhatCallersUse) {
  EXPECT_EQ(Shown("`model.list` shows them; `model.list`."), "`aima ls` shows them; `aima ls`.");
  EXPECT_EQ(Shown("Nothing to do."), "Nothing to do.");
}

TEST(UnitNames, OtherWordsStayAsTheyAre) {
  EXPECT_EQ(Shown("set model.list, `model.lost`, `aima model.list` or `log_tail`"),
            "set model.list, `model.lost`, `aima model.list` or `log_tail`");
  EXPECT_EQ(Shown("`open and `model.list` twice"), "`open and `model.list` twice") << "pairs are read from the left";
  EXPECT_EQ(Shown("an open `model.list"), "an open `model.list");
}

}  // namespace
}  // namespace aima
