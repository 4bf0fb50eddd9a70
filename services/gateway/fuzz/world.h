// What the fuzzers of the gateway's entry points have around them: all units, and no service that answers.
#pragma once

#include <absl/status/status.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "aima/unit/v1/errors.pb.h"
#include "libs/errors/errors.h"
#include "libs/events/events.h"
#include "libs/rpc/client.h"

namespace aima::gateway {

// Services that are away: what gets through to them is well-formed.
class NoServices : public rpc::Client {
 public:
  Task<absl::Status> CallUntyped(const CallContext&, const google::protobuf::Message&, google::protobuf::Message&) override {
    co_return Error(unit::v1::UNAVAILABLE, "away");
  }
  Task<absl::Status> CallDomain(const std::string&, const CallContext&, const google::protobuf::Message&,
                                google::protobuf::Message&) override {
    co_return Error(unit::v1::UNAVAILABLE, "away");
  }
  std::unique_ptr<RawReader> StreamUntyped(const CallContext&, const google::protobuf::Message&) override {
    return std::make_unique<Nothing>();
  }

 private:
  class Nothing : public RawReader {
    Task<absl::StatusOr<bool>> Next(google::protobuf::Message&) override { co_return Error(unit::v1::UNAVAILABLE, "away"); }
  };
};

class NoEvents : public events::Subscriber {
  void On(std::vector<std::string>, Handler, std::function<Task<void>()>) override {}
};

}  // namespace aima::gateway
