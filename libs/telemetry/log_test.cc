#include "libs/telemetry/log.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <boost/asio/post.hpp>

namespace aima {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;

// Catches standard error in a pipe.
class LogTest : public ::testing::Test {
 protected:
  LogTest() {
    EXPECT_EQ(pipe2(pipe_, O_NONBLOCK), 0);
    dup2(pipe_[1], STDERR_FILENO);
    SetUpLogging("test", "info", "text");
  }
  ~LogTest() override {
    spdlog::set_default_logger(former_);
    dup2(stderr_, STDERR_FILENO);
    for (const int fd : {stderr_, pipe_[0], pipe_[1]}) close(fd);
  }

  // What has been written since the last call.
  std::string Written() {
    char buffer[64 << 10];
    const ssize_t size = read(pipe_[0], buffer, sizeof buffer);
    return size > 0 ? std::string(buffer, size) : "";
  }

  const std::shared_ptr<spdlog::logger> former_ = spdlog::default_logger();
  const int stderr_ = dup(STDERR_FILENO);
  int pipe_[2];
  Loop loop_{1};
};

TEST_F(LogTest, ALineIsWrittenAtOnceWithoutALoop) {
  spdlog::info("said");
  EXPECT_THAT(Written(), EndsWith("info  test said\n"));
}

TEST_F(LogTest, LinesOfATurnOfTheLoopAreWrittenWhenItEnds) {
  const LogGathering gathering(loop_);
  boost::asio::post(loop_, [&] {
    spdlog::info("one");
    spdlog::info("two");
    EXPECT_EQ(Written(), "");
  });
  loop_.run();
  const std::string lines = Written();
  EXPECT_THAT(lines, HasSubstr("one\n"));
  EXPECT_THAT(lines, EndsWith("two\n"));
}

TEST_F(LogTest, TroubleIsWrittenAtOnceWithAllBeforeIt) {
  const LogGathering gathering(loop_);
  spdlog::info("before");
  spdlog::warn("trouble");
  const std::string lines = Written();
  EXPECT_THAT(lines, HasSubstr("before\n"));
  EXPECT_THAT(lines, EndsWith("trouble\n"));
}

TEST_F(LogTest, NothingIsLostWhenTheLoopRunsNoMore) {
  {
    const LogGathering gathering(loop_);
    spdlog::info("last");
  }
  EXPECT_THAT(Written(), EndsWith("last\n"));
}

TEST_F(LogTest, AMessageCannotForgeALine) {
  spdlog::info("a\nb");
  EXPECT_THAT(Written(), EndsWith("a\\nb\n"));
}

}  // namespace
}  // namespace aima
