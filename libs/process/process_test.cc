#include "libs/process/process.h"

#include <absl/time/clock.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <filesystem>

#include "libs/base/ids.h"
#include "libs/process/log_file.h"
#include "libs/process/port.h"
#include "libs/process/run.h"
#include "libs/testing/status_matchers.h"
#include "libs/testing/task.h"

namespace aima::process {
namespace {

using aima::testing::IsOk;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

class ProcessTest : public ::testing::Test {
 protected:
  void TearDown() override {
    // Nothing that a failed test left alive may outlive it.
    for (const Marked& marked : FindMarked("AIMA_TEST_RUN", run_id_)) SendSignal(marked.identity, SIGKILL);
  }

  template <class T>
  T Await(Task<T> task) {
    return aima::testing::Run(loop_, std::move(task));
  }

  Command Shell(const std::string& script) {
    Command command;
    command.argv = {"/bin/sh", "-c", script};
    command.env = {"PATH=/usr/bin:/bin", "AIMA_TEST_RUN=" + run_id_};
    command.marker = run_id_;
    command.log_path = log_;
    return command;
  }

  std::unique_ptr<Process> Start(const std::string& script) {
    absl::StatusOr<std::unique_ptr<Process>> process = Process::Spawn(loop_, Shell(script));
    EXPECT_THAT(process, IsOk());
    return process.ok() ? *std::move(process) : nullptr;
  }

  // Waits for a line in the log, so that tests act only when their process is where they want it.
  Task<bool> Logged(std::string text) {
    for (int i = 0; i < 12'000; ++i) {
      if (TailOf(log_, 100).find(text) != std::string::npos) co_return true;
      boost::asio::steady_timer timer(loop_, std::chrono::milliseconds(10));
      co_await timer.async_wait(boost::asio::use_awaitable);
    }
    co_return false;
  }

