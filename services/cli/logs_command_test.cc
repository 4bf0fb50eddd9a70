// aima logs, with files that services, PostgreSQL and the supervisor wrote.
#include <absl/strings/str_cat.h>
#include <absl/strings/str_split.h>
#include <absl/time/clock.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "services/cli/testing/command_outcome.h"

namespace aima::cli {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;
using ::testing::ContainsRegex;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

class LogsCommandTest : public ::testing::Test {
 protected:
  LogsCommandTest() {
    std::string pattern = fs::temp_directory_path() / "aima-logs-XXXXXX";
    directory_ = mkdtemp(pattern.data());
    fs::create_directories(directory_ / "logs/engines");
    setenv("AIMA_DATA_DIR", directory_.c_str(), 1);
    const auto ago = [](absl::Duration time, const char* format) {
      return absl::FormatTime(format, absl::Now() - time, absl::UTCTimeZone());
    };
    Write("postgres", absl::StrCat("creating files ... ok\n", ago(absl::Hours(1), "%Y-%m-%d %H:%M:%E3S"),
                                   " UTC [42] LOG:  ready\n", ago(absl::Minutes(1), "%Y-%m-%d %H:%M:%E3S"),
                                   " UTC [42] ERROR:  a statement\n\tits second line\n"));
    Write("supervisor", absl::StrCat(ago(absl::Hours(2), absl::RFC3339_sec), " supervisor: starting event\n",
                                     ago(absl::Seconds(30), absl::RFC3339_sec), " supervisor: gateway ended\n"));
    Write("gateway", absl::StrCat(R"({"time":")", ago(absl::Seconds(20), "%Y-%m-%dT%H:%M:%E3SZ"),
                                  R"(","level":"info","process":"gateway","message":"draining"})", "\n"));
  }
  ~LogsCommandTest() override { fs::remove_all(directory_); }

  fs::path Write(const std::string& name, const std::string& text) {
    const fs::path path = directory_ / "logs" / (name + ".log");
    std::ofstream(path) << text;
    return path;
  }

  static std::vector<std::string> Lines(std::vector<std::string> words) {
    words.insert(words.begin(), "logs");
    std::vector<std::string> lines = absl::StrSplit(OutcomeOf(std::move(words)).out, '\n');
    lines.pop_back();
    return lines;
  }

  fs::path directory_;
};

TEST_F(LogsCommandTest, ALineWithoutATimeIsAsOldAsTheOneBeforeItAndTheBeginningAsTheFirst) {
  EXPECT_THAT(Lines({"--since", "10m"}),
              ElementsAre(HasSubstr("a statement"), HasSubstr("its second line"), HasSubstr("gateway ended"),
                          HasSubstr("draining")));
  EXPECT_THAT(Lines({"--since", "90m"}),
              ElementsAre(HasSubstr("creating files"), HasSubstr("ready"), HasSubstr("a statement"),
                          HasSubstr("its second line"), HasSubstr("gateway ended"), HasSubstr("draining")));
}

TEST_F(LogsCommandTest, AFileWithoutAnyTimeIsAsOldAsWhatWasWrittenToItLast) {
  const fs::path path = Write("engines/smollm2", "loading\n");
  EXPECT_THAT(Lines({"smollm2", "--since", "10m"}), ElementsAre("loading"));
  fs::last_write_time(path, fs::file_time_type::clock::now() - std::chrono::hours(3));
  EXPECT_THAT(Lines({"smollm2", "--since", "10m"}), ElementsAre());
}

TEST_F(LogsCommandTest, EveryLineIsAnObjectForPrograms) {
  std::vector<std::string> messages;
  for (const std::string& line : Lines({"-o", "json"})) {
    const ordered_json json = ordered_json::parse(line, nullptr, false);
    ASSERT_TRUE(json.is_object()) << line;
    EXPECT_TRUE(json.contains("time")) << line;
    messages.push_back(absl::StrCat(json["process"].get<std::string>(), ": ", json["message"].get<std::string>()));
  }
  EXPECT_THAT(messages, ElementsAre("supervisor: starting event", "postgres: creating files ... ok",
                                    "postgres: [42] LOG:  ready", "postgres: [42] ERROR:  a statement",
                                    "postgres: \tits second line", "supervisor: gateway ended", "gateway: draining"));
}

TEST_F(LogsCommandTest, NoLineNamesItsProcessTwiceAndAllTimesLookAlike) {
  const std::string shown = OutcomeOf({"logs"}).out;
  EXPECT_THAT(shown, Not(HasSubstr("supervisor: ")));
  EXPECT_THAT(shown, ContainsRegex("supervisor  [0-9-]{5} [0-9:.]{12}       starting event\n"));
  EXPECT_THAT(shown, ContainsRegex("postgres    [0-9-]{5} [0-9:.]{12}       .42. LOG:  ready\n"));
}

}  // namespace
}  // namespace aima::cli
