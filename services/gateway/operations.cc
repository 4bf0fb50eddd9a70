#include "services/gateway/operations.h"

#include <absl/strings/str_cat.h>
#include <absl/time/clock.h>

#include <algorithm>
#include <boost/asio/detached.hpp>
#include <nlohmann/json.hpp>

#include "aima/unit/v1/errors.pb.h"
#include "libs/base/ids.h"
#include "libs/errors/errors.h"
#include "services/gateway/envelope.h"

namespace aima::gateway {
namespace {

constexpr size_t kKept = 1000;

}  // namespace

absl::StatusOr<const Operation*> Operations::Start(UnitRunner& runner, CallContext call, const UnitInfo& unit,
                                                   nlohmann::json input, RunOptions options) {
  if (operations_.size() >= kKept) {
    const auto done = std::find_if(operations_.begin(), operations_.end(),
                                   [](const Operation& operation) { return operation.result.has_value(); });
    if (done == operations_.end()) {
      return Error(unit::v1::OVERLOADED, absl::StrCat(kKept, " operations are running"));
    }
    operations_.erase(done);
  }
  Operation& operation = operations_.emplace_back();
  operation.id = NewId("op_");
  operation.unit = unit.name;
  operation.principal = call.principal;
  operation.start = absl::Now();
  boost::asio::co_spawn(loop_, Run(operation, runner, std::move(call), unit, std::move(input), std::move(options)),
                        boost::asio::detached);
  return &operation;
}

Task<void> Operations::Run(Operation& operation, UnitRunner& runner, CallContext call, const UnitInfo& unit,
                           nlohmann::json input, RunOptions options) {
  operation.result = co_await runner.Run(call, unit, input, options);
}

const Operation* Operations::Find(std::string_view id) const {
  const auto found = std::find_if(operations_.begin(), operations_.end(),
                                  [&](const Operation& operation) { return operation.id == id; });
  return found == operations_.end() ? nullptr : &*found;
}

std::string Operations::ToJson(const Operation& operation) {
  const bool done = operation.result.has_value();
  std::string json = absl::StrCat("{\"id\":\"", operation.id, "\",\"unit\":\"", operation.unit, "\",\"status\":\"",
                                  !done                     ? "running"
                                  : operation.result->ok() ? "succeeded"
                                                           : "failed",
                                  "\"");
  if (done && operation.result->ok()) absl::StrAppend(&json, ",\"result\":", (*operation.result)->json);
  if (done && !operation.result->ok()) absl::StrAppend(&json, ",\"error\":", ErrorJson(operation.result->status()));
  return json + "}";
}

}  // namespace aima::gateway
