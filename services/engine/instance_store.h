// Instances in PostgreSQL.
#pragma once

#include <absl/status/statusor.h>

#include <string>
#include <vector>

#include "libs/pg/database.h"
#include "services/engine/record.h"
#include "services/engine/tenure.h"

namespace aima::engine {

// The rows of one machine.
class InstanceStore {
 public:
  InstanceStore(pg::Database& db, Tenure tenure) : db_(db), tenure_(std::move(tenure)), node_(tenure_.node()) {}

  // Makes the stored row equal to `record`, if this process is in office still. To be written together with the event
  // that tells of it.
  std::vector<pg::Operation> Save(const Record& record) const;

  // Removes it, if this process is in office still.
  std::vector<pg::Operation> Forget(const std::string& instance_id) const;

  Task<absl::StatusOr<std::vector<Record>>> All(const CallContext& call) const;

 private:
  pg::Database& db_;
  const Tenure tenure_;
  const std::string node_;
};

}  // namespace aima::engine
