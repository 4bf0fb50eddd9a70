#include "services/cli/supervisor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <libpq-fe.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/redirect_error.hpp>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "libs/config/config.h"
#include "libs/process/port.h"
#include "services/cli/files.h"
#include "services/cli/pid_file.h"
#include "services/cli/session.h"

namespace aima::cli {
namespace {

namespace fs = std::filesystem;
using State = Supervised::State;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

// A directory with programs aima-* of chosen manners, and a data directory.
class SupervisorTest : public ::testing::Test {
 protected:
  SupervisorTest() {
    std::string pattern = fs::temp_directory_path() / "aima-supervisor-XXXXXX";
    root_ = mkdtemp(pattern.data());  // 0700, as a home directory may be
    fs::create_directories(root_ / "libexec");
    fs::create_directories(root_ / "share");
    options_.places = {AIMA_BINARY_DIR "/bin/aima", root_ / "libexec", root_ / "share"};
    options_.report = [this](const std::string& line) { reports_.push_back(line); };
    options_.config = *config::Load({"",
                                     {"general.data_dir=" + (root_ / "data").string(), Address("api.listen_addr"),
                                      Address("api.grpc_addr"), "database.url=host=/nowhere"}});
    options_.restart_base = absl::Milliseconds(20);
    options_.restart_most = absl::Milliseconds(50);
    options_.stop_timeout = absl::Seconds(10);
    fs::create_directories(root_ / "data");
  }

  ~SupervisorTest() override {
    EXPECT_THAT(RunningFakes(), IsEmpty());
    fs::remove_all(root_);
  }

  static std::string Address(const std::string& key) {
    return key + "=127.0.0.1:" + std::to_string(*process::FreePort());
  }

  void AddService(const std::string& name, const std::string& manner) {
    const fs::path program = root_ / "libexec" / ("aima-" + name);
    fs::copy_file(AIMA_BINARY_DIR "/tests/aima_fake_service", program);
    std::ofstream(program.string() + ".manner") << manner << "\n";
  }

  std::unique_ptr<Supervisor> NewSupervisor() { return std::make_unique<Supervisor>(loop_, options_); }

  void Stop(Supervisor& supervisor) {
    Await(loop_, [](Supervisor& it) -> Task<bool> {
      co_await it.Stop();
      co_return true;
    }(supervisor));
  }

  // Lets the loop work until `condition` holds.
  bool RunUntil(const std::function<bool()>& condition) {
    const absl::Time end = absl::Now() + absl::Minutes(2);
    loop_.restart();
    while (!condition() && absl::Now() < end) loop_.run_one_for(std::chrono::milliseconds(50));
    return condition();
  }

  static const Supervised& Find(const Supervisor& supervisor, const std::string& name) {
    for (const auto& item : supervisor.processes()) {
      if (item->name == name) return *item;
    }
    ADD_FAILURE() << "no process " << name;
    abort();
  }

  // Programs of this test that run.
  std::vector<std::string> RunningFakes() const {
    std::vector<std::string> found;
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator("/proc", ignored)) {
      const fs::path program = fs::read_symlink(entry.path() / "exe", ignored);
      const fs::path directory = fs::read_symlink(entry.path() / "cwd", ignored);
      if (program.string().starts_with(root_.string()) || directory.string().starts_with(root_.string())) {
        found.push_back(entry.path().filename().string() + " " + program.string());
      }
    }
    return found;
  }

  std::string Contents(const fs::path& path) const { return ReadFile(path).value_or(""); }

