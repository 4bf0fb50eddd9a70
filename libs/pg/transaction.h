// A transaction on a borrowed connection.
#pragma once

#include <string>
#include <vector>

#include "libs/pg/lane.h"

namespace aima::pg {

// Begins with the first statement and rolls back at destruction unless it was committed.
class LaneTransaction : public Transaction {
 public:
  LaneTransaction(Lane& lane, const CallContext& call) : lane_(lane), call_(call) {}
  ~LaneTransaction() override;

  Task<absl::StatusOr<Result>> Query(const Statement& statement, Values values) override;
  Task<absl::StatusOr<Result>> Query(Operation operation) override;

  Task<absl::Status> Commit();
  // The error of the first statement that failed; after it the server accepts no other.
  const absl::Status& failure() const { return failure_; }

 private:
  Lane& lane_;
  const CallContext& call_;
  bool begun_ = false;
  bool ended_ = false;
  int epoch_ = 0;
  absl::Status failure_;
  std::vector<std::function<void()>> on_commit_;
};

}  // namespace aima::pg
