#include "libs/pg/migrate.h"

#include <absl/strings/escaping.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>
#include <absl/time/clock.h>
#include <libpq-fe.h>
#include <openssl/sha.h>

#include <algorithm>
#include <boost/asio/async_result.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <thread>

#include "libs/base/status_macros.h"
#include "libs/errors/errors.h"
#include "libs/pg/sql_status.h"

namespace aima::pg {
namespace {

namespace asio = boost::asio;
namespace fs = std::filesystem;
constexpr absl::Duration kServerStart = absl::Seconds(30);

struct File {
  std::string name;
  std::string sql;
  std::string hash;
};

absl::Status Broken(const std::string& what) { return Error(unit::v1::INTERNAL_ERROR, what); }

std::string SetOf(const fs::path& directory) {
  fs::path path = directory.lexically_normal();
  if (path.filename().empty()) path = path.parent_path();  // ends in a slash
  if (path.filename() == "migrations") path = path.parent_path();
  return path.filename().string();
}

absl::StatusOr<std::vector<File>> ReadFiles(const fs::path& directory) {
  std::error_code error;
  fs::directory_iterator entries(directory, error);
  if (error) return Broken(absl::StrCat("migrations of ", directory.string(), ": ", error.message()));
  std::vector<File> files;
  for (const auto& entry : entries) {
    File file;
    file.name = entry.path().filename().string();
    if (entry.path().extension() != ".sql") continue;
    if (file.name.size() < 10 || file.name[4] != '_' || file.name.find_first_not_of("0123456789") != 4) {
      return Broken(absl::StrCat("migration ", entry.path().string(), " is not named NNNN_what.sql"));
    }
    std::ifstream stream(entry.path(), std::ios::binary);
    std::ostringstream text;
    text << stream.rdbuf();
    if (!stream) return Broken(absl::StrCat("cannot read migration ", entry.path().string()));
    file.sql = text.str();
    unsigned char digest[SHA256_DIGEST_LENGTH];
    SHA256(reinterpret_cast<const unsigned char*>(file.sql.data()), file.sql.size(), digest);
    file.hash = absl::BytesToHexString({reinterpret_cast<const char*>(digest), sizeof(digest)});
    files.push_back(std::move(file));
  }
  std::sort(files.begin(), files.end(), [](const File& a, const File& b) { return a.name < b.name; });
  for (size_t i = 1; i < files.size(); ++i) {
    if (files[i].name.substr(0, 4) == files[i - 1].name.substr(0, 4)) {
      return Broken(absl::StrCat("migrations ", files[i - 1].name, " and ", files[i].name, " have the same number"));
    }
  }
  return files;
}

// One blocking connection.
class Session {
 public:
  ~Session() { PQfinish(connection_); }

  absl::Status Connect(const Options& options) {
    const absl::Time give_up = absl::Now() + kServerStart;
    const std::string settings =
        absl::StrCat("-c search_path=", options.schema, " -c timezone=UTC -c client_min_messages=warning");
    const char* keywords[] = {"dbname", "options", "fallback_application_name", "connect_timeout", nullptr};
    const char* values[] = {options.url.c_str(), settings.c_str(), "aima-migrate", "5", nullptr};
    while (true) {
      connection_ = PQconnectdbParams(keywords, values, 1);
      if (PQstatus(connection_) == CONNECTION_OK) break;
      if (absl::Now() > give_up) return Unreachable(PQerrorMessage(connection_));
      PQfinish(std::exchange(connection_, nullptr));
      absl::SleepFor(absl::Milliseconds(20));
    }
    PQsetNoticeProcessor(connection_, [](void*, const char*) {}, nullptr);
    return absl::OkStatus();
  }

  // Runs statements. Returns the rows of the last, each value as text.
  absl::StatusOr<std::vector<std::vector<std::string>>> Run(const std::string& sql, std::vector<std::string> values,
                                                            const std::string& what) {
    std::vector<const char*> data;
    for (const std::string& value : values) data.push_back(value.c_str());
    PGresult* result = values.empty() ? PQexec(connection_, sql.c_str())
                                      : PQexecParams(connection_, sql.c_str(), static_cast<int>(data.size()), nullptr,
                                                     data.data(), nullptr, nullptr, 0);
    std::vector<std::vector<std::string>> rows;
    absl::Status status;
    if (PQresultStatus(result) != PGRES_COMMAND_OK && PQresultStatus(result) != PGRES_TUPLES_OK) {
      status = result ? StatusOf(result, what) : Unreachable(PQerrorMessage(connection_));
    }
    for (int row = 0; status.ok() && row < PQntuples(result); ++row) {
      auto& added = rows.emplace_back();
      for (int column = 0; column < PQnfields(result); ++column) added.push_back(PQgetvalue(result, row, column));
    }
    PQclear(result);
    if (!status.ok()) return status;
    return rows;
  }

