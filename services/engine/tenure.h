// Which process looks after the engines of a machine: one, and the newest.
#pragma once

#include <absl/status/statusor.h>

#include <functional>
#include <string>

#include "libs/base/call_context.h"
#include "libs/base/task.h"
#include "libs/pg/database.h"

namespace aima::engine {

// A service that was stopped for a while (SIGSTOP, a frozen virtual machine) wakes up in the middle of what it was about
// to do, and does not know that another has taken its place. Its writes are refused by the epoch in PostgreSQL, which
// each service raises when it begins; its signals and its starts by the shims, which obey the process that the file
// <data>/run/engine.tenure names. A service that finds itself superseded ends at once and does nothing more.
class Tenure {
 public:
  // Where shims, too, read who is in office.
  static std::string FileIn(const std::string& data_dir) { return data_dir + "/run/engine.tenure"; }

  // FAILED_PRECONDITION names a living service that is in office here already: the second of two that were started by
  // mistake is the one to go. A service that does not run any more, or is stopped, is superseded.
  static Task<absl::StatusOr<Tenure>> Begin(pg::Database& db, CallContext call, std::string node, std::string data_dir);

  const std::string& node() const { return node_; }
  int64_t epoch() const { return epoch_; }

  // Fails the write that it is part of unless this tenure is the newest. Holds off the next one until that is committed.
  pg::Operation Check() const;
  static bool Refused(const absl::Status& written);

  // False once another process of this machine has taken over.
  bool Holds() const;

  // Calls `superseded` when Holds() has become false.
  Task<void> Watch(std::function<void()> superseded) const;

 private:
  Tenure(std::string node, int64_t epoch, std::string file) : node_(std::move(node)), epoch_(epoch), file_(std::move(file)) {}

  std::string node_;
  int64_t epoch_;
  std::string file_;
};

}  // namespace aima::engine
