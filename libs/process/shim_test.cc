#include "libs/process/shim.h"

#include <absl/time/clock.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <filesystem>
#include <fstream>

#include "libs/base/ids.h"
#include "libs/process/log_file.h"
#include "libs/testing/status_matchers.h"
#include "libs/testing/task.h"

namespace aima::process {
namespace {

namespace fs = std::filesystem;
using aima::testing::IsOk;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// Runs shell scripts under the real aima-shim.
class ShimTest : public ::testing::Test {
 protected:
  void TearDown() override {
    (void)Await(EndRun({}, run_, dir_, absl::ZeroDuration()));
    for (const Marked& marked : FindMarked("AIMA_TEST_RUN", run_)) SendSignal(marked.identity, SIGKILL);
    fs::remove_all(dir_);
  }

  template <class T>
  T Await(Task<T> task) {
    return aima::testing::Run(loop_, std::move(task));
  }

  ShimOrder Shell(const std::string& script) {
    ShimOrder order;
    order.command.argv = {"/bin/sh", "-c", script};
    order.command.env = {"PATH=/usr/bin:/bin", "AIMA_TEST_RUN=" + run_};
    order.command.marker = run_;
    order.command.log_path = log_;
    order.directory = dir_;
    return order;
  }

  absl::StatusOr<std::unique_ptr<Shim>> Start(ShimOrder order) {
    return Await(Shim::Start(loop_, *FindShim(), std::move(order)));
  }
  std::unique_ptr<Shim> Start(const std::string& script) {
    absl::StatusOr<std::unique_ptr<Shim>> shim = Start(Shell(script));
    EXPECT_THAT(shim, IsOk());
    return shim.ok() ? *std::move(shim) : nullptr;
  }

  // Waits for a line in the log.
  Task<bool> Logged(std::string text) {
    for (int i = 0; i < 24'000; ++i) {
      if (TailOf(log_, 100).find(text) != std::string::npos) co_return true;
      boost::asio::steady_timer timer(loop_, std::chrono::milliseconds(5));
      co_await timer.async_wait(boost::asio::use_awaitable);
    }
    co_return false;
  }

