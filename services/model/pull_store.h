// Pulls in PostgreSQL.
#pragma once

#include <absl/status/statusor.h>

#include <optional>
#include <string>
#include <vector>

#include "aima/model/v1/model.pb.h"
#include "libs/base/call_context.h"
#include "libs/base/task.h"
#include "libs/pg/database.h"
#include "services/model/source.h"

namespace aima::model {

// A pull as it is recorded.
struct PullRow {
  std::string model_id;
  Wish wish;
  v1::PullStatus status = v1::PULL_STATUS_UNSPECIFIED;
  std::string error;
  std::string reason;  // name of the declared reason of the error
  v1::PullPlan plan;
  bool confirmed = false;   // the source has once said that it is there
  bool own_record = false;  // the model's record was made for this pull and goes with it
  absl::Time create_time;
  absl::Time update_time;
};

class PullStore {
 public:
  explicit PullStore(pg::Database& db) : db_(db) {}

  // The pull of the same thing, from whatever mirror.
  Task<absl::StatusOr<std::optional<PullRow>>> FindSame(const CallContext& call, const Wish& wish);
  Task<absl::StatusOr<std::optional<PullRow>>> Find(const CallContext& call, const std::string& model_id);
  // The newest first.
  Task<absl::StatusOr<std::vector<PullRow>>> List(const CallContext& call, int limit);

  static pg::Operation InsertOf(const PullRow& row);
  // Writes mirror, status, error, reason, plan and whether it is confirmed.
  static pg::Operation UpdateOf(const PullRow& row);
  static pg::Operation DeleteOf(const std::string& model_id);

 private:
  Task<absl::StatusOr<std::vector<PullRow>>> Read(const CallContext& call, const pg::Statement& statement,
                                                  pg::Values values);

  pg::Database& db_;
};

// True while somebody works on it, or will after a restart.
bool IsUnfinished(v1::PullStatus status);

}  // namespace aima::model
