// What tests of the database interface share: a table in a schema of its own.
#pragma once

#include <absl/strings/str_cat.h>
#include <absl/time/clock.h>
#include <gtest/gtest.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/steady_timer.hpp>
#include <filesystem>
#include <fstream>
#include <map>

#include "libs/base/status_macros.h"
#include "libs/pg/database.h"
#include "libs/testing/postgres.h"
#include "libs/testing/status_matchers.h"
#include "libs/testing/task.h"

namespace aima::pg {

namespace asio = boost::asio;
using aima::testing::FailsWith;
using aima::testing::IsOk;
using aima::testing::Postgres;

inline constexpr Statement kCount{"count", "SELECT count(*) FROM item"};
inline constexpr Statement kFind{"find", "SELECT name, amount FROM item WHERE name = $1"};
inline constexpr Statement kInsert{"insert", "INSERT INTO item (name, amount) VALUES ($1, $2)"};
inline constexpr Statement kAdd{"add", "UPDATE item SET amount = amount + $2 WHERE name = $1"};
inline constexpr Statement kSleep{"sleep", "SELECT pg_sleep($1)"};
inline constexpr Statement kKillOthers{
    "kill_others",
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND pid <> "
    "pg_backend_pid()"};

class DatabaseTest : public ::testing::Test {
 protected:
  explicit DatabaseTest(Postgres& server = Postgres::Shared()) : server_(server) {
    options_ = server_.FreshOptions("store");
    Migrations({{"0001_item.sql", "CREATE TABLE item (name text PRIMARY KEY, amount bigint NOT NULL)"}});
    db_ = Open(loop_, options_);
    EXPECT_THAT(Do(db_->Migrate(directory_)), IsOk());
    call_.deadline = absl::Now() + absl::Seconds(20);
  }

  // Runs a task to its end.
  template <class T>
  T Do(Task<T> task) {
    return testing::Run(loop_, std::move(task));
  }

  // What a task comes to without waiting for anything.
  template <class T>
  absl::Status AtOnce(Task<T> task) {
    const auto status = std::make_shared<absl::Status>(absl::UnknownError("it waits"));
    asio::co_spawn(loop_, std::move(task), [status](std::exception_ptr, T value) { *status = StatusOf(value); });
    loop_.restart();
    loop_.poll();
    return *status;
  }
  static absl::Status StatusOf(const absl::Status& status) { return status; }
  template <class T>
  static absl::Status StatusOf(const absl::StatusOr<T>& value) {
    return value.status();
  }

  // Makes a directory of migrations.
  void Migrations(const std::map<std::string, std::string>& files) {
    directory_ = ::testing::TempDir() + "aima_pg_test_" + std::to_string(getpid());
    std::filesystem::remove_all(directory_);
    std::filesystem::create_directories(directory_);
    for (auto& [name, sql] : files) std::ofstream(directory_ + "/" + name) << sql;
  }

  absl::Status Insert(const std::string& name, int64_t amount) {
    return Do(db_->Write(call_, {{kInsert, {name, amount}}})).status();
  }
  int64_t Count() {
    auto result = Do(db_->Query(call_, kCount, {}));
    return result.ok() ? (*result)[0].Get<int64_t>(0) : -1;
  }
  std::string Sql(const std::string& sql) { return server_.Execute(options_.url, "SET search_path = store; " + sql); }

  // Starts a task and counts it.
  template <class T>
  void Spawn(Task<T> task, std::function<void(T)> then) {
    ++running_;
    asio::co_spawn(loop_, std::move(task), [this, then](std::exception_ptr, T value) {
      --running_;
      then(std::move(value));
    });
  }
  void RunAll() {
    loop_.restart();
    while (running_ > 0 && loop_.run_one() > 0) {
    }
  }
  // Tries until it succeeds: for what recovers by itself.
  absl::Status Eventually(std::function<absl::Status()> attempt) {
    absl::Status status;
    for (int i = 0; i < 200; ++i) {
      status = attempt();
      if (status.ok()) break;
      asio::steady_timer timer(loop_);
      timer.expires_after(std::chrono::milliseconds(20));
      bool fired = false;
      timer.async_wait([&](auto) { fired = true; });
      loop_.restart();
      while (!fired && loop_.run_one() > 0) {
      }
    }
    return status;
  }

  Postgres& server_;
  Loop loop_;
  Options options_;
  std::string directory_;
  std::unique_ptr<Database> db_;
  CallContext call_;
  int running_ = 0;
};

}  // namespace aima::pg