  Loop loop_;
  fs::path root_;
  SupervisorOptions options_;
  std::vector<std::string> reports_;
};

TEST_F(SupervisorTest, EverythingIsStartedTheEventServiceFirst) {
  for (const char* name : {"alpha", "gateway", "event", "shim"}) AddService(name, "ready");
  const auto supervisor = NewSupervisor();
  ASSERT_EQ(Await(loop_, supervisor->Start()), absl::OkStatus());
  EXPECT_THAT(Contents(root_ / "order"), ::testing::StartsWith("aima-event\n"));
  std::vector<std::string> names;
  for (const auto& item : supervisor->processes()) {
    names.push_back(item->name);
    EXPECT_EQ(item->state, State::kReady);
    EXPECT_EQ(item->status_text, "serving");
    EXPECT_TRUE(fs::exists(root_ / "data/run" / (item->name + ".pid")));
  }
  EXPECT_THAT(names, ElementsAre("event", "alpha", "gateway"));
  EXPECT_THAT(Contents(EffectiveConfigFile(root_ / "data")), HasSubstr("url: \"host=/nowhere\""));
  struct stat info = {};
  stat(EffectiveConfigFile(root_ / "data").c_str(), &info);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  Stop(*supervisor);
  EXPECT_FALSE(fs::exists(root_ / "data/run/alpha.pid"));
}

TEST_F(SupervisorTest, AServiceThatEndsAtStartIsNamedWithItsWordsAndNothingIsLeftRunning) {
  AddService("event", "ready");
  AddService("alpha", "ready");
  AddService("broken", "fail");
  const absl::Status status = Await(loop_, NewSupervisor()->Start());
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  for (const char* part : {"broken ended while starting: exited with code 3", "no disk, no hope", "broken.log",
                           "the last words of the service"}) {
    EXPECT_THAT(std::string(status.message()), HasSubstr(part));
  }
  // What it says of itself is told while others still start; so is what the configured database says.
  EXPECT_THAT(reports_, ::testing::Contains("broken: no disk, no hope"));
  EXPECT_THAT(reports_[0], HasSubstr("the database of database.url does not answer yet: "));
  EXPECT_THAT(reports_[0], HasSubstr("/nowhere"));
}

TEST_F(SupervisorTest, AServiceThatIsNeverReadyIsGivenUp) {
  AddService("mute", "silent");
  options_.start_timeout = absl::Milliseconds(200);
  const absl::Status status = Await(loop_, NewSupervisor()->Start());
  EXPECT_THAT(std::string(status.message()), HasSubstr("mute is not ready after 200ms without progress"));
}

TEST_F(SupervisorTest, AProgramThatCannotBeExecutedIsNamed) {
  AddService("event", "ready");
  std::ofstream(root_ / "libexec/aima-text") << "no program\n";
  fs::permissions(root_ / "libexec/aima-text", fs::perms::owner_all);
  const absl::Status status = Await(loop_, NewSupervisor()->Start());
  EXPECT_THAT(std::string(status.message()), HasSubstr("aima-text"));
}

TEST_F(SupervisorTest, AServiceThatDiesIsStartedAgainAndAgain) {
  AddService("alpha", "ready");
  const auto supervisor = NewSupervisor();
  ASSERT_EQ(Await(loop_, supervisor->Start()), absl::OkStatus());
  const Supervised& alpha = Find(*supervisor, "alpha");
  for (int time = 1; time <= 3; ++time) {
    const int pid = alpha.process->identity().pid;
    kill(pid, SIGKILL);
    ASSERT_TRUE(RunUntil([&] {
      return alpha.state == State::kReady && alpha.process && alpha.process->identity().pid != pid;
    })) << "after kill "
        << time;
    EXPECT_EQ(alpha.restarts, time);
    EXPECT_THAT(alpha.last_exit, HasSubstr("signal 9"));
  }
  Stop(*supervisor);
}

TEST_F(SupervisorTest, AServiceThatFallsSilentIsKilledAndStartedAgain) {
  AddService("alpha", "ready");
  AddService("beta", "lively");
  options_.silence = absl::Milliseconds(800);
  const auto supervisor = NewSupervisor();
  ASSERT_EQ(Await(loop_, supervisor->Start()), absl::OkStatus());
  const Supervised& alpha = Find(*supervisor, "alpha");
  ASSERT_TRUE(RunUntil([&] { return alpha.restarts >= 2 && alpha.state == State::kReady; }));
  EXPECT_THAT(alpha.last_exit, HasSubstr("signal 9"));
  EXPECT_THAT(reports_, ::testing::Contains("alpha gave no sign of life for 800ms and is killed"));
  EXPECT_EQ(Find(*supervisor, "beta").restarts, 0) << "it gave one all the time";
  Stop(*supervisor);
}

TEST_F(SupervisorTest, WhatItStartsMayOpenManyFiles) {
  rlimit before = {};
  getrlimit(RLIMIT_NOFILE, &before);
  rlimit few = before;
  few.rlim_cur = 256;
  setrlimit(RLIMIT_NOFILE, &few);
  AddService("alpha", "ready");
  const auto supervisor = NewSupervisor();
  ASSERT_EQ(Await(loop_, supervisor->Start()), absl::OkStatus());
  rlimit got = {};
  prlimit(Find(*supervisor, "alpha").process->identity().pid, RLIMIT_NOFILE, nullptr, &got);
  EXPECT_EQ(got.rlim_cur, std::min<rlim_t>(before.rlim_max, 65536));
  setrlimit(RLIMIT_NOFILE, &before);
  Stop(*supervisor);
}

TEST_F(SupervisorTest, ASignOfLifeAloneWritesNoState) {
  AddService("beta", "lively");
  const auto supervisor = NewSupervisor();
  ASSERT_EQ(Await(loop_, supervisor->Start()), absl::OkStatus());
  const Supervised& beta = Find(*supervisor, "beta");
  const absl::Time heard = beta.heard;
  fs::remove(StateFile(root_ / "data"));
  ASSERT_TRUE(RunUntil([&] { return beta.heard > heard + absl::Milliseconds(100); }));
  EXPECT_FALSE(fs::exists(StateFile(root_ / "data")));
  Stop(*supervisor);
}

TEST_F(SupervisorTest, AServiceThatIgnoresItsSignalIsKilledInTheEnd) {
  AddService("mule", "stubborn");
  options_.stop_timeout = absl::Milliseconds(200);
  const auto supervisor = NewSupervisor();
  ASSERT_EQ(Await(loop_, supervisor->Start()), absl::OkStatus());
  Stop(*supervisor);
  EXPECT_THAT(reports_, ::testing::Contains(HasSubstr("mule does not end; sent signal 9")));
}

TEST_F(SupervisorTest, AServiceThatNeverServedIsGivenLessTimeToEnd) {
  AddService("mute", "deaf");
  options_.stop_timeout = absl::Hours(1);
  options_.idle_stop_timeout = absl::Milliseconds(100);
  // How long a program needs to turn a deaf ear depends on the machine: it is given more until it has.
  const auto was_killed = ::testing::Contains(HasSubstr("mute does not end; sent signal 9"));
  for (absl::Duration limit = absl::Milliseconds(100); limit < absl::Minutes(2); limit *= 2) {
    options_.start_timeout = limit;
    EXPECT_FALSE(Await(loop_, NewSupervisor()->Start()).ok());
    if (::testing::Value(reports_, was_killed)) break;
  }
  EXPECT_THAT(reports_, was_killed);
}

TEST_F(SupervisorTest, AStopWhileStartingEndsTheStart) {
  AddService("mute", "silent");
  const auto supervisor = NewSupervisor();
  boost::asio::steady_timer timer(loop_, std::chrono::milliseconds(100));
  timer.async_wait([&](boost::system::error_code) { supervisor->RequestStop(); });
  EXPECT_EQ(Await(loop_, supervisor->Start()).code(), absl::StatusCode::kCancelled);
}

TEST_F(SupervisorTest, WhatAKilledSupervisorLeftIsStoppedFirstAndNobodyElse) {
  AddService("alpha", "ready");
  fs::create_directories(root_ / "data/run");
  process::Command sleeper;
  sleeper.argv = {"/bin/sleep", "600"};
  const auto leftover = process::Process::Spawn(loop_, sleeper);
  const auto stranger = process::Process::Spawn(loop_, sleeper);
  ASSERT_TRUE(WritePidFile(root_ / "data/run/alpha.pid", (*leftover)->identity()));
  process::Identity reused = (*stranger)->identity();
  reused.start_time -= 1;  // a pid that has passed to another process
  ASSERT_TRUE(WritePidFile(root_ / "data/run/beta.pid", reused));
  const auto supervisor = NewSupervisor();
  ASSERT_EQ(Await(loop_, supervisor->Start()), absl::OkStatus());
  EXPECT_THAT(reports_, ::testing::Contains(HasSubstr("stopped alpha (pid")));
  EXPECT_TRUE((*leftover)->Ended().has_value());
  EXPECT_FALSE((*stranger)->Ended().has_value());
  EXPECT_FALSE(fs::exists(root_ / "data/run/beta.pid"));
  Stop(*supervisor);
  kill((*stranger)->identity().pid, SIGKILL);
  Await(loop_, (*stranger)->Wait());
}

TEST_F(SupervisorTest, ATakenPortIsToldWithItsHolderBeforeAnythingStarts) {
  AddService("alpha", "ready");
  boost::asio::ip::tcp::acceptor taken(loop_, {boost::asio::ip::make_address("127.0.0.1"), 0});
  const std::string address = "127.0.0.1:" + std::to_string(taken.local_endpoint().port());
  options_.config.mutable_api()->set_listen_addr(address);
  const absl::Status status = Await(loop_, NewSupervisor()->Start());
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("is taken by " + Contents("/proc/self/comm").substr(0, 10)));
  EXPECT_THAT(std::string(status.message()), HasSubstr("(pid " + std::to_string(getpid()) + ")"));
  EXPECT_FALSE(fs::exists(root_ / "order"));
}

