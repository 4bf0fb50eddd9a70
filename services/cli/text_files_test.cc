// Files that people write and read: configuration and logs; what differs between two values; which lists have ids.
#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

#include "libs/unit/value_lists.h"
#include "services/cli/json_changes.h"
#include "services/cli/log_reader.h"
#include "services/cli/unit_description.h"
#include "services/cli/yaml_edit.h"

namespace aima::cli {
namespace {

using nlohmann::ordered_json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr char kFile[] = R"(# Ours.
api:
  # Where it listens.
  listen_addr: "127.0.0.1:9090"  # not 8080: # taken
  allowed_hosts:
    - a
    - b
  grpc_addr: ""

model:
  default_source: 'hugging # face'
)";

std::string Edited(const std::string& text, const std::string& section, const std::string& key,
                   std::optional<std::string> value) {
  const absl::StatusOr<std::string> edited = EditYaml(text, section, key, value);
  return edited.ok() ? *edited : std::string(edited.status().message());
}

TEST(YamlEdit, AValueIsReplacedAndEverythingElseStays) {
  std::string wanted = kFile;
  wanted.replace(wanted.find("\"127.0.0.1:9090\""), 16, "\"[::1]:7\"");
  EXPECT_EQ(Edited(kFile, "api", "listen_addr", "\"[::1]:7\""), wanted);
}

TEST(YamlEdit, AValueMayHoldWhatLooksLikeAComment) {
  EXPECT_THAT(Edited(kFile, "model", "default_source", "\"x\""), HasSubstr("  default_source: \"x\"\n"));
}

TEST(YamlEdit, AListOfSeveralLinesKeepsItsComments) {
  const std::string list = R"(api:
  allowed_hosts:   # who may call
    # the dashboard
    - a   # since May

    # the other one
    - 'b'
    # those at home
    - "d"
  grpc_addr: ''
)";
  const auto edited = [&](const std::string& value) {
    std::string whole = Edited(list, "api", "allowed_hosts", value);
    EXPECT_THAT(whole, ::testing::StartsWith("api:\n  allowed_hosts:"));
    EXPECT_THAT(whole, ::testing::EndsWith("\n  grpc_addr: ''\n"));
    return whole.substr(21, whole.size() - 21 - 16);
  };
  EXPECT_EQ(edited(R"(["a", "b", "c", "d"])"), R"(   # who may call
    # the dashboard
    - a   # since May

    # the other one
    - 'b'
    - "c"
    # those at home
    - "d"
)");
  EXPECT_EQ(edited(R"(["d", "a"])"), R"(   # who may call

    # the other one
    # those at home
    - "d"
    # the dashboard
    - a   # since May
)");
  EXPECT_EQ(edited("[]"), R"( []   # who may call
    # the dashboard

    # the other one
    # those at home
)");
  EXPECT_THAT(Edited("api:\n  allowed_hosts: [a,\n    b,  # mine\n    c]\n", "api", "allowed_hosts", "[\"c\"]"),
              HasSubstr("line 2 begins allowed_hosts")) << "what cannot be kept is not thrown away";
  EXPECT_EQ(Edited("api:\n  allowed_hosts: [a,\n    b]\n", "api", "allowed_hosts", "[\"c\"]"),
            "api:\n  allowed_hosts: [\"c\"]\n");
}

TEST(YamlEdit, ANewSettingGoesIntoItsSectionOrMakesOne) {
  EXPECT_THAT(Edited(kFile, "api", "enable_cors", "true"),
              HasSubstr("  grpc_addr: \"\"\n  enable_cors: true\n\nmodel:"));
  EXPECT_THAT(Edited(kFile, "engine", "auto_start", "false"), HasSubstr("face'\n\nengine:\n  auto_start: false\n"));
  EXPECT_EQ(Edited("", "engine", "auto_start", "false"), "engine:\n  auto_start: false\n");
}

TEST(YamlEdit, ASettingIsTakenOutAndItsSectionWithTheLastOne) {
  EXPECT_EQ(Edited(kFile, "api", "allowed_hosts", std::nullopt).find("- a"), std::string::npos);
  EXPECT_EQ(Edited(kFile, "model", "default_source", std::nullopt).find("model:"), std::string::npos);
  EXPECT_EQ(Edited(kFile, "event", "retention", std::nullopt), kFile);
}