  Loop loop_;
  const std::string run_ = NewId("run-");
  const std::string dir_ = ::testing::TempDir() + "/" + run_;
  const std::string log_ = dir_ + "/log";
};

TEST_F(ShimTest, TheEndOfAProgramIsKnownWithItsCodeAndItsLastWords) {
  const auto shim = Start("echo said; echo failed >&2; exit 7");
  EXPECT_EQ(Await(shim->Wait()).code, 7);
  EXPECT_EQ(TailOf(log_, 10), "said\nfailed");
  const std::optional<ShimState> state = ReadShimState(dir_);
  ASSERT_TRUE(state);
  EXPECT_EQ(state->instance, run_);
  EXPECT_EQ(state->shim, shim->identity());
  EXPECT_EQ(state->program, shim->program());
  EXPECT_EQ(state->exit->code, 7);
  EXPECT_LT(absl::Now() - state->ended_at, absl::Minutes(1));
}

TEST_F(ShimTest, AKilledProgramTellsItsSignal) {
  const auto shim = Start("kill -ILL $$");
  EXPECT_EQ(Await(shim->Wait()).ShellCode(), 132);
}

TEST_F(ShimTest, AProgramThatCannotBeExecutedIsNamedAndNothingIsLeft) {
  ShimOrder order = Shell("");
  order.command.argv = {"/nonexistent/engine"};
  const absl::Status status = Start(order).status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("/nonexistent/engine: No such file"));
  EXPECT_THAT(FindMarked("AIMA_TEST_RUN", run_), IsEmpty());
}

TEST_F(ShimTest, TheProgramHasThreeFilesItsOwnSessionAndTheGivenEnvironment) {
  const auto shim = Start("ls /proc/self/fd | wc -l; env | cut -d= -f1 | sort | tr '\\n' ' '; echo; exec sleep 1000");
  ASSERT_TRUE(Await(Logged("PATH")));
  EXPECT_THAT(TailOf(log_, 2), HasSubstr("4\n")) << "0, 1, 2 and the directory that ls itself reads";
  EXPECT_EQ(TailOf(log_, 1), "AIMA_INSTANCE AIMA_TEST_RUN PATH PWD ");
  EXPECT_EQ(ReadEntry(shim->program().pid)->session, shim->program().pid);
  EXPECT_EQ(ReadEntry(shim->program().pid)->parent, shim->identity().pid);
  EXPECT_THAT(Await(shim->End(absl::Seconds(20))), IsOk());
}

TEST_F(ShimTest, EndKillsWhatIgnoresTermAndWhatHasLeftSessionParentAndEnvironment) {
  const auto shim = Start(
      "trap '' TERM; setsid sh -c 'trap \"\" TERM; sleep 1000 & echo one; wait' & "
      "setsid env -i /bin/sh -c '(trap \"\" TERM; /bin/sleep 1000 & echo two; wait) & exit' & "
      "while :; do sleep 1000; done");
  for (const char* line : {"one", "two"}) ASSERT_TRUE(Await(Logged(line)));
  const std::vector<Entry> tree = TreeOf(shim->identity(), run_);
  EXPECT_GE(tree.size(), 5u);
  EXPECT_THAT(Await(shim->End(absl::Milliseconds(200))), IsOk());
  EXPECT_EQ(shim->Ended()->signal, SIGKILL);
  for (const Entry& entry : tree) EXPECT_FALSE(Lives({BootId(), entry.pid, entry.start_time})) << entry.pid;
}

TEST_F(ShimTest, ARunWhoseShimNobodyHasNotedIsEndedByItsMarker) {
  // As when a service is killed between making a shim and noting it, and the shim had no time to note itself.
  const auto shim = Start("trap '' TERM; while :; do sleep 1000; done");
  fs::remove(dir_ + "/state");
  EXPECT_THAT(Await(EndRun({}, run_, dir_, absl::ZeroDuration())), IsOk());
  EXPECT_FALSE(Lives(shim->identity()));
  EXPECT_THAT(FindMarked("AIMA_TEST_RUN", run_), IsEmpty());
}

TEST_F(ShimTest, OnlyTheProcessInOfficeMayStartAndStop) {
  fs::create_directories(dir_);
  const std::string tenure = dir_ + "-tenure";
  const auto appoint = [&](int pid) { std::ofstream(tenure) << pid << " 1 2 3\n"; };
  appoint(getpid() + 1);
  ShimOrder order = Shell("echo ready; exec sleep 1000");
  order.tenure_file = tenure;
  EXPECT_THAT(std::string(Start(order).status().message()), HasSubstr("superseded"));
  appoint(getpid());
  const auto shim = Start(order);
  ASSERT_THAT(shim, IsOk());
  ASSERT_TRUE(Await(Logged("ready")));
  appoint(getpid() + 1);
  (*shim)->Stop(absl::ZeroDuration());
  boost::asio::steady_timer moment(loop_, std::chrono::milliseconds(300));
  Await([&]() -> Task<bool> {
    co_await moment.async_wait(boost::asio::use_awaitable);
    co_return true;
  }());
  EXPECT_FALSE((*shim)->Ended()) << "it obeys the other one only";
  appoint(getpid());
  EXPECT_THAT(Await((*shim)->End(absl::ZeroDuration())), IsOk());
  fs::remove(tenure);
}

TEST_F(ShimTest, WithoutACgroupNothingEscapesEither) {
  // A script between: it takes the shim's place and gives it one flag more.
  const std::string wrapper = ::testing::TempDir() + "/" + NewId("wrapper-");
  FILE* file = fopen(wrapper.c_str(), "w");
  fprintf(file, "#!/bin/sh\nexec %s --no-cgroup \"$@\"\n", FindShim()->c_str());
  fclose(file);
  chmod(wrapper.c_str(), 0755);
  const auto shim = Await(Shim::Start(
      loop_, wrapper,
      Shell("setsid env -i /bin/sh -c '(trap \"\" TERM; /bin/sleep 1000 & echo two; wait) & exit' & wait; "
            "exec sleep 1000")));
  ASSERT_THAT(shim, IsOk());
  ASSERT_TRUE(Await(Logged("two")));
  EXPECT_EQ(ReadShimState(dir_)->cgroup, "");
  const std::vector<Entry> tree = TreeOf((*shim)->identity(), run_);
  EXPECT_GE(tree.size(), 4u) << "shim, program, the shell that left, and what it sleeps in";
  EXPECT_THAT(Await((*shim)->End(absl::Milliseconds(200))), IsOk());
  for (const Entry& entry : tree) EXPECT_FALSE(Lives({BootId(), entry.pid, entry.start_time})) << entry.pid;
  unlink(wrapper.c_str());
}

TEST_F(ShimTest, WhatAProgramLeavesBehindEndsWithIt) {
  const auto shim = Start("setsid sh -c 'echo left; while :; do sleep 1000; done' & while ! grep -q left " + log_ +
                          "; do sleep 0.01; done; exit 3");
  EXPECT_EQ(Await(shim->Wait()).code, 3);
  EXPECT_THAT(FindMarked("AIMA_TEST_RUN", run_), IsEmpty());
}

TEST_F(ShimTest, ASecondStopWithoutGraceKillsAtOnce) {
  const auto shim = Start("trap '' TERM; echo up; while :; do sleep 1000; done");
  ASSERT_TRUE(Await(Logged("up")));
  shim->Stop(absl::Hours(1));
  shim->Stop(absl::ZeroDuration());
  EXPECT_EQ(Await(shim->Wait()).signal, SIGKILL);
}

TEST_F(ShimTest, ASignalByHandEndsTheProgramWithTheGraceOfTheOrder) {
  ShimOrder order = Shell("trap 'echo bye; exit 4' INT; echo up; while :; do sleep 0.01; done");
  order.stop_signal = SIGINT;
  order.grace = absl::Hours(1);
  const auto shim = Start(order);
  ASSERT_THAT(shim, IsOk());
  ASSERT_TRUE(Await(Logged("up")));
  SendSignal((*shim)->identity(), SIGTERM);
  EXPECT_EQ(Await((*shim)->Wait()).code, 4);
  EXPECT_THAT(TailOf(log_, 1), HasSubstr("bye"));
}

TEST_F(ShimTest, TheLogIsBounded) {
  ShimOrder order = Shell(
      "i=0; while [ $i -lt 2000 ]; do echo 0123456789012345678901234567890123456789; i=$((i+1)); done");
  order.log_bytes = 8192;
  const auto shim = Start(order);
  ASSERT_THAT(shim, IsOk());
  EXPECT_EQ(Await((*shim)->Wait()).code, 0);
  EXPECT_GT(SizeOf(log_), 0);
  EXPECT_LE(SizeOf(log_), 8192 + 16384);
  EXPECT_LE(SizeOf(log_ + ".1"), 8192 + 16384);
  EXPECT_GT(SizeOf(log_ + ".1"), 0);
}

// A manager that starts a run and dies by kill -9, without a chance to do anything about it.
TEST_F(ShimTest, ARunOutlivesItsKilledManagerAndIsAdoptedWithItsExitCode) {
  const pid_t manager = fork();
  if (manager == 0) {
    Loop loop;
    ShimOrder order = Shell("echo up; while [ ! -e " + dir_ + "/end ]; do sleep 0.01; done; exit 9");
    (void)aima::testing::Run(loop, Shim::Start(loop, *FindShim(), std::move(order)));
    kill(getpid(), SIGKILL);
  }
  waitpid(manager, nullptr, 0);
  ASSERT_TRUE(Await(Logged("up")));
  EXPECT_EQ(Await(Shim::Adopt(loop_, dir_, "run-of-another")).status().code(), absl::StatusCode::kNotFound);
  const auto adopted = Await(Shim::Adopt(loop_, dir_, run_));
  ASSERT_THAT(adopted, IsOk());
  EXPECT_TRUE(Lives((*adopted)->program()));
  EXPECT_FALSE((*adopted)->Ended());
  fclose(fopen((dir_ + "/end").c_str(), "w"));
  EXPECT_EQ(Await((*adopted)->Wait()).code, 9) << "though it was never our child";
  EXPECT_EQ(Await(Shim::Adopt(loop_, dir_, run_)).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(ShimTest, AProgramDoesNotOutliveItsKilledShim) {
  const auto shim = Start("setsid sh -c 'echo two; while :; do sleep 1000; done' & exec sleep 1000");
  ASSERT_TRUE(Await(Logged("two")));
  SendSignal(shim->identity(), SIGKILL);
  EXPECT_FALSE(Await(shim->Wait()).code);
  const absl::Status ended = Await(EndRun(shim->identity(), run_, dir_, absl::Seconds(5)));
  EXPECT_THAT(ended, IsOk());
  EXPECT_THAT(FindMarked("AIMA_TEST_RUN", run_), IsEmpty());
  EXPECT_FALSE(Lives(shim->program()));
}

TEST_F(ShimTest, ARunWhoseShimNobodyHasNotedIsEndedByTheShimsOwnNote) {
  const auto shim = Start("trap '' TERM; echo up; while :; do sleep 1000; done");
  ASSERT_TRUE(Await(Logged("up")));
  EXPECT_THAT(Await(EndRun({}, "run-of-another", dir_, absl::ZeroDuration())), IsOk());
  EXPECT_TRUE(Lives(shim->program())) << "the note is another run's";
  EXPECT_THAT(Await(EndRun({}, run_, dir_, absl::ZeroDuration())), IsOk());
  EXPECT_FALSE(Lives(shim->program()));
  EXPECT_FALSE(Lives(shim->identity()));
}

TEST_F(ShimTest, FiftyRoundsLeaveNoProcessNoFileAndNoCgroup) {
  const auto open_files = [] {
    return std::distance(fs::directory_iterator("/proc/self/fd"), fs::directory_iterator());
  };
  std::string cgroup;
  Await(Start("exit 0")->Wait());  // whatever is opened once and kept
  const auto before = open_files();
  for (int round = 0; round < 50; ++round) {
    const auto shim = Start("exec sleep 1000");
    cgroup = ReadShimState(dir_)->cgroup;
    ASSERT_THAT(Await(shim->End(absl::Seconds(20))), IsOk());
    ASSERT_FALSE(Lives(shim->program()));
  }
  EXPECT_EQ(open_files(), before);
  EXPECT_THAT(FindMarked("AIMA_TEST_RUN", run_), IsEmpty());
  EXPECT_TRUE(cgroup.empty() || !fs::exists(cgroup));
  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1) << "no zombie, no child";
}

}  // namespace
}  // namespace aima::process