  Loop loop_;
  const std::string run_id_ = NewId("run-");
  const std::string log_ = ::testing::TempDir() + "/" + run_id_ + ".log";
};

TEST_F(ProcessTest, TheEndOfAProcessIsSeenWithItsCode) {
  const auto process = Start("echo said; echo failed >&2; exit 7");
  const Exit exit = Await(process->Wait());
  EXPECT_EQ(exit.code, 7);
  EXPECT_EQ(exit.ToString(), "exited with code 7");
  EXPECT_EQ(Await(process->Wait()).code, 7) << "a second waiter hears the same";
  EXPECT_EQ(TailOf(log_, 10), "said\nfailed");
}

TEST_F(ProcessTest, AKilledProcessTellsItsSignal) {
  const auto process = Start("kill -ILL $$");
  const Exit exit = Await(process->Wait());
  EXPECT_EQ(exit.ShellCode(), 132);
  EXPECT_THAT(exit.ToString(), HasSubstr("signal 4"));
}

TEST_F(ProcessTest, AProgramThatCannotBeExecutedIsNamed) {
  Command command = Shell("");
  command.argv = {"/nonexistent/engine"};
  const absl::Status status = Process::Spawn(loop_, command).status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("/nonexistent/engine: No such file"));
}

TEST_F(ProcessTest, AChildInheritsThreeFilesAndNothingOfTheEnvironment) {
  setenv("AIMA_SECRET_OF_PARENT", "x", 1);
  const int leaked = open("/dev/null", O_RDONLY);  // without O_CLOEXEC
  const auto process = Start("ls /proc/self/fd | wc -l; env | cut -d= -f1 | sort | tr '\\n' ' '; cat");
  Await(process->Wait());
  close(leaked);
  // 0, 1, 2 and the directory that ls itself reads.
  EXPECT_EQ(TailOf(log_, 1), "AIMA_INSTANCE AIMA_TEST_RUN PATH PWD ");
  EXPECT_THAT(TailOf(log_, 2), HasSubstr("4\n"));
}

TEST_F(ProcessTest, EndKillsWhatIgnoresTermAndGrandchildrenWithSessionsOfTheirOwn) {
  // The first grandchild leaves the session but keeps the marker; the second drops its environment, too, and is found
  // by descent; the third is found by session.
  const auto process = Start(
      "trap '' TERM; setsid sh -c 'trap \"\" TERM; echo one; sleep 1000 & wait' & "
      "env -i /bin/sh -c 'trap \"\" TERM; echo two; sleep 1000 & wait' & "
      "setsid env -i /bin/sh -c 'trap \"\" TERM; echo three; while :; do sleep 1000; done' & "
      "while :; do sleep 1000; done");
  for (const char* line : {"one", "two", "three"}) ASSERT_TRUE(Await(Logged(line)));
  EXPECT_GE(TreeOf(process->identity(), run_id_).size(), 4u) << "four shells, and what they sleep in";

  const absl::Time start = absl::Now();
  EXPECT_THAT(Await(process->End(SIGTERM, absl::Milliseconds(300))), IsOk());
  EXPECT_GE(absl::Now() - start, absl::Milliseconds(300));
  EXPECT_THAT(TreeOf(process->identity(), run_id_), ::testing::IsEmpty());
  EXPECT_EQ(Await(process->Wait()).signal, SIGKILL);
}

TEST_F(ProcessTest, EndDoesNotWaitLongerForWhatObeysTerm) {
  const auto process = Start("trap 'exit 0' TERM; echo up; while :; do sleep 0.01; done");
  ASSERT_TRUE(Await(Logged("up")));
  EXPECT_THAT(Await(process->End(SIGTERM, absl::Hours(1))), IsOk());
  EXPECT_EQ(Await(process->Wait()).code, 0);
}

TEST_F(ProcessTest, WhatARootLeavesBehindIsStillFoundByItsMarker) {
  const auto process = Start("setsid sh -c 'echo left; while :; do sleep 1000; done' & sleep 0.1");
  ASSERT_TRUE(Await(Logged("left")));
  Await(process->Wait());
  EXPECT_THAT(FindMarked("AIMA_TEST_RUN", run_id_), Not(::testing::IsEmpty()));
  EXPECT_THAT(Await(EndTree(process->identity(), run_id_, SIGTERM, absl::Seconds(5))), IsOk());
  EXPECT_THAT(FindMarked("AIMA_TEST_RUN", run_id_), ::testing::IsEmpty());
}

TEST_F(ProcessTest, ATreeThatBecomesAnothersBusinessBetweenTwoSignalsIsLeftAsItIs) {
  const auto process = Start("trap '' TERM; sleep 1000 & sleep 1001 & echo up; wait");
  ASSERT_TRUE(Await(Logged("up")));
  const auto tree = [&] { return TreeOf(process->identity(), run_id_).size(); };
  const size_t all = tree();
  ASSERT_EQ(all, 3u);
  size_t asked = 0;
  const auto within_a_round = [&] { return ++asked <= 1; };
  const auto between_term_and_kill = [&] { return ++asked <= all; };
  EXPECT_EQ(Await(EndTree(process->identity(), run_id_, SIGKILL, absl::ZeroDuration(), [] { return false; })).code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Await(EndTree(process->identity(), run_id_, SIGTERM, absl::Hours(1), within_a_round)).code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(asked, 2u) << "it is asked before each signal";
  asked = 0;
  EXPECT_EQ(Await(EndTree(process->identity(), run_id_, SIGTERM, absl::ZeroDuration(), between_term_and_kill)).code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(tree(), all);
  EXPECT_THAT(Await(EndTree(process->identity(), run_id_, SIGKILL, absl::ZeroDuration(), [] { return true; })), IsOk());
}

TEST_F(ProcessTest, AnAdoptedProcessIsWatchedAndEnded) {
  // Not our child: a shell starts it in the background and leaves.
  const auto parent = Start("sleep 1000 & echo pid=$!");
  ASSERT_TRUE(Await(Logged("pid=")));
  Await(parent->Wait());
  const std::string log = TailOf(log_, 1);
  const std::optional<Identity> identity = Identify(std::stoi(log.substr(4)));
  ASSERT_TRUE(identity);
  absl::StatusOr<std::unique_ptr<Process>> adopted = Process::Adopt(loop_, *identity, run_id_);
  ASSERT_THAT(adopted, IsOk());
  EXPECT_FALSE((*adopted)->Ended());
  EXPECT_THAT(Await((*adopted)->End(SIGTERM, absl::Seconds(5))), IsOk());
  EXPECT_EQ(Await((*adopted)->Wait()).ToString(), "ended (its exit code is not known)");
}

TEST_F(ProcessTest, NeitherAnotherBootNorAnotherStartTimeIsTakenForTheSameProcess) {
  const auto process = Start("sleep 1000");
  Identity other_boot = process->identity();
  other_boot.boot_id = "00000000-0000-0000-0000-000000000000";
  Identity other_start = process->identity();
  other_start.start_time -= 1;
  for (const Identity& wrong : {other_boot, other_start}) {
    EXPECT_FALSE(Process::Adopt(loop_, wrong, run_id_).ok());
    EXPECT_FALSE(SendSignal(wrong, SIGKILL));
    EXPECT_THAT(TreeOf(wrong, "no-such-marker"), ::testing::IsEmpty());
  }
  EXPECT_FALSE(process->Ended());
  EXPECT_THAT(Await(process->End(SIGKILL, absl::ZeroDuration())), IsOk());
}

TEST_F(ProcessTest, NoZombieAndNoFileIsLeft) {
  const auto files = [] { return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {}); };
  Await(Start("exit 0")->Wait());  // the loop opens files of its own at its first use
  const auto before = files();
  for (int i = 0; i < 50; ++i) {
    auto process = Start("exit 0");
    Await(process->Wait());
  }
  EXPECT_EQ(files(), before);
  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1) << "a child is left";
}

TEST_F(ProcessTest, RunStreamsLinesAndReturnsTheCode) {
  std::vector<std::string> lines;
  const auto result = Await(process::Run(loop_, Shell("printf 'a\\nb\\rc'; exit 3"), absl::Seconds(20),
                                              [&](std::string_view line) { lines.emplace_back(line); }));
  ASSERT_THAT(result, IsOk());
  EXPECT_EQ(result->exit.code, 3);
  EXPECT_THAT(lines, ElementsAre("a", "b", "c"));
}

TEST_F(ProcessTest, RunKillsACommandThatTakesTooLongWithAllThatItStarted) {
  // How long a shell needs to say its first word depends on the machine: it is given more until it has said it.
  absl::StatusOr<RunResult> result;
  for (absl::Duration limit = absl::Milliseconds(200); limit < absl::Minutes(2); limit *= 2) {
    result = Await(process::Run(loop_, Shell("setsid sleep 1000 & echo first; sleep 1000"), limit));
    ASSERT_THAT(result, IsOk());
    EXPECT_TRUE(result->timed_out);
    EXPECT_THAT(FindMarked("AIMA_TEST_RUN", run_id_), ::testing::IsEmpty());
    if (!result->output.empty()) break;
  }
  EXPECT_EQ(result->output, "first\n");
}

TEST_F(ProcessTest, RunDoesNotWaitForWhatACommandLeavesBehind) {
  const auto result = Await(process::Run(loop_, Shell("sleep 1000 & echo done"), absl::Hours(1)));
  ASSERT_THAT(result, IsOk());
  EXPECT_EQ(result->output, "done\n");
}

TEST_F(ProcessTest, APortIsAttributedToTheProcessThatListensOnIt) {
  absl::StatusOr<int> port = FreePort();
  ASSERT_THAT(port, IsOk());
  EXPECT_TRUE(PortIsFree(*port));
  Command command = Shell("");
  command.argv = {"/usr/bin/env", "python3", "-c",
                  "import socket,time;s=socket.socket();s.bind(('127.0.0.1'," + std::to_string(*port) +
                      "));s.listen();print('listening',flush=True);time.sleep(1000)"};
  auto listener = Process::Spawn(loop_, command);
  ASSERT_THAT(listener, IsOk());
  ASSERT_TRUE(Await(Logged("listening")));
  EXPECT_FALSE(PortIsFree(*port));
  EXPECT_TRUE(ListensOn(TreeOf((*listener)->identity(), run_id_), *port));
  EXPECT_FALSE(ListensOn({*ReadEntry(getpid())}, *port)) << "it is not ours";
  EXPECT_THAT(Await((*listener)->End(SIGKILL, absl::ZeroDuration())), IsOk());
}

}  // namespace
}  // namespace aima::process