TEST(YamlEdit, WhatCannotBeEditedIsLeftAloneAndNamed) {
  EXPECT_THAT(Edited("api: {grpc_addr: ''}\n", "api", "grpc_addr", "\"x\""),
              HasSubstr("line 1 has the whole section api in braces"));
  EXPECT_THAT(Edited("api: [\n", "api", "grpc_addr", "\"x\""), HasSubstr("line"));
}

class LogTest : public ::testing::Test {
 protected:
  LogTest() {
    std::string pattern = std::filesystem::temp_directory_path() / "aima-log-XXXXXX";
    path_ = std::string(mkdtemp(pattern.data())) + "/a.log";
  }
  ~LogTest() override { std::filesystem::remove_all(std::filesystem::path(path_).parent_path()); }
  void Add(const std::string& text) { std::ofstream(path_, std::ios::app) << text; }

  std::string path_;
};

TEST_F(LogTest, TheLastLinesAreGivenAndThenWhatComes) {
  LogFile file(path_);
  EXPECT_THAT(file.Last(5), IsEmpty());
  Add("one\ntwo\nthree\nhal");
  EXPECT_THAT(file.Last(2), ElementsAre("two", "three"));
  EXPECT_THAT(file.More(), IsEmpty());
  Add("f\nfive\n");
  EXPECT_THAT(file.More(), ElementsAre("half", "five"));
}

TEST_F(LogTest, ARotatedFileIsReadOnFromItsBeginning) {
  Add("one\ntwo\n");
  LogFile file(path_);
  EXPECT_THAT(file.Last(9), ElementsAre("one", "two"));
  std::filesystem::rename(path_, path_ + ".1");
  Add("3\n");
  EXPECT_THAT(file.More(), ElementsAre("3"));
  EXPECT_THAT(LogFile(path_).Last(2), ElementsAre("two", "3"));
}

TEST_F(LogTest, ALineIsShownWithItsTimeAndLevelAndNothingThatDrivesTheTerminal) {
  const LogLine line =
      ReadLogLine(R"({"time":"2026-11-21T09:00:00.125Z","level":"warn","message":"odd","unit":"a.b"})");
  ASSERT_TRUE(line.time.has_value());
  EXPECT_EQ(absl::ToUnixMillis(*line.time) % 1000, 125);
  EXPECT_THAT(ForPeople(line, false), HasSubstr("warn  odd  unit=a.b"));
  EXPECT_EQ(ForPeople(ReadLogLine(R"({"message":"a\u001b[2Jb"})"), false), "       a [2Jb");
  EXPECT_EQ(ForPeople(ReadLogLine("plain \033[2J text"), false), "plain  [2J text");
  EXPECT_TRUE(ReadLogLine("2026-11-21 09:00:00.125 UTC [42] LOG:  ready").time.has_value());
}

TEST(JsonChanges, NameWhatDiffersAndKnowItemsByTheirIds) {
  const ordered_json before =
      ordered_json::parse(R"({"items":[{"id":"a","n":1},{"id":"b","n":2}],"total":2,"gone":true})");
  const ordered_json now = ordered_json::parse(R"({"items":[{"id":"b","n":3},{"id":"c","n":1}],"total":2})");
  EXPECT_THAT(Changes(before, now),
              ElementsAre("items[b].n: 2 -> 3", R"(+ items[c]: {"id":"c","n":1})", "- items[a]", "- gone: true"));
  EXPECT_THAT(Changes(before, before), IsEmpty());
}

// Not of files, but of the descriptors of this installation.
TEST(ValueLists, AreFoundByTheNamesOfFields) {
  const Catalogue* catalogue = LocalCatalogue();
  ASSERT_NE(catalogue, nullptr);
  const auto find = [catalogue](const char* unit, const char* field) {
    const ValueList list = FindValueList(*catalogue, *catalogue->Find(unit), field);
    return list.unit ? absl::StrCat(list.unit->name, " ", absl::StrJoin(list.lists, "."), " ", list.item_field) : "";
  };
  EXPECT_EQ(find("model.get", "model_id"), "model.list items id");
  EXPECT_EQ(find("engine.start", "model_id"), "model.list items id");
  EXPECT_EQ(find("inference.chat", "model"), "model.list items id");
  EXPECT_EQ(find("engine.install", "name"), "engine.list items name");
  EXPECT_EQ(find("engine.start", "instance_id"), "engine.list items.instances instance_id");
  EXPECT_EQ(find("operation.get", "operation_id"), "operation.list operations id");
  EXPECT_EQ(find("model.get", "idempotency_key"), "");
}

}  // namespace
}  // namespace aima::cli