TEST_F(SupervisorTest, LogsAreBounded) {
  const std::string log = root_ / "x.log";
  for (int i = 0; i < 5; ++i) {
    std::ofstream(log, std::ios::app) << std::string(2000, static_cast<char>('a' + i));
    RotateLog(log, 1000, 2);
  }
  EXPECT_EQ(FileSize(log), 0u);
  EXPECT_EQ(Contents(log + ".1"), std::string(2000, 'e'));
  EXPECT_EQ(Contents(log + ".2"), std::string(2000, 'd'));
  EXPECT_FALSE(fs::exists(log + ".3"));
}

TEST_F(SupervisorTest, OnlyOneSupervisorHoldsADataDirectory) {
  const std::string path = root_ / "supervisor.pid";
  EXPECT_FALSE(SupervisorLock::IsHeld(path));
  std::optional<SupervisorLock> lock = SupervisorLock::TryTake(path);
  ASSERT_TRUE(lock);
  EXPECT_TRUE(SupervisorLock::IsHeld(path));
  EXPECT_FALSE(SupervisorLock::TryTake(path));
  EXPECT_EQ(ReadPidFile(path)->pid, getpid());
  lock.reset();
  EXPECT_FALSE(SupervisorLock::IsHeld(path));
}

TEST(RestartDelay, IsNothingAtFirstAndThenGrowsToItsBound) {
  EXPECT_EQ(RestartDelay(0, absl::Seconds(1), absl::Seconds(60), 1), absl::ZeroDuration());
  EXPECT_EQ(RestartDelay(1, absl::Seconds(1), absl::Seconds(60), 1), absl::Seconds(1));
  EXPECT_EQ(RestartDelay(4, absl::Seconds(1), absl::Seconds(60), 0.5), absl::Seconds(4));
  EXPECT_EQ(RestartDelay(500, absl::Seconds(1), absl::Seconds(60), 1), absl::Seconds(60));
}

