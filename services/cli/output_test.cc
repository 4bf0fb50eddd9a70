// Tables of what units answer, where there is little room and where there is none to spare.
#include "services/cli/output.h"

#include <absl/strings/str_split.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "services/cli/table.h"
#include "services/cli/terminal.h"
#include "services/cli/unit_description.h"

namespace aima::cli {
namespace {

using nlohmann::ordered_json;
using ::testing::HasSubstr;
using ::testing::Not;

using Rows = std::vector<std::vector<std::string>>;

// Fourteen columns, as engine.list has them.
Rows ManyColumns() {
  Rows rows(3);
  for (int i = 0; i < 14; ++i) {
    rows[0].push_back("COLUMN_" + std::to_string(i));
    rows[1].push_back("a value that is long");
    rows[2].push_back("another that is longer");
  }
  return rows;
}

std::vector<std::string> Lines(const std::string& table) { return absl::StrSplit(table, '\n', absl::SkipEmpty()); }

TEST(Table, WhatTellsRowsApartIsNeverCutWhileOtherColumnsCanGo) {
  Rows rows = ManyColumns();
  rows[0][3] = "INSTANCE_ID";
  rows[1][3] = "smollm2-135m-instruct";
  rows[2][3] = "smollm2-135m-instruct-2";
  for (const size_t width : {40u, 60u, 80u, 120u}) {
    const std::vector<std::string> lines = Lines(FormatTable(rows, {.width = width}));
    for (const std::string& line : lines) EXPECT_LE(DisplayWidth(line), width);
    EXPECT_THAT(lines[1] + " ", HasSubstr("smollm2-135m-instruct "));
    EXPECT_THAT(lines[2] + " ", HasSubstr("smollm2-135m-instruct-2 "));
  }
}

TEST(Table, TheNameStaysWholeBesideTheIdBeforeAnyOtherColumnIsShown) {
  Rows rows = ManyColumns();
  rows[0][0] = "ID";
  rows[0][5] = "NAME";
  const std::string table = FormatTable(rows, {.width = 50});
  EXPECT_THAT(table, HasSubstr("another that is longer  another that is longer\n"));
  EXPECT_THAT(table, Not(HasSubstr("COLUMN_1")));
}

TEST(Table, TheStateStaysLongerThanWhatStandsBesideTheName) {
  Rows rows = ManyColumns();
  rows[0][0] = "NAME";
  rows[0][13] = "STATUS";
  rows[2][13] = "running";
  const std::string table = FormatTable(rows, {.width = 60});
  EXPECT_THAT(table, HasSubstr("another that is longer"));
  EXPECT_THAT(table, HasSubstr("running"));
  EXPECT_THAT(table, Not(HasSubstr("COLUMN_9")));
}

TEST(Table, NoColumnIsCutToNothingButOneThatIsBroaderThanTheTerminal) {
  const std::vector<std::string> lines = Lines(FormatTable(ManyColumns(), {.width = 80}));
  for (absl::string_view word : absl::StrSplit(lines[0], ' ', absl::SkipEmpty())) {
    EXPECT_THAT(std::string(word), HasSubstr("COLUMN_")) << lines[0];
  }
  const Rows alone = {{"ID", "SIZE"}, {std::string(50, 'x'), "1 B"}};
  EXPECT_EQ(FormatTable(alone, {.width = 20}), "ID\n" + std::string(19, 'x') + "…\n");
}

TEST(Output, NothingIsCutWhereThereIsNoTerminal) {
  const std::string text(500, 'x');
  EXPECT_THAT(Format({{"explanation", text}}, "table"), HasSubstr(text));
  EXPECT_THAT(Format({{"items", {{{"id", "a"}, {"reason", text}}}}}, "table"), HasSubstr(text));
}

// By the rules of the fields of this installation's units, whatever the fields are called.
TEST(Output, ByteCountsAndDurationsAreRoundedWhereverTheyAreDeclared) {
  const google::protobuf::Descriptor* type = OutputTypeOf("engine.get");
  ASSERT_NE(type, nullptr);
  const ordered_json engine = {{"name", "llamacpp"},
                               {"memory_facts", {{"process", 81'000'000}}},
                               {"instances", {{{"instance_id", "smollm2"}, {"idle_timeout", 1'800'000}}}}};
  const std::string shown = Format(engine, "table", type);
  EXPECT_THAT(shown, HasSubstr("memory_facts.process  81.0 MB\n"));
  EXPECT_THAT(shown, HasSubstr("smollm2      30m\n"));
  EXPECT_THAT(Format(engine, "json", type), HasSubstr("81000000"));
  EXPECT_THAT(Format(engine, "table"), HasSubstr("81000000")) << "only the declaration tells what it is";
}

}  // namespace
}  // namespace aima::cli
