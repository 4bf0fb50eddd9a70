#include "libs/process/log_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

namespace aima::process {
namespace {

class LogFileTest : public ::testing::Test {
 protected:
  void SetUp() override { std::remove((path_ + ".1").c_str()); }
  void Write(const std::string& text) { std::ofstream(path_, std::ios::trunc) << text; }

  const std::string path_ =
      ::testing::TempDir() + "/log_file_test." + std::to_string(getpid()) + ".log";
};

TEST_F(LogFileTest, TailGivesTheLastLines) {
  Write("one\ntwo\nthree\n");
  EXPECT_EQ(TailOf(path_, 2), "two\nthree");
  EXPECT_EQ(TailOf(path_, 3), "one\ntwo\nthree");
  EXPECT_EQ(TailOf(path_, 50), "one\ntwo\nthree");
  EXPECT_EQ(TailOf(path_, 50, 8), "o\nthree") << "no more bytes than asked for";
  EXPECT_EQ(TailOf(path_ + ".none", 5), "");
  Write("");
  EXPECT_EQ(TailOf(path_, 5), "");
}

TEST_F(LogFileTest, TailIsValidTextWhateverTheFileHolds) {
  Write("\x1b[31mred\xff\xc3(\xc3\xa4");
  EXPECT_EQ(TailOf(path_, 5), "[31mred\xEF\xBF\xBD\xEF\xBF\xBD(\xc3\xa4");
}

TEST_F(LogFileTest, ALogThatIsTooLargeIsEmptiedUnderItsWriterAndItsEndIsKept) {
  Write("");
  std::ofstream writer(path_, std::ios::app);
  writer << std::string(1000, 'a') << std::string(100, 'b') << std::flush;
  BoundLog(path_, 2000);
  EXPECT_EQ(SizeOf(path_), 1100);
  BoundLog(path_, 100);
  EXPECT_EQ(SizeOf(path_), 0);
  EXPECT_EQ(TailOf(path_ + ".1", 1), std::string(100, 'b'));
  writer << "next" << std::flush;
  EXPECT_EQ(TailOf(path_, 1), "next");
}

TEST_F(LogFileTest, ANewRunStartsWithAnEmptyLog) {
  Write("old run");
  StartNewLog(path_);
  EXPECT_EQ(SizeOf(path_), 0);
  EXPECT_EQ(TailOf(path_ + ".1", 1), "old run");
}

}  // namespace
}  // namespace aima::process
