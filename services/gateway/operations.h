// Units that were started with options.async.
#pragma once

#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <list>
#include <optional>
#include <string>

#include "services/gateway/unit_runner.h"

namespace aima::gateway {

// One unit on its way. Kept in memory, the newest thousand: what a unit does is durable in its service, only the
// answer to this request is kept here.
struct Operation {
  std::string id;
  std::string unit;
  std::string principal;
  absl::Time start;
  std::optional<absl::StatusOr<Output>> result;  // none while it runs
};

// Used on the loop.
class Operations {
 public:
  explicit Operations(Loop& loop) : loop_(loop) {}

  // Starts the unit and returns its operation. OVERLOADED if a thousand are running.
  absl::StatusOr<const Operation*> Start(UnitRunner& runner, CallContext call, const UnitInfo& unit, nlohmann::json input,
                                         RunOptions options);
  // Null if there is none, or it was forgotten.
  const Operation* Find(std::string_view id) const;

  // {"id", "unit", "status": "running" | "succeeded" | "failed", "result", "error"}
  static std::string ToJson(const Operation& operation);

 private:
  Task<void> Run(Operation& operation, UnitRunner& runner, CallContext call, const UnitInfo& unit, nlohmann::json input,
                 RunOptions options);

  Loop& loop_;
  std::list<Operation> operations_;  // oldest first
};

}  // namespace aima::gateway
