// What help, manual pages and completion tell, from the descriptors of this installation.
#include <absl/strings/str_cat.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "services/cli/man_pages.h"
#include "services/cli/schema_flags.h"
#include "services/cli/testing/command_outcome.h"
#include "services/cli/unit_description.h"

namespace aima::cli {
namespace {

using nlohmann::ordered_json;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

// Text as it is read: lines that are wrapped are one, and so are signs that roff escapes.
std::string Read(const std::string& text) {
  std::string read;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\') {
      if (text.compare(i + 1, 1, "f") == 0) i += 2;  // a font
      continue;
    }
    const char c = text[i] == '\n' ? ' ' : text[i];
    if (c != ' ' || !read.ends_with(' ')) read += c;
  }
  return read;
}

std::string Help(const std::string& of) { return Read(OutcomeOf({"help", of}).out); }
std::string Manual(const std::string& of) { return Read(OutcomeOf({"man", "--roff", of}).out); }

FlagHelp FlagOf(const char* schema) {
  return FlagsOf({{"type", "object"}, {"properties", {{"it", ordered_json::parse(schema)}}}})[0];
}

TEST(FlagHelp, SaysWhatItTakesItsLimitsAndItsDefault) {
  const auto line = [](const char* schema) {
    const std::vector<std::string> row = FlagRows({FlagOf(schema)})[0];
    return absl::StrCat(row[0], " | ", row[1]);
  };
  EXPECT_EQ(line(R"({"type":"string","description":"A name. Without it, the file's."})"),
            "  --it TEXT | A name. Without it, the file's.");
  EXPECT_EQ(line(R"({"type":"integer","minimum":1,"maximum":1000,"default":100,"description":"How many."})"),
            "  --it INTEGER | How many. [1 to 1000; default 100]");
  EXPECT_EQ(line(R"({"type":"number","minimum":0})"), "  --it NUMBER | [at least 0]");
  EXPECT_EQ(line(R"({"type":"boolean","default":true})"), "  --it | [default true]");
  EXPECT_EQ(line(R"({"type":"string","enum":["a","b"],"default":"a"})"), "  --it a|b | [default a]");
  EXPECT_EQ(line(R"({"type":"array","items":{"type":"string"},"maxItems":4})"),
            "  --it TEXT | [may be repeated, up to 4 times]");
  EXPECT_EQ(line(R"({"type":"object"})"), "  --it JSON | ");
}

TEST(FlagHelp, SaysTimesAndSizesInTheirUnits) {
  const FlagHelp time = FlagOf(R"({"type":"integer","minimum":0,"maximum":600000,"default":"30s"})");
  EXPECT_EQ(time.value + ": " + time.limits, "TIME: 0 to 10m; default 30s");
  const FlagHelp either = FlagOf(R"({"type":["integer","string"],"maximum":600000,"description":"Milliseconds."})");
  EXPECT_EQ(either.value + ": " + either.limits, "TIME: at most 10m");
  const FlagHelp size = FlagOf(R"({"type":["integer","string"],"minimum":1024,"default":"10MB"})");
  EXPECT_EQ(size.value + ": " + size.limits, "SIZE: at least 1KiB; default 10MB");
}

TEST(Help, TellsTheDefaultsAndLimitsThatTheProtosTell) {
  for (const std::string& text : {Help("import"), Help("model.import"), Manual("import"), Manual("model")}) {
    EXPECT_THAT(text, HasSubstr("Without it, the name that the files give")) << text;
  }
  for (const std::string& text : {Help("ls"), Help("model.list"), Manual("ls"), Manual("model")}) {
    EXPECT_THAT(text, HasSubstr("[1 to 1000; default 100]")) << text;
  }
  EXPECT_THAT(Help("pull"), HasSubstr("--tag TEXT "));
  EXPECT_THAT(Help("run"), HasSubstr("--max-tokens INTEGER"));
  for (const std::string& text : {Help("run"), Help("chat"), Manual("run")}) {
    EXPECT_THAT(text, HasSubstr("default 1024]")) << text;
    EXPECT_THAT(text, HasSubstr("[0 to 2")) << "temperature";
  }
}

TEST(Help, ListsOnlyFlagsThatTheCommandTakesAndEachOnce) {
  for (const char* command : {"run", "chat"}) {
    for (const std::string& text : {Help(command), Manual(command)}) {
      for (const char* field : {"--model ", "--messages", "--message ", "--stream", "--idempotency-key"}) {
        EXPECT_THAT(text, Not(HasSubstr(field))) << command;
      }
    }
  }
  const std::string pull = Help("pull");
  EXPECT_THAT(pull, HasSubstr("--detach"));
  EXPECT_EQ(pull.find("--detach"), pull.rfind("--detach")) << pull;
  EXPECT_THAT(OutcomeOf({"__complete", "--", "run", "smollm2", "--m"}).out,
              AllOf(HasSubstr("--max-tokens"), Not(HasSubstr("--messages"))));
}

TEST(Help, OfAUnitThatStreamsKnowsOneStreamFlag) {
  const std::string text = Help("inference.chat");
  EXPECT_THAT(text, HasSubstr("With --stream the output is printed as it arrives."));
  EXPECT_EQ(text.find("--stream"), text.rfind("--stream")) << text;
}

TEST(Help, OfANounListsItsUnits) {
  EXPECT_THAT(Help("model"), AllOf(HasSubstr("model.pull"), HasSubstr("model.get"), HasSubstr("aima man model")));
  EXPECT_THAT(Help("operation"), HasSubstr("operation.wait"));
}

TEST(Manual, HasAPageForEveryNounOfUnitsAndNoneForAnother) {
  EXPECT_THAT(Manual("operation"), AllOf(HasSubstr("aima exec operation.UNIT"), HasSubstr(".SS operation.wait")));
  EXPECT_THAT(Manual("operation.wait"), HasSubstr(".SS operation.wait"));
  EXPECT_THAT(ManPageNames(), Not(Contains("gateway")));
  EXPECT_EQ(OutcomeOf({"man", "--roff", "gateway"}).exit, kNotFound);
}

}  // namespace
}  // namespace aima::cli
