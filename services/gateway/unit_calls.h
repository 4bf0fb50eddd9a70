// The calls that operations make.
#pragma once

#include <google/protobuf/message.h>

#include <string>

#include "libs/operations/operations.h"
#include "libs/rpc/client.h"
#include "libs/unit/catalogue.h"

namespace aima::gateway {

// Calls units by serialized requests, knowing none of them. A unit whose streaming form tells its progress is called in
// that form, if it may be: only the unary form of a command is applied once per key whatever happens, which matters
// where it leaves a state.
class UnitCalls : public operations::Caller {
 public:
  UnitCalls(const Catalogue& catalogue, rpc::Client& rpc) : catalogue_(catalogue), rpc_(rpc) {}

  Task<absl::StatusOr<std::string>> Call(CallContext call, const operations::Operation& operation, Tell tell) override;
  bool Changes(const std::string& unit) const override;

 private:
  Task<absl::StatusOr<std::string>> Follow(const CallContext& call, const UnitInfo& unit,
                                           const google::protobuf::Message& request, Tell tell);

  const Catalogue& catalogue_;
  rpc::Client& rpc_;
};

}  // namespace aima::gateway
