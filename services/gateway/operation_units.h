// The units of operations, and how a unit becomes one.
#pragma once

#include <absl/status/statusor.h>

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "aima/gateway/v1/operation.pb.h"
#include "libs/base/call_context.h"
#include "libs/base/stream.h"
#include "libs/base/task.h"
#include "libs/operations/operations.h"
#include "libs/unit/catalogue.h"
#include "services/gateway/access.h"
#include "services/gateway/unit_runner.h"

namespace aima::gateway {

// Used on the loop.
class OperationUnits {
 public:
  struct Parts {
    const Catalogue& catalogue;
    const UnitRunner& runner;
    KeyRing& keys;
    operations::Operations* operations;  // null where no database is configured
    // Deletes what an operation that is deleted has left elsewhere; its result is there if that is short.
    std::function<Task<void>(const CallContext&, const operations::Operation&)> clean_up = nullptr;
  };
  // A call that brings no timeout is given up after `timeout`, or after its unit's own if that is longer.
  OperationUnits(Parts parts, absl::Duration timeout) : parts_(parts), timeout_(timeout) {}

  // Starts `unit`, which the caller may use: the same as the unit `operation.start`, but for JSON as it came.
  Task<absl::StatusOr<v1::Operation>> Begin(const CallContext& call, const UnitInfo& unit, const nlohmann::json& input,
                                            RunOptions options);
  // The same for faces that show operations as something else.
  Task<absl::StatusOr<operations::Operation>> Record(const CallContext& call, const UnitInfo& unit,
                                                     const nlohmann::json& input, RunOptions options);

  // A caller sees their own operations, an admin sees all. Who calls is found by the principal of the call.
  Task<absl::StatusOr<v1::Operation>> Start(CallContext& call, const v1::StartRequest& request);
  Task<absl::StatusOr<v1::Operation>> Get(CallContext& call, const v1::GetRequest& request);
  Task<absl::StatusOr<v1::ListResponse>> List(CallContext& call, const v1::ListRequest& request);
  Task<absl::StatusOr<v1::Operation>> Cancel(CallContext& call, const v1::CancelRequest& request);
  Task<absl::StatusOr<v1::DeleteResponse>> Delete(CallContext& call, const v1::DeleteRequest& request);
  Task<absl::StatusOr<v1::Operation>> Wait(CallContext& call, const v1::WaitRequest& request);
  Task<absl::Status> WaitStream(CallContext& call, const v1::WaitRequest& request, StreamWriter<v1::Operation>& out);

  // For faces that show operations as something else. UNAVAILABLE where there is no database.
  absl::StatusOr<operations::Operations*> Library() const;
  // The operation, if it is one that the caller sees.
  Task<absl::StatusOr<operations::Operation>> FindFor(const CallContext& call, const std::string& id,
                                                      bool with_result = true);

 private:
  Caller CallerOf(const CallContext& call) const;
  v1::Operation ToMessage(const operations::Operation& operation) const;

  const Parts parts_;
  const absl::Duration timeout_;
};

}  // namespace aima::gateway