// With a PostgreSQL of its own.
class PrivatePostgresTest : public SupervisorTest {
 protected:
  PrivatePostgresTest() { options_.config.mutable_database()->clear_url(); }

  // First value of what `sql` returns, or the error.
  std::string Query(const std::string& sql) {
    const auto config = config::Load({EffectiveConfigFile(root_ / "data"), {}});
    PGconn* connection = PQconnectdb(config->database().url().c_str());
    PGresult* result = PQexec(connection, sql.c_str());
    const bool rows = PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) > 0;
    const std::string value = rows ? PQgetvalue(result, 0, 0) : PQerrorMessage(connection);
    PQclear(result);
    PQfinish(connection);
    return value;
  }
};

TEST_F(PrivatePostgresTest, ServesFromAPrivateDirectoryAndKeepsItsDataOverACrashAndARestart) {
  AddService("alpha", "ready");
  {
    const auto supervisor = NewSupervisor();
    ASSERT_EQ(Await(loop_, supervisor->Start()), absl::OkStatus());
    EXPECT_EQ(Query("SELECT current_user"), "aima");
    EXPECT_EQ(Query("SHOW fsync"), "on");
    EXPECT_EQ(Query("SHOW listen_addresses"), "");
    EXPECT_EQ(Query("CREATE TABLE kept (n int); INSERT INTO kept VALUES (42)"), "");
    const Supervised& postgres = Find(*supervisor, "postgres");
    const int pid = postgres.process->identity().pid;
    if (geteuid() == 0) {
      EXPECT_THAT(postgres.user, ::testing::AnyOf("postgres", "nobody"));
    }
    kill(pid, SIGKILL);
    ASSERT_TRUE(RunUntil([&] {
      return postgres.state == State::kReady && postgres.process && postgres.process->identity().pid != pid;
    })) << Contents(root_ / "data/logs/postgres.log");
    EXPECT_EQ(Query("SELECT n FROM kept"), "42");
    Stop(*supervisor);
  }
  process::Command visit;
  visit.argv = {"/bin/sleep", "1000"};
  visit.working_dir = root_ / "data/pg";
  const auto visitor = process::Process::Spawn(loop_, visit);
  ASSERT_TRUE(visitor.ok());
  const auto supervisor = NewSupervisor();
  ASSERT_EQ(Await(loop_, supervisor->Start()), absl::OkStatus());
  EXPECT_TRUE(process::SendSignal((*visitor)->identity(), SIGKILL)) << "somebody who looked around was killed";
  Await(loop_, (*visitor)->Wait());
  EXPECT_EQ(Query("SELECT n FROM kept"), "42");
  Stop(*supervisor);
  for (const char* path : {"data/pg", "data/run/pg", "data/run"}) {
    EXPECT_EQ(fs::status(root_ / path).permissions(), fs::perms::owner_all) << path;
  }
}

TEST_F(PrivatePostgresTest, AClusterOfAVersionThatIsNotInstalledIsToldAndNotTouched) {
  AddService("alpha", "ready");
  fs::create_directories(root_ / "data/pg");
  std::ofstream(root_ / "data/pg/PG_VERSION") << "9\n";
  const absl::Status status = Await(loop_, NewSupervisor()->Start());
  EXPECT_THAT(std::string(status.message()), HasSubstr("made by PostgreSQL 9"));
}

}  // namespace
}  // namespace aima::cli
