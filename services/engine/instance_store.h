// Instances in PostgreSQL.
#pragma once

#include <absl/status/statusor.h>

#include <string>
#include <vector>

#include "libs/pg/database.h"
#include "services/engine/record.h"

namespace aima::engine {

// The rows of one machine.
class InstanceStore {
 public:
  InstanceStore(pg::Database& db, std::string node) : db_(db), node_(std::move(node)) {}

  // Makes the stored row equal to `record`. To be written together with the event that tells of it.
  pg::Operation Save(const Record& record) const;

  Task<absl::StatusOr<std::vector<Record>>> All(const CallContext& call) const;

 private:
  pg::Database& db_;
  const std::string node_;
};

}  // namespace aima::engine
