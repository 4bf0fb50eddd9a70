// Runs any unit with JSON in and JSON out, knowing none of them.
#pragma once

#include <absl/status/statusor.h>

#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "libs/base/call_context.h"
#include "libs/base/task.h"
#include "libs/rpc/client.h"
#include "libs/unit/catalogue.h"
#include "services/gateway/access.h"

namespace aima::gateway {

// A page of a list, taken from fields of these names in the input and the output.
struct Pagination {
  bool present = false;
  int64_t total = -1;  // -1: not told
  int64_t limit = -1;
  int64_t offset = -1;
  std::string next_page_token;
};

// What a unit answered.
struct Output {
  std::string json;
  Pagination pagination;
};

// How a caller wants a unit to be run.
struct RunOptions {
  absl::Duration timeout = absl::ZeroDuration();  // zero: the unit's own
  std::string idempotency_key;                    // used where the input has none
};

// Used on the loop.
class UnitRunner {
 public:
  UnitRunner(const Catalogue& catalogue, rpc::Client& rpc) : catalogue_(catalogue), rpc_(rpc) {}

  // The unit of this name, if it is offered outside and `caller` may use it; `kind` "command" or "query" must fit, empty
  // is any. UNIT_NOT_FOUND suggests names.
  absl::StatusOr<const UnitInfo*> Find(std::string_view name, std::string_view kind, const Caller& caller) const;

  // Runs the unary form; of a unit that only streams, gathers nothing and says so.
  Task<absl::StatusOr<Output>> Run(CallContext& call, const UnitInfo& unit, const nlohmann::json& input,
                                   const RunOptions& options);

  // The unit's request. With `check`, a field that breaks its rules is refused here rather than by the service.
  absl::StatusOr<std::unique_ptr<google::protobuf::Message>> Read(const google::protobuf::MethodDescriptor& method,
                                                                  const nlohmann::json& input,
                                                                  const RunOptions& options, bool check = false) const;

  // Runs the streaming form and hands each message on as JSON; an error of `sink` ends the call.
  using Sink = std::function<Task<absl::Status>(const std::string& json)>;
  Task<absl::Status> Stream(CallContext& call, const UnitInfo& unit, const nlohmann::json& input,
                            const RunOptions& options, Sink sink);

  // Input of the query behind an asms:// address, with the values of its variables.
  absl::StatusOr<std::pair<const ViewInfo*, nlohmann::json>> Resolve(std::string_view uri) const;

 private:
  static void SetDeadline(CallContext& call, const UnitInfo& unit, const RunOptions& options);

  const Catalogue& catalogue_;
  rpc::Client& rpc_;
};

}  // namespace aima::gateway
