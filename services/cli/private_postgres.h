// The PostgreSQL that a cluster without a database of its own brings along: in <data_dir>/pg, reached through a
// Unix socket in <data_dir>/run/pg only.
//
// PostgreSQL refuses to be root. Root's supervisor runs it as the user postgres, or nobody, who owns pg/ and
// run/pg/. That user need not be able to reach them: `aima run-as` opens both directories while it is root, and
// the server works through the open descriptors (/proc/self/fd/N). So the data directory and its parents keep
// their modes, 0700 included, and nobody but root and that user gets at the data.
#pragma once

#include <absl/status/statusor.h>

#include <string>
#include <vector>

#include "libs/base/task.h"
#include "libs/process/process.h"

namespace aima::cli {

class PrivatePostgres {
 public:
  // Finds the programs and the user. `program` is the path of aima. The error says what to install.
  static absl::StatusOr<PrivatePostgres> Find(const std::string& data_dir, const std::string& program);

  // Makes the directories, and the database cluster if there is none. Ends what an earlier supervisor that was
  // killed left running. `log` takes what initdb prints.
  Task<absl::Status> Prepare(Loop& loop, const std::string& log);

  // The server. SIGINT stops it fast and cleanly.
  std::vector<std::string> ServerCommand() const;
  // True once the server `pid` accepts connections.
  bool IsReady(int pid) const;

  // libpq connection string.
  std::string Url() const;
  const std::string& socket_dir() const { return socket_dir_; }
  // User that it runs as; empty is the one who runs AIMA.
  const std::string& user() const { return user_; }

 private:
  std::vector<std::string> Command(std::vector<std::string> argv, const std::string& data) const;
  absl::Status Own(const std::string& directory) const;

  std::string program_;
  std::string data_;
  std::string socket_dir_;
  std::string bin_;
  std::string user_;
};

// `aima run-as USER DIR… -- PROGRAM ARG…`: opens the directories, becomes the user and executes the program, in
// whose arguments {0} is a path of the first directory, {1} of the second. For root only; returns only on failure.
int RunAs(const std::vector<std::string>& arguments);

}  // namespace aima::cli
