// A real PostgreSQL for tests: private, in a temporary directory, reached through a Unix socket only.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "libs/base/task.h"
#include "libs/pg/database.h"

namespace aima::testing {

// One server. Tests share the one of their program and take a fresh database each:
//
//   db = Postgres::Shared().Open(loop, "model", {AIMA_SOURCE_DIR "/services/model/migrations"});
//
// The server runs without fsync: it is fast, survives Stop and Start, and is good for nothing but tests. It dies with
// the test program, however that ends. As root it runs as the user postgres or nobody. Failures to start abort the
// program with the reason.
class Postgres {
 public:
  // Started at the first use, stopped at exit.
  static Postgres& Shared();

  // A server of its own, for tests that stop it, or need one that services accept as durable. Started at once.
  explicit Postgres(bool durable = false);
  ~Postgres();
  Postgres(const Postgres&) = delete;
  Postgres& operator=(const Postgres&) = delete;

  // Makes an empty database and returns its libpq connection string.
  std::string FreshUrl();

  // What pg::Open needs for a schema in a fresh database.
  pg::Options FreshOptions(std::string schema);

  // A fresh database with the tables of libs/events and then those of the given directories, connected.
  std::unique_ptr<pg::Database> Open(Loop& loop, std::string schema, const std::vector<std::string>& migrations = {});

  // Ends the server at once, as a crash would: nothing is flushed, connections break.
  void Stop();
  // Starts it again and returns when it accepts connections.
  void Start();

  // Runs SQL over a connection of its own and returns the first column of the first row, or "".
  std::string Execute(const std::string& url, const std::string& sql);

 private:
  std::string Url(const std::string& database) const;

  const bool durable_;
  std::string directory_;
  pid_t server_ = 0;
  int databases_ = 0;
};

}  // namespace aima::testing