 private:
  PGconn* connection_ = nullptr;
};

absl::Status CheckDurable(Session& session, const Options& options) {
  ASSIGN_OR_RETURN(auto rows, session.Run("SELECT current_setting('fsync'), current_setting('full_page_writes'), "
                                          "current_setting('synchronous_commit'), pg_is_in_recovery()",
                                          {}, "check of the server"));
  if (options.allow_unsafe_server) return absl::OkStatus();
  std::vector<std::string> wrong;
  const char* settings[] = {"fsync", "full_page_writes", "synchronous_commit"};
  for (int i = 0; i < 3; ++i) {
    if (rows[0][i] == "off") wrong.push_back(absl::StrCat(settings[i], " is off"));
  }
  if (rows[0][3] == "t") wrong.push_back("it is a standby");
  if (wrong.empty()) return absl::OkStatus();
  return Error(unit::v1::UNAVAILABLE, absl::StrCat("this PostgreSQL would lose committed data: ",
                                                   absl::StrJoin(wrong, ", "), "; correct postgresql.conf"));
}

absl::Status Apply(Session& session, const std::string& set, const File& file) {
  RETURN_IF_ERROR(session.Run("BEGIN", {}, "migration").status());
  absl::Status status = session.Run(file.sql, {}, absl::StrCat("migration ", set, "/", file.name)).status();
  if (status.ok()) {
    status = session.Run("INSERT INTO migrations (set, file, hash) VALUES ($1, $2, $3)", {set, file.name, file.hash},
                         "migration").status();
  }
  if (status.ok()) return session.Run("COMMIT", {}, absl::StrCat("migration ", set, "/", file.name)).status();
  (void)session.Run("ROLLBACK", {}, "migration");
  return status;
}

absl::Status ApplyNew(Session& session, const std::string& set, const std::vector<File>& files) {
  ASSIGN_OR_RETURN(auto rows, session.Run("SELECT file, hash FROM migrations WHERE set = $1", {set}, "migrations"));
  std::map<std::string, std::string> applied;
  for (auto& row : rows) applied[row[0]] = row[1];
  const std::string last = applied.empty() ? "" : applied.rbegin()->first;
  for (const File& file : files) {
    auto known = applied.find(file.name);
    if (known != applied.end()) {
      if (known->second == file.hash) continue;
      return Broken(absl::StrCat("migration ", set, "/", file.name,
                                 " was changed after it was applied; put it back and add a new file"));
    }
    if (file.name < last) {
      return Broken(absl::StrCat("migration ", set, "/", file.name, " comes before ", last,
                                 ", which is already applied; give it a later number"));
    }
    RETURN_IF_ERROR(Apply(session, set, file));
  }
  return absl::OkStatus();
}

absl::Status MigrateBlocking(const Options& options, const std::string& directory) {
  if (options.schema.empty() ||
      options.schema.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_") != std::string::npos) {
    return Broken(absl::StrCat("'", options.schema, "' is not a name for a schema: use a-z, 0-9 and _"));
  }
  ASSIGN_OR_RETURN(std::vector<File> files, ReadFiles(directory));
  Session session;
  RETURN_IF_ERROR(session.Connect(options));
  RETURN_IF_ERROR(CheckDurable(session, options));
  // Held until the session ends. CREATE … IF NOT EXISTS alone fails when two run at once.
  RETURN_IF_ERROR(session.Run("SELECT pg_advisory_lock(hashtext('aima.migrate'), hashtext($1))", {options.schema},
                              "migration lock").status());
  RETURN_IF_ERROR(session.Run(absl::StrCat("CREATE SCHEMA IF NOT EXISTS \"", options.schema, "\"; ",
                                           "CREATE TABLE IF NOT EXISTS migrations (set text NOT NULL, "
                                           "file text NOT NULL, hash text NOT NULL, "
                                           "applied timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (set, file))"),
                              {}, "table of migrations").status());
  return ApplyNew(session, SetOf(directory), files);
}

}  // namespace

Task<absl::Status> Migrate(Loop& loop, Options options, std::string directory) {
  // Joined when it is done, lest it touch the loop for a moment longer than the loop lives. Left alone if nobody waits.
  struct Worker {
    ~Worker() {
      if (thread.joinable()) thread.detach();
    }
    std::thread thread;
  } worker;
  auto initiate = [&](auto handler) {
    worker.thread = std::thread([&loop, options, directory, work = asio::make_work_guard(loop),
                                 handler = std::move(handler)]() mutable {
      absl::Status status = MigrateBlocking(options, directory);
      asio::post(loop, [handler = std::move(handler), status = std::move(status)]() mutable {
        std::move(handler)(std::move(status));
      });
    });
  };
  const absl::Status status =
      co_await asio::async_initiate<const asio::use_awaitable_t<>, void(absl::Status)>(initiate, asio::use_awaitable);
  worker.thread.join();
  co_return status;
}

}  // namespace aima::pg
